#!/bin/sh
# Instructions per operation of the server, counted by callgrind: nearly the same on every run, whatever
# else the machine does, so that a change that costs is seen where a clock sees nothing. The kernel's
# are not counted.
#
# Usage: bench/instructions.sh [SERVER]      (a reservad built as below; default: one is built)
#
# Each row is two runs, one with 1,000 operations and one with 11,000; the difference by 10,000 is what
# an operation costs, without start and end. With KEEP=FOLDER the files for callgrind_annotate are kept.
# Needs cargo and valgrind. Listens on 127.0.0.1 only; some minutes.
set -eu

few=1000
many=11000
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$PWD/target}
command -v valgrind >/dev/null || { echo "instructions.sh: needs valgrind" >&2; exit 1; }
cargo build --release --quiet
load=$target/release/load
if [ $# -gt 0 ]; then
    program=$1
else
    # The server's release profile strips the symbols, which callgrind_annotate needs. And rustix looks
    # by itself for the kernel's clock in memory, which valgrind hides: it is to ask the C library.
    RUSTFLAGS="--cfg rustix_use_libc" CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
        cargo build --release --quiet --manifest-path ../Cargo.toml --bin reservad --target-dir "$target/symbols"
    program=$target/symbols/release/reservad
fi

folder=$(mktemp -d)
: >"$folder/inventory"
keep=${KEEP:-$folder/keep}
mkdir -p "$keep"
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || :
        wait "$server" || :
        server=
    fi
}
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM HUP

# The port that the server has found, once it says so.
port() {
    for _ in $(seq 600); do
        sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$folder/log" | grep . && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "instructions.sh: the server does not start:" >&2
    cat "$folder/log" "$folder/valgrind" >&2
    return 1
}

# Instructions of a server's life with so many operations, in $total: count COUNT MODE NAME OPTION...
# Not in a subshell, for the trap must know the server.
count() {
    operations=$1 mode=$2 name=$3
    shift 3
    case $mode in
        memory) set -- --in-memory -- "$@" ;;
        never) set -- --fsync=never "--data-dir=$folder/data" -- "$@" ;;
    esac
    life=$keep/$name-$mode-$operations
    rm -rf "$folder/data"
    # Now, not when the server has begun: the port of the last one must not be taken for its own.
    : >"$folder/log"
    options=
    while [ "$1" != -- ]; do
        options="$options $1"
        shift
    done
    shift
    # shellcheck disable=SC2086  # the options of the server have no spaces
    valgrind --tool=callgrind --callgrind-out-file="$life" --log-file="$folder/valgrind" \
        "$program" $options "--inventory=$folder/inventory" --time-zone=UTC --listen=127.0.0.1:0 2>"$folder/log" &
    server=$!
    found=$(port)
    "$load" --protocol=reservad "--port=$found" "--count=$operations" "$@" >/dev/null
    stop
    total=$(sed -n 's/^totals: //p' "$life")
}

# One row of the table: row NAME TEXT OPTION...
row() {
    row=$1 text=$2
    shift 2
    printf '| %-44s ' "$text"
    for mode in memory never; do
        count $few $mode "$row" "$@"
        low=$total
        count $many $mode "$row" "$@"
        printf '| %9d ' $(((total - low) / (many - few)))
    done
    echo '|'
}

echo "| instructions per operation                   | in memory | --fsync never |"
echo "| --- | ---: | ---: |"
row exact1 'RESERVAR and CANCELAR, exact name' --work=exact
row exact16 'the same, 16 requests in flight' --work=exact --depth=16
row folded 'RESERVAR and CANCELAR, folded name' --work=folded
row pattern 'RESERVAR by pattern (10 names) and CANCELAR' --work=pattern
row dated 'the same with dates, 1,000 bookings there' --work=dated
row list 'LISTAR of 3' --work=list --resources=3
row verify 'VERIFICAR' --work=verify
