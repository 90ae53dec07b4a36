#!/bin/sh
# Kills the server at random moments under load for a given time. After each
# restart, everything acknowledged must exist once. Three journals at a time:
# kill -9, no space left, failing system calls. Prints the seed, and a summary
# after every 100 rounds and at the end.
#
# Usage: scripts/crash.sh DURATION [release]      (90, 90s, 30m, 2h)
#
# Exits with status 1 at the first failure. RESERVAD_SEED=… repeats the random
# choices; the moments of death depend on the machine as well.
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
export RESERVAD_CRASH_SECONDS="$seconds"
# shellcheck disable=SC2086 # an empty profile is no argument
exec cargo test $profile --quiet --test crash -- --nocapture
