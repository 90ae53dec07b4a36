#!/bin/sh
# Lets the server die at random moments under load for a given time; each time
# everything that was acknowledged must be there, once, after the restart. Three
# journals at a time: kill -9, no space left, failing system calls. Prints the
# seed, and every 100 rounds and at the end what was done.
#
# Usage: scripts/crash.sh DURATION [release]      (90, 90s, 30m, 2h)
#
# Ends with status 1 at the first failure. RESERVAD_SEED=… repeats the dice; the
# moments of death are partly the machine's.
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
# shellcheck disable=SC2086 # no profile is no argument
exec cargo test $profile --quiet --test crash -- --nocapture
