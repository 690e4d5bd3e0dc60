#!/bin/sh
# Count lines and suspicious strings in the Python files of one folder, not of those below it.
# Payload: {"path":"src"}. An agent is any executable: this one is plain POSIX shell.
set -eu
export LC_ALL=C

folder=$(sed -n 's/^ *{ *"path" *: *"\([^"\\]*\)" *} *$/\1/p')
if [ ! -d "$folder" ]; then
    echo "no folder at '$folder': the payload must be {\"path\":\"FOLDER\"} without escapes" >&2
    exit 65 # trying again cannot help
fi
case $folder in
/*) from=$folder ;;
*) from=./$folder ;; # a name like a=b or -x must stay a name for awk
esac

set --
for file in "$from"/*.py; do
    if [ -f "$file" ]; then set -- "$@" "$file"; fi
done

# The last line on standard output is this agent's result.
awk -v folder="$folder" -v files=$# '
    /(^|[^A-Za-z0-9_.])eval\(/                 { evals++ }
    /(^|[^A-Za-z0-9_.])exec\(/                 { execs++ }
    /os\.(system|popen)\(/                     { systems++ }
    /shell *= *True/                           { shells++ }
    /pickle\.loads?\(/                         { pickles++ }
    /[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd] *= *["\047]/ { passwords++ }
    END {
        printf "{\"path\":\"%s\",\"files\":%d,\"lines\":%d,\"suspicious\":{", folder, files, NR
        printf "\"eval\":%d,\"exec\":%d,\"os.system\":%d,", evals, execs, systems
        printf "\"shell=True\":%d,\"pickle\":%d,\"password\":%d}}\n", shells, pickles, passwords
    }' "$@" </dev/null
