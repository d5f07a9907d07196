#!/bin/sh
# Claim: an echo costs two system calls and its share of a poll: no read that finds nothing, no
# epoll_ctl for a connection that is known.
#
#   benches/syscalls.sh [CONNECTIONS] [MESSAGES]      wants strace; prints the table
#
# The server is traced, the client is not. What a connection costs once (accept, epoll_ctl,
# close, ...) is counted as well, so MESSAGES should be many. The more connections are ready
# at the same time, the smaller the share of a poll: at 1 it is a whole one.
set -eu

connections=${1:-100}
messages=${2:-1000}
cd "$(dirname "$0")/.."
cargo build --quiet --release --example echo_server --example echo_client
examples=${CARGO_TARGET_DIR:-target}/release/examples

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# On the end of its child strace writes the counts, so the server has to be ended, not strace.
strace -f -c -o "$work/counts" sh -c 'echo $$ > "$0/pid"; exec "$1" 0' "$work" \
    "$examples/echo_server" > "$work/address" &
tracer=$!
until grep -q listening "$work/address"; do
    kill -0 "$tracer"
    sleep 0.05
done
address=$(sed 's/listening on //' "$work/address")

"$examples/echo_client" "$address" --connections "$connections" --messages "$messages"
kill "$(cat "$work/pid")"
wait "$tracer" || true

awk -v total=$((connections * messages)) '
    $NF ~ /^(recvfrom|sendto|epoll_wait|epoll_pwait2|epoll_ctl|read|write|total)$/ {
        errors = NF == 6 ? $5 : 0
        printf "%-14s %9d calls %7d errors %8.4f per message\n", $NF, $4, errors, $4 / total
    }' "$work/counts"
