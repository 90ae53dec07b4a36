#!/bin/sh
# Measures the size of both programs, the server's memory at the start, its own
# memory for each idle connection that has made a request, and how often it
# wakes up while idle.
#
# Usage: scripts/weigh.sh [CONNECTIONS]      (default 10000)
#
# Needs cargo, python3 and Linux. Listens on 127.0.0.1 only, stops every process
# that it has started, and takes about half a minute after the build.
set -eu

connections=${1:-10000}
cd "$(dirname "$0")/.."
cargo build --release --quiet
target=${CARGO_TARGET_DIR:-target}/release
directory=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || :; wait "$server" || :; fi; rm -rf "$directory"' EXIT
trap 'exit 1' INT TERM HUP

for program in reservad reserva; do
    echo "size of $program: $(wc -c <"$target/$program") bytes"
done

ulimit -n "$(ulimit -Hn)" 2>/dev/null || :
"$target/reservad" --data-dir "$directory/data" --listen 127.0.0.1:0 2>"$directory/log" &
server=$!

timeout 300 python3 - "$server" "$directory/log" "$connections" <<'PYTHON'
import re
import resource
import socket
import sys
import time

pid, log, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
SECONDS = 10


def port():
    """Waits for the start. Returns the port and the maximal number of clients."""
    for _ in range(500):
        text = open(log).read()
        if re.search(r"room for (\d+) clients", text):
            room = int(re.search(r"room for (\d+) clients", text)[1])
            return int(re.search(r"listening on 127\.0\.0\.1:(\d+)", text)[1]), room
        time.sleep(0.01)
    sys.exit("the server does not start:\n" + open(log).read())


def memory(key):
    """Returns the bytes of a line of smaps_rollup."""
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    sys.exit(f"no {key} in smaps_rollup")


def switches():
    """Returns how often the server was scheduled so far."""
    text = open(f"/proc/{pid}/status").read()
    return sum(map(int, re.findall(r"ctxt_switches:\s*(\d+)", text)))


def wakeups():
    before = switches()
    time.sleep(SECONDS)
    return switches() - before


def request(peers):
    """Each connection makes a request and reads its reply to the end."""
    for peer in peers:
        peer.sendall(b"LISTAR\n")
    for peer in peers:
        reply = b""
        while reply.count(b"\n") < 4:
            piece = peer.recv(4096)
            if not piece:
                sys.exit("the server has closed a connection:\n" + open(log).read())
            reply += piece
        assert reply.startswith(b"OK 3 DISPONIBLES\n"), reply


address, room = port()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
count = min(wanted, room - 10, hard - 64)
if count < wanted:
    print(f"only {count} connections: the limit of open files is {hard}")
print(f"memory at the start, with its share of shared pages (Pss): {memory('Pss')} bytes")
print(f"memory at the start, anonymous: {memory('Anonymous')} bytes")
print(f"wake-ups in {SECONDS} s with no connection: {wakeups()}")

first = socket.create_connection(("127.0.0.1", address))
request([first])
before = memory("Anonymous")
peers = []
while len(peers) < count:
    wave = [
        socket.create_connection(("127.0.0.1", address))
        for _ in range(min(500, count - len(peers)))
    ]
    request(wave)
    peers += wave
own = memory("Anonymous") - before
print(f"own memory for each of {count} idle connections after a request: {own / count:.0f} bytes")
print(f"wake-ups in {SECONDS} s with {count} idle connections: {wakeups()}")
begun = time.monotonic()
request(peers[-100:])
print(f"100 of them requested again and were answered in {(time.monotonic() - begun) * 1000:.1f} ms")
PYTHON
