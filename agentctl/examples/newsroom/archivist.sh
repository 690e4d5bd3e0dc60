#!/bin/sh
# Sum up one text without the wire service: its first lines must do. The result is marked as degraded.
path=$(sed -n 's/.*"path": *"\([^"]*\)".*/\1/p' "$AGENTCTL_PAYLOAD_FILE")
if ! iconv -f UTF-8 -t UTF-8 "$path" >/dev/null 2>&1; then
    echo "$path: no text" >&2
    exit 65
fi
quoted() { tr -d '\000-\037\\"' | cut -c "1-$1" | tr -d '\n'; }
title=$(grep -m 1 '[[:alnum:]]' "$path" | sed 's/^[#=* -]*//' | quoted 100)
summary=$(grep '[[:alnum:]]' "$path" | sed 1d | head -n 3 | tr '\n' ' ' | quoted 300)
words=$(wc -w <"$path" | tr -d ' ')
printf '{"path": "%s", "title": "%s", "words": %s, "summary": "%s"}\n' "$path" "$title" "$words" "$summary"
