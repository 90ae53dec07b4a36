#!/bin/sh
# Measures how long reservad takes to start without data: from before the process
# is created to the line "listening on", and to the first reply to a client that
# connects then. Each start has a new directory, on the disk of $TMPDIR or /tmp,
# and --fsync always. For comparison, measures after each start on the same disk
# one fdatasync of a new file in a new directory, which no start can avoid, and
# the time to run a program that prints one word.
#
# Usage: scripts/start.sh [STARTS]      (default 30)
#
# Needs cargo, python3 and Linux. Listens on 127.0.0.1 only, and stops every
# process that it has started.
set -eu

starts=${1:-30}
cd "$(dirname "$0")/.."
cargo build --release --quiet
target=${CARGO_TARGET_DIR:-target}/release
directory=$(mktemp -d)
# Removes all directories at the end. With mount -o discard, removing them earlier
# would slow down the next start.
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' INT TERM HUP

timeout 300 python3 - "$target/reservad" "$directory" "$starts" <<'PYTHON'
import os
import re
import signal
import socket
import statistics
import sys
import time

program, directory, starts = sys.argv[1], sys.argv[2], int(sys.argv[3])


def run(arguments, output):
    """Runs a program with this output as a pipe. Returns its id and the pipe."""
    read, write = os.pipe()
    to = [(os.POSIX_SPAWN_DUP2, write, output)]
    pid = os.posix_spawnp(arguments[0], arguments, os.environ, file_actions=to)
    os.close(write)
    return pid, read


def until(read, pattern):
    """Reads until the pattern matches, and returns the match."""
    text = b""
    while not (found := re.search(pattern, text)):
        piece = os.read(read, 4096)
        if not piece:
            sys.exit("the server does not start:\n" + text.decode())
        text += piece
    return found


def start(data):
    """Returns the milliseconds to the line and to the first reply."""
    arguments = [program, "--data-dir", data, "--listen", "127.0.0.1:0"]
    begun = time.monotonic()
    pid, read = run(arguments, 2)
    try:
        port = int(until(read, rb"listening on 127\.0\.0\.1:(\d+)\n")[1])
        listening = time.monotonic() - begun
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"LISTAR\n")
            assert client.recv(4096).startswith(b"OK 3 DISPONIBLES\n")
            replied = time.monotonic() - begun
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
    return listening * 1000, replied * 1000


def disk(data):
    """Returns the milliseconds of an fdatasync of a new file in a new directory."""
    os.mkdir(data)
    file = os.open(data + "/file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"reservad-journal 3 0123456789abcdef 18901257\n")
    begun = time.monotonic()
    os.fdatasync(file)
    took = time.monotonic() - begun
    os.close(file)
    return took * 1000


def nothing():
    """Returns the milliseconds to run a program to its first word."""
    begun = time.monotonic()
    pid, read = run(["echo", "word"], 1)
    until(read, b"word\n")
    took = time.monotonic() - begun
    os.waitpid(pid, 0)
    os.close(read)
    return took * 1000


rows = []
for at in range(starts):
    data = f"{directory}/{at}"
    rows.append((*start(data), disk(data + "-disk"), nothing()))
names = [
    "to 'listening on'",
    "to the first reply",
    "one fdatasync of a new file in a new directory",
    "running a program that prints a word",
]
print(f"{starts} starts with no data, in ms:")
for name, column in zip(names, zip(*rows)):
    column = sorted(column)
    median = statistics.median(column)
    print(f"{name}: median {median:.2f}, from {column[0]:.2f} to {column[-1]:.2f}")
PYTHON
