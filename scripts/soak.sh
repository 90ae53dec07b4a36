#!/bin/sh
# Kills the server under load, again and again, for a given time; each time
# everything that was acknowledged must be there after the restart.
#
# Usage: scripts/soak.sh DURATION [release]      (90, 90s, 30m, 2h)
#
# Ends with status 1 at the first failure, whose seed is printed; repeat it
# with RESERVAD_SEED=… scripts/soak.sh 1s
set -eu

case ${1:-} in
*h) seconds=$((${1%h} * 3600)) ;;
*m) seconds=$((${1%m} * 60)) ;;
*s) seconds=$((${1%s})) ;;
[0-9]*) seconds=$(($1)) ;;
*)
    echo "usage: $0 DURATION [release], as in 90s, 30m or 2h" >&2
    exit 2
    ;;
esac
profile=
if [ "${2:-}" = release ]; then profile=--release; fi

cd "$(dirname "$0")/.."
# shellcheck disable=SC2086 # no profile is no argument
cargo test $profile --quiet --test durability --test contest --no-run
export RESERVAD_ROUNDS="${RESERVAD_ROUNDS:-100}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' INT TERM HUP
end=$(($(date +%s) + seconds))
turns=0
while :; do
    for test in \
        "durability kill_at_any_moment_under_load" \
        "durability kill_at_any_moment_of_a_compaction" \
        "contest acknowledged_winners_are_the_holders_after_a_kill_in_the_middle"; do
        echo "$test"
        # shellcheck disable=SC2086
        if ! cargo test $profile --quiet --test ${test% *} -- \
            --exact --nocapture "${test#* }" >"$log" 2>&1; then
            cat "$log"
            exit 1
        fi
        grep -e RESERVAD_SEED -e kill "$log" || :
        if [ "$(date +%s)" -ge "$end" ]; then
            echo "soaked for $seconds s: nothing was lost, nothing was doubled"
            exit 0
        fi
    done
    turns=$((turns + 1))
    echo "turn $turns is over, $((end - $(date +%s))) s to go"
done
