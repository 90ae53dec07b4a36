#!/bin/sh
# Counts the instructions of the server per operation with callgrind, without those of the kernel. The
# counts are nearly the same on every run and independent of other load, so that they show costs that
# are too small to be timed.
#
# Usage: bench/instructions.sh [SERVER]      (a reservad built as below; default: one is built)
#
# Each row takes two runs, with 1,000 and with 11,000 operations. Their difference divided by 10,000 is
# the cost of an operation without start and end. With KEEP=DIRECTORY the files for callgrind_annotate
# are kept. Needs cargo and valgrind. Listens on 127.0.0.1 only and takes some minutes.
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
    # callgrind_annotate needs the symbols, which the release profile strips. rustix must use the clock
    # of the C library, because valgrind hides the one that rustix looks up in the kernel's vDSO.
    RUSTFLAGS="--cfg rustix_use_libc" CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
        cargo build --release --quiet --manifest-path ../Cargo.toml --bin reservad --target-dir "$target/symbols"
    program=$target/symbols/release/reservad
fi

directory=$(mktemp -d)
: >"$directory/inventory"
keep=${KEEP:-$directory/keep}
mkdir -p "$keep"
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || :
        wait "$server" || :
        server=
    fi
}
trap 'stop; rm -rf "$directory"' EXIT
trap 'exit 1' INT TERM HUP

# Prints the port of the server as soon as it is in the log.
port() {
    for _ in $(seq 600); do
        sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$directory/log" | grep . && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "instructions.sh: the server did not start:" >&2
    cat "$directory/log" "$directory/valgrind" >&2
    return 1
}

# Sets $total to the instructions of a server that runs COUNT operations: count COUNT MODE NAME OPTION...
# It does not run in a subshell, because the trap needs $server.
count() {
    operations=$1 mode=$2 name=$3
    shift 3
    case $mode in
        memory) set -- --in-memory -- "$@" ;;
        never) set -- --fsync=never "--data-dir=$directory/data" -- "$@" ;;
    esac
    life=$keep/$name-$mode-$operations
    rm -rf "$directory/data"
    # Before the server starts, so that `port` does not find the port of the previous one.
    : >"$directory/log"
    options=
    while [ "$1" != -- ]; do
        options="$options $1"
        shift
    done
    shift
    # shellcheck disable=SC2086  # the options of the server have no spaces
    valgrind --tool=callgrind --callgrind-out-file="$life" --log-file="$directory/valgrind" \
        "$program" $options "--inventory=$directory/inventory" --time-zone=UTC --listen=127.0.0.1:0 2>"$directory/log" &
    server=$!
    found=$(port)
    "$load" --protocol=reservad "--port=$found" "--count=$operations" "$@" >/dev/null
    stop
    total=$(sed -n 's/^totals: //p' "$life")
}

# Prints a row of the table: row NAME TEXT OPTION...
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
