#!/bin/sh
# How long reservad takes to start with no data: from just before its program is
# run to the line "listening on", and to the first reply to a client that has
# connected then. Each start has a fresh folder, on the disk of $TMPDIR or /tmp,
# and the default --fsync always. Beside it, on the same disk right after each
# start: what a start cannot do without (one fdatasync of a new file in a new
# folder), and how long it takes to run a program that only says a word.
#
# Usage: scripts/start.sh [STARTS]      (default 30)
#
# Needs cargo, python3 and Linux. Listens on 127.0.0.1 only, ends what it has
# started.
set -eu

starts=${1:-30}
cd "$(dirname "$0")/.."
cargo build --release --quiet
target=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
# At the end, all at once: a disk that is told of removed files (mount -o discard)
# would be told during the next start.
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM HUP

timeout 300 python3 - "$target/reservad" "$folder" "$starts" <<'PYTHON'
import os
import re
import signal
import socket
import statistics
import sys
import time

program, folder, starts = sys.argv[1], sys.argv[2], int(sys.argv[3])


def run(arguments, output):
    """Runs a program with that output as a pipe: its id and the pipe's end."""
    read, write = os.pipe()
    to = [(os.POSIX_SPAWN_DUP2, write, output)]
    pid = os.posix_spawnp(arguments[0], arguments, os.environ, file_actions=to)
    os.close(write)
    return pid, read


def until(read, pattern):
    """Reads until the pattern is there, and returns the match."""
    text = b""
    while not (found := re.search(pattern, text)):
        piece = os.read(read, 4096)
        if not piece:
            sys.exit("it does not start:\n" + text.decode())
        text += piece
    return found


def start(data):
    """Milliseconds to the line and to the first reply."""
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
    """Milliseconds of an fdatasync of a new file in a new folder."""
    os.mkdir(data)
    file = os.open(data + "/file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"reservad-journal 3 0123456789abcdef 18901257\n")
    begun = time.monotonic()
    os.fdatasync(file)
    took = time.monotonic() - begun
    os.close(file)
    return took * 1000


def nothing():
    """Milliseconds to run a program to its first word."""
    begun = time.monotonic()
    pid, read = run(["echo", "word"], 1)
    until(read, b"word\n")
    took = time.monotonic() - begun
    os.waitpid(pid, 0)
    os.close(read)
    return took * 1000


rows = []
for at in range(starts):
    data = f"{folder}/{at}"
    rows.append((*start(data), disk(data + "-disk"), nothing()))
names = [
    "to 'listening on'",
    "to the first reply",
    "one fdatasync of a new file in a new folder",
    "running a program that says a word",
]
print(f"{starts} starts with no data, in ms:")
for name, column in zip(names, zip(*rows)):
    column = sorted(column)
    median = statistics.median(column)
    print(f"{name}: median {median:.2f}, from {column[0]:.2f} to {column[-1]:.2f}")
PYTHON
