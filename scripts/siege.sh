#!/bin/sh
# Ten good clients beside hostile ones of all kinds for a given time, against the
# release build, with the strict bounds: the good ones' p99 below 50 ms and their
# maximum below 250 ms, the server's memory below its bound, and the server asleep
# afterwards. Prints the figures, and how long the server waited for a processor: the
# bounds are for two cores without other work.
#
# Usage: scripts/siege.sh DURATION [CLIENTS]      (90, 90s, 10m, 1h; 250 clients)
#
# Exits with status 1 if a bound is exceeded. With HOSTILE_KIND=…, each kind whose name contains
# the text attacks alone for DURATION. RESERVAD_SEED=… repeats the random choices.
set -eu

case ${1:-} in
*h) seconds=$((${1%h} * 3600)) ;;
*m) seconds=$((${1%m} * 60)) ;;
*s) seconds=$((${1%s})) ;;
[0-9]*) seconds=$(($1)) ;;
*)
    echo "usage: $0 DURATION [CLIENTS], as in 90s, 10m or 1h" >&2
    exit 2
    ;;
esac

cd "$(dirname "$0")/.."
export HOSTILE_STRICT=1 HOSTILE_SECONDS="$seconds" HOSTILE_CLIENTS="${2:-250}"
if [ "${HOSTILE_KIND:-}" ]; then
    set -- --ignored each_attack_alone
else
    set -- all_attacks_at_once
fi
exec cargo test --release --quiet --test hostile -- --nocapture "$@"
