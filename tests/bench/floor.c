/* Replays recorded statements through prepared statements: the floor under any language's driver.
 * floor STORE STATEMENTS SYNCHRONOUS, where STATEMENTS holds, all native-endian:
 *   n_sql, then per text: length, bytes; then until the end: index, n_values, then per value a type and the value
 *   (0 NULL; 1 int64; 3 text, length and bytes; 4 blob, length and bytes). Prints the seconds it took. */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char *at;
static int32_t word(void) { int32_t w; memcpy(&w, at, 4); at += 4; return w; }

static void fail(sqlite3 *db, const char *what) {
    fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    FILE *file = fopen(argv[2], "rb");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *all = malloc(size + 1);
    if (fread(all, 1, size, file) != (size_t)size) return 2;
    sqlite3 *db;
    char pragma[64];
    if (sqlite3_open(argv[1], &db)) fail(db, "open");
    snprintf(pragma, sizeof pragma, "PRAGMA synchronous=%s", argv[3]);
    sqlite3_exec(db, pragma, 0, 0, 0);
    sqlite3_exec(db, "PRAGMA foreign_keys=ON; PRAGMA mmap_size=0; PRAGMA cell_size_check=ON", 0, 0, 0);
    at = all;
    int texts = word();
    sqlite3_stmt **made = calloc(texts, sizeof *made);
    for (int i = 0; i < texts; i++) {
        int length = word();
        if (sqlite3_prepare_v2(db, at, length, &made[i], 0)) fail(db, "prepare");
        at += length;
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    while (at < all + size) {
        sqlite3_stmt *one = made[word()];
        int values = word();
        for (int i = 1; i <= values; i++) {
            int type = word();
            if (type == 0) sqlite3_bind_null(one, i);
            else if (type == 1) { int64_t v; memcpy(&v, at, 8); at += 8; sqlite3_bind_int64(one, i, v); }
            else {
                int length = word();
                if (type == 3) sqlite3_bind_text(one, i, at, length, SQLITE_STATIC);
                else sqlite3_bind_blob(one, i, at, length, SQLITE_STATIC);
                at += length;
            }
        }
        int result;
        while ((result = sqlite3_step(one)) == SQLITE_ROW)
            for (int i = 0; i < sqlite3_column_count(one); i++) sqlite3_column_blob(one, i);
        if (result != SQLITE_DONE) fail(db, sqlite3_sql(one));
        sqlite3_reset(one);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.9f %s\n", (to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9, sqlite3_libversion());
    return 0;
}
