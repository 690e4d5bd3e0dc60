#!/bin/sh
# One process per task: the payload comes on stdin, what is printed is the result. Exit code 0 means done,
# 75 try again later, 65 or 78 never try again (a dead letter), any other: failed, tried again with growing waits.
payload=$(cat)
echo "working on $AGENTCTL_TASK: $payload" >&2
printf '{"hello":%s}\n' "$payload"
