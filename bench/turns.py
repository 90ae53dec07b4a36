#!/usr/bin/env python3
"""Measures the longest turns of the server with a probe: a client that sends a request every millisecond.

compaction      a journal of 1,000,000 live reservations is compacted while pairs continue
lists           1,000 slow readers receive lists of 100,000 names while rooms are added and removed
places          one of 200 costly waiters leaves, and the others get new positions
grant           a room for which 900 clients wait becomes free beside 100,000 names
ends            many reservations end at one instant
pair            the cost of a pair beside 100 waiters with 31 patterns each; without a probe
burst           900 clients send one `LIST *a*x` at the same moment
hangup          a client with 200,000 reservations until=quit disconnects, another one sends QUIT
cancel-by-name  a stranger cancels by name on a room with 1,000,000 bookings
watchers        10,000 rooms are added beside 15,000 watchers
reap            15,000 connections close at one moment

bench/README.md explains the figures.
"""

import argparse
import array
import contextlib
import gc
import multiprocessing
import os
import random
import re
import select
import socket
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import run

EVERY_S = 0.001
LONG_S = 0.020
# After a compaction the old file is freed for a while.
SETTLE_S = 3


# ---- the probe ----------------------------------------------------------------------------------


class Probe:
    """A process that sends a cheap request every millisecond, without waiting for earlier replies."""

    def __init__(self, port, options):
        self.stop_it = multiprocessing.Event()
        self.pipe, end = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=self.go, args=(port, options, end), daemon=True)
        self.process.start()

    def go(self, port, options, pipe):
        if options.load_cpu is not None:
            os.sched_setaffinity(0, {options.load_cpu})
        prefer(os.getpid(), options.nice)
        gc.disable()
        stream = dial(port)
        sent, late, latency = array.array("d"), array.array("d"), array.array("d")
        due = time.monotonic()
        while not self.stop_it.is_set() or len(latency) < len(sent):
            now = time.monotonic()
            if due <= now and not self.stop_it.is_set():
                count = int((now - due) / EVERY_S) + 1
                stream.sendall(b"VERIFICAR #1\n" * count)
                for at in range(count):
                    sent.append(now)
                    late.append(now - due - at * EVERY_S)
                due += count * EVERY_S
            elif select.select([stream], [], [], max(0, due - now))[0]:
                lines = stream.recv(65536).count(b"\n")
                now = time.monotonic()
                latency.extend(now - sent[at] for at in range(len(latency), len(latency) + lines))
        pipe.send((sent, late, latency))

    def stop(self):
        """Ends the process and returns its samples: (time of sending, delay of sending, latency)."""
        self.stop_it.set()
        samples = list(zip(*self.pipe.recv()))
        self.process.join()
        return samples


class Moment:
    """The counters at one moment. The difference of two moments describes the phase between them."""

    def __init__(self, server, asker):
        self.time = time.monotonic()
        self.stolen = run.busy_s()[1]
        # How long the server was ready to run while another process had its processor.
        self.kept_s = int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[1]) / 1e9
        self.events = asker.status()["last_event"]


def report(samples, phases):
    """Prints a line for each phase, which is (name, first moment, last moment)."""
    lines = []
    for name, begin, end in phases:
        some = [sample for sample in samples if begin.time <= sample[0] < end.time]
        latency = sorted(sample[2] for sample in some)
        long = sum(value > LONG_S for value in latency)
        ms = lambda seconds: f"{seconds * 1e3:.2f}"
        lines.append(
            [name, f"{end.time - begin.time:.1f}", f"{(end.events - begin.events) / (end.time - begin.time):,.0f}"]
            + [ms(latency[len(latency) // 2]), ms(latency[int(len(latency) * 0.999)]), ms(latency[-1]), str(long)]
            + [ms(max(sample[1] for sample in some)), ms(end.kept_s - begin.kept_s), ms(end.stolen - begin.stolen)]
        )
    head = ["phase", "s", "events/s", "p50 ms", "p99.9", "max", "over 20 ms"]
    run.table([*head, "probe late, max ms", "server kept waiting ms", "stolen ms"], lines)
    for name, begin, end in phases:
        for when, late, took in samples:
            if begin.time <= when < end.time and took > LONG_S:
                print(f"{name}: {took * 1e3:.1f} ms at {when - begin.time:.3f} s (sent {late * 1e3:.1f} ms late)")
                break


# ---- clients ------------------------------------------------------------------------------------


def prefer(pid, nice):
    """Changes the priority of a process, and of its session where the kernel groups by session."""
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def dial(port, receive_bytes=None):
    stream = socket.socket()
    if receive_bytes:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    stream.connect(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


class Asker:
    """A client that waits for each reply."""

    def __init__(self, port):
        self.stream = dial(port)
        self.replies = self.stream.makefile("rb")

    def ask(self, *lines):
        """Sends lines with replies of one line each, and returns the replies."""
        self.stream.sendall("".join(line + "\n" for line in lines).encode())
        replies = [self.replies.readline().decode() for _ in lines]
        wrong = [reply for reply in replies if not reply.startswith("OK ")]
        if wrong:
            raise run.Failure(f"{lines[0]}…: {wrong[0]}")
        return replies

    def status(self):
        self.stream.sendall(b"ESTADO\n")
        head = self.replies.readline().decode()
        rows = [self.replies.readline().decode().strip().partition("=") for _ in range(int(head.split()[1]))]
        return {key: int(value) if value.isdigit() else value for key, _, value in rows}


@contextlib.contextmanager
def server(options, *more):
    """Runs a server in a new directory; yields process, port and directory."""
    directory = Path(tempfile.mkdtemp(prefix="turns-", dir=options.directory))
    port, log_path = run.free_port(), directory / "log"
    command = run.reservad(options.program, options.mode)(port, directory) + list(more)
    try:
        with open(log_path, "w") as log:
            process = run.start(command, options.server_cpu, log)
        try:
            prefer(process.pid, options.nice)
            run.wait_for(process, port, log_path)
            yield process, port, directory
        finally:
            run.stop(process)
    finally:
        run.shutil.rmtree(directory, ignore_errors=True)


# ---- compaction ---------------------------------------------------------------------------------


def compaction(options):
    """Measures turns before, during and after a compaction."""
    live = options.live
    with server(options, f"--max-reservations={2 * live}") as (process, port, directory):
        asker = Asker(port)
        command = [run.tool("load"), "--protocol=reservad", f"--port={port}", "--work=random", "--seconds=1000000"]
        command += [f"--resources={options.rooms}", f"--live={live}", "--connections=10", f"--depth={options.depth}"]
        # The probe has a higher priority than the load, with which it may share a processor.
        load = run.start(command, options.load_cpu, None)
        prefer(load.pid, options.nice + 3)
        try:
            wait(lambda: asker.status()["reservations"] >= live, 0.2, load)
            probe = Probe(port, options)
            time.sleep(1)
            new, log = directory / "data" / "journal.new", directory / "log"
            phases = []
            for _ in range(options.rounds):
                filled = Moment(process, asker)
                wait(new.exists, 0.002, load)
                begun = Moment(process, asker)
                done = log.read_text().count("compacted the journal")
                wait(lambda: log.read_text().count("compacted the journal") > done, 0.01, load)
                ended = Moment(process, asker)
                print(f"journal of {asker.status()['journal_bytes']} bytes after {ended.time - begun.time:.1f} s")
                time.sleep(SETTLE_S)
                settled = Moment(process, asker)
                phases += [("before", filled, begun), ("compaction", begun, ended), ("after", ended, settled)]
            report(probe.stop(), phases)
        finally:
            run.stop(load)


def wait(until, every_s, load):
    while not until():
        if load.poll() is not None:
            raise run.Failure("the load generator has ended")
        time.sleep(every_s)


# ---- lists --------------------------------------------------------------------------------------


def lists(options):
    """Measures turns and memory while long lists are read slowly and rooms change."""
    with server(options, "--max-clients=5000") as (process, port, directory):
        asker = Asker(port)
        empty = anonymous_bytes(process)
        for first in range(1, options.names, 10_000):
            asker.ask(f"ALTA {options.prefix} {first}..{min(options.names, first + 9_999)}")
        probe = Probe(port, options)
        churn = Churn(port, options)
        before = anonymous_bytes(process)
        moments = [Moment(process, asker)]
        turn_until(moments[0].time + 5, options, [churn.step])
        moments.append(Moment(process, asker))
        readers = Readers(port)
        memory = Memory(process)
        turn_until(moments[1].time + options.seconds, options, [churn.step, readers.step, memory.step])
        moments.append(Moment(process, asker))
        table = before - empty
        share = (memory.peak - before - table) / len(readers.streams)
        report(probe.stop(), [("before", *moments[:2]), ("lists", *moments[1:])])
        print(
            f"{churn.added:,} rooms added and as many removed, {readers.taken:,} bytes read, "
            f"{readers.closed} readers were closed\n"
            f"anonymous memory: empty {empty:,}, with {options.names:,} names {before:,}, peak {memory.peak:,}: "
            f"{share:,.0f} bytes a reader beside a second table of names"
        )


def turn_until(end, options, steps):
    while time.monotonic() < end:
        for step in steps:
            step()
        time.sleep(0.001)


def anonymous_bytes(process):
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", text, re.M)[1]) * 1024


class Memory:
    """Samples the memory of a server and keeps the maximum."""

    def __init__(self, process):
        self.process, self.peak, self.next = process, 0, 0

    def step(self):
        if time.monotonic() >= self.next:
            self.peak = max(self.peak, anonymous_bytes(self.process))
            self.next = time.monotonic() + 0.2


class Churn:
    """Repeatedly adds a room, reserves and cancels it, and removes the oldest one."""

    def __init__(self, port, options):
        self.stream, self.options, self.added = dial(port), options, 0
        self.stream.setblocking(False)
        self.asked = self.heard = 0

    def step(self):
        with contextlib.suppress(BlockingIOError):
            replies = self.stream.recv(1 << 20)
            self.heard += replies.count(b"\n")
            if b"ERR" in replies:
                raise run.Failure(replies.decode())
        lines = []
        while self.asked < self.heard + 4 * self.options.changes:
            self.added += 1
            names, prefix = self.options.names, self.options.prefix
            new, old = f"{prefix} {names + self.added}", f"{prefix} {self.added}"
            lines += [f"ALTA {new}\n", f"RESERVAR {new}\n", f"CANCELAR {new}\n", f"BAJA {old}\n"]
            self.asked += 4
        if lines:
            self.stream.sendall("".join(lines).encode())


class Readers:
    """Connections that request the list one after the other, and read a little of it from time to time."""

    COUNT = 1000

    def __init__(self, port):
        self.port, self.streams, self.taken, self.closed = port, [], 0, 0
        self.random = random.Random(1)

    def step(self):
        if len(self.streams) < self.COUNT:
            stream = dial(self.port, 4096)
            stream.setblocking(False)
            stream.send(b"LISTAR\n")
            self.streams.append(stream)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            taken = len(self.random.choice(self.streams).recv(4096))
            self.taken += taken
            self.closed += taken == 0


# ---- waiting and ends ---------------------------------------------------------------------------


def wait_for(port, *lines):
    """Opens a connection for each line, and reads the first line of its reply."""
    streams = []
    for line in lines:
        stream = dial(port)
        stream.sendall((line + "\n").encode())
        reply = stream.makefile("rb").readline()
        if not reply.startswith(b"* QUEUE"):
            raise run.Failure(f"{line[:60]}: {reply.decode()}")
        streams.append(stream)
    return streams


def fill(asker, names):
    """Adds the room for which all wait, and others."""
    asker.ask("ADD Hub", "ADD Probe", "RESERVE Probe", "RESERVE Hub")
    for first in range(1, names + 1, 10_000):
        asker.ask(f"ADD Room {first}..{min(names, first + 9_999)}")


def places(options):
    """One of 200 waiters leaves, 100 with 32 long names and 100 with 32 patterns; the others get new positions."""
    with server(options) as (process, port, directory):
        asker = Asker(port)
        fill(asker, 10)
        names = [f"{n:04} " + "long name " * 9 + "x" for n in range(6200)]
        for first in range(0, len(names), 31):
            asker.ask("ADD " + ", ".join(names[first : first + 31]))
        some = [names[first : first + 31] for first in range(0, len(names), 31)]
        waiters = wait_for(port, *("RESERVE Hub, " + ", ".join(some[at]) + " wait=1h" for at in range(100)))
        patterns = [[f"*{name[:4]}*name x*" for name in some[100 + at]] for at in range(100)]
        waiters += wait_for(port, *("RESERVE Hub, " + ", ".join(some) + " wait=1h" for some in patterns))
        probe = Probe(port, options)
        time.sleep(1)
        moments = [Moment(process, asker)]
        waiters.pop(0).close()
        time.sleep(13)
        moments.append(Moment(process, asker))
        report(probe.stop(), [("one leaves", *moments)])


def grant(options):
    """A room for which 900 clients wait becomes free. Each also waits for a name that stays reserved."""
    with server(options) as (process, port, directory):
        asker = Asker(port)
        fill(asker, options.names)
        asker.ask("ADD aqbqc", "RESERVE aqbqc")
        waiters = wait_for(port, *["RESERVE Hub, *q*q* wait=1h"] * 900)
        probe = Probe(port, options)
        time.sleep(1)
        moments = [Moment(process, asker)]
        asker.ask("CANCEL Hub")
        time.sleep(2)
        moments.append(Moment(process, asker))
        report(probe.stop(), [(f"a grant, {len(waiters)} waiters", *moments)])


def ends(options):
    """Many reservations end at one instant."""
    with server(options, f"--max-reservations={2 * options.live}") as (process, port, directory):
        asker = Asker(port)
        fill(asker, options.rooms)
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + options.seconds))
        rooms = [f"Room {n}" for n in range(1, options.rooms + 1)]
        for first in range(0, len(rooms), 100):
            asker.ask(*(f"RESERVE {room} until={end}" for room in rooms[first : first + 100]))
        probe = Probe(port, options)
        left_s = float(options.seconds)
        moments = [Moment(process, asker)]
        while asker.status()["reservations"] > 2:
            time.sleep(0.5)
            left_s -= 0.5
            if left_s < -60:
                raise run.Failure("the reservations do not end")
        moments.append(Moment(process, asker))
        report(probe.stop(), [(f"{len(rooms):,} ends", *moments)])


def pair(options):
    """Measures a pair alone, and beside waiters."""
    with server(options) as (process, port, directory):
        asker = Asker(port)
        fill(asker, 100)
        rates, waiters = [], []
        for count in (0, 100):
            waiters += wait_for(port, *[
                "RESERVE Hub, " + ", ".join(f"*o*{n}*" for n in range(1, 32)) + " wait=1h" for _ in range(count)
            ])
            lines = ["RESERVE Room 77", "CANCEL Room 77"] * 50
            begun = time.monotonic()
            rounds = 200
            for _ in range(rounds):
                asker.ask(*lines)
            rates.append((time.monotonic() - begun) / rounds / 50 * 1e6)
        print(f"a pair: {rates[0]:.1f} us alone, {rates[1]:.1f} us beside {len(waiters)} waiters")


# ---- single moments -----------------------------------------------------------------------------


@contextlib.contextmanager
def one_moment(options, name, *more):
    """Yields a client, the port, and `mark`; reports the samples between the marks."""
    with server(options, *more) as (process, port, directory):
        asker = Asker(port)
        # Opened first, because `select` cannot handle descriptors above a thousand.
        probe = Probe(port, options)
        moments = []

        def mark():
            moments.append(Moment(process, asker))

        yield asker, port, mark
        report(probe.stop(), [(name, *moments)])


def during(mark, work, seconds):
    """Runs some work between two marks that are `seconds` apart."""
    time.sleep(1)
    mark()
    begun = time.monotonic()
    work()
    time.sleep(max(0, begun + seconds - time.monotonic()))
    mark()


def add_names(asker, options, count):
    for first in range(1, count + 1, 10_000):
        asker.ask(f"ALTA {options.prefix} {first}..{min(count, first + 9_999)}")


def burst(options):
    """Many clients send one costly line each at the same moment."""
    with one_moment(options, "burst", "--max-clients=5000") as (asker, port, mark):
        add_names(asker, options, options.names)
        crowd = [dial(port) for _ in range(options.clients)]
        for stream in crowd:
            stream.sendall(b"VERIFY #1\n")
            stream.recv(100)

        def work():
            for stream in crowd:
                stream.sendall(b"LIST *a*x\n")
            for stream in crowd:
                stream.recv(100)

        during(mark, work, 2)


def hangup(options):
    """One client with many connection-bound reservations disconnects, another one sends QUIT."""
    count = options.bound
    with one_moment(options, "hang-up", f"--max-reservations={3 * count}") as (asker, port, mark):
        streams = [Asker(port), Asker(port)]
        for name, holder in zip(("Hub", "Lab"), streams):
            bind_many(holder, name, count)

        def work():
            streams[0].stream.shutdown(socket.SHUT_RDWR)
            streams[0].stream.close()
            streams[1].stream.sendall(b"QUIT\n")
            begun = time.monotonic()
            answer = streams[1].replies.readline()
            print(f"QUIT: {answer!r} after {(time.monotonic() - begun) * 1e3:.0f} ms")

        during(mark, work, 3)


def bind_many(holder, name, count):
    """Makes `count` reservations bound to the connection, each of a different room."""
    for first in range(1, count + 1, 10_000):
        last = min(count, first + 9_999)
        holder.ask(f"ADD {name} {first}..{last}")
        for at in range(first, last + 1, 200):
            holder.ask(*(f"RESERVE {name} {n} until=quit" for n in range(at, min(last, at + 199) + 1)))


def cancel_by_name(options):
    """A client without reservations cancels by name on a room with very many bookings."""
    with one_moment(options, "cancel-by-name", f"--max-reservations={options.live + 10}") as (asker, port, mark):
        asker.ask("ALTA Hub", "IAM luis")
        begun = time.time() + 400 * 86400
        for first in range(0, options.live, 500):
            lines = []
            for at in range(first, min(options.live, first + 500)):
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun + at))
                lines.append(f"RESERVE Hub from={when} for=1s")
            asker.ask(*lines)
        stranger = dial(port)
        stranger.sendall(b"IAM eva\n")

        def work():
            lines = 100
            begun = time.monotonic()
            stranger.sendall(b"CANCEL Hub\n" * lines)
            got = b""
            while got.count(b"\n") < lines + 1:
                got += stranger.recv(65536)
            print(f"{(time.monotonic() - begun) / lines * 1e3:.2f} ms a line: {got.split(bytes([10]))[-2].decode()}")

        during(mark, work, 2)


def watchers(options):
    """Adds rooms beside very many watchers."""
    with one_moment(options, "watchers", "--max-clients=60000") as (asker, port, mark):
        crowd = dial_watchers(port, options.watchers)

        def work():
            asker.ask(f"ALTA {options.prefix} 1..10000")
            poll = select.epoll()
            by_fd = {stream.fileno(): stream for stream in crowd}
            for fd in by_fd:
                poll.register(fd, select.EPOLLIN)
            read_bytes, begun = 0, time.monotonic()
            while time.monotonic() - begun < options.seconds:
                for fd, _ in poll.poll(0.1):
                    read_bytes += len(by_fd[fd].recv(1 << 20))
            print(f"{read_bytes:,} bytes of notices were read")

        during(mark, work, options.seconds)


def reap(options):
    """Very many connections close at one moment."""
    with one_moment(options, "reap", "--max-clients=60000") as (asker, port, mark):
        crowd = dial_watchers(port, options.watchers)

        def work():
            while crowd:
                crowd.pop().close()

        during(mark, work, 3)


def dial_watchers(port, count):
    """Opens connections that watch all events."""
    crowd = [dial(port) for _ in range(count)]
    for stream in crowd:
        stream.sendall(b"WATCH\n")
    for stream in crowd:
        stream.recv(100)
    return crowd


# ---- the program --------------------------------------------------------------------------------


SCENARIOS = {
    "compaction": compaction,
    "lists": lists,
    "places": places,
    "grant": grant,
    "ends": ends,
    "pair": pair,
    "burst": burst,
    "hangup": hangup,
    "cancel-by-name": cancel_by_name,
    "watchers": watchers,
    "reap": reap,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("scenarios", choices=SCENARIOS, nargs="+", metavar="SCENARIO", help="one or more of: " + ", ".join(SCENARIOS))
    add("--fsync", default="never", help="sync policy of the server (default never)")
    add("--live", type=int, default=1_000_000, help="live reservations during the compaction (default 1000000)")
    add("--rooms", type=int, default=100_000, help="resources of these reservations (default 100000)")
    add("--depth", type=int, default=16, help="requests in flight on each of 10 connections (default 16)")
    add("--nice", type=int, default=0, help="priority of server, load and probe, below 0 on a shared machine (default 0)")
    add("--rounds", type=int, default=1, help="compactions in a row (default 1)")
    add("--names", type=int, default=100_000, help="names in a list (default 100000)")
    add("--prefix", default="Habitación", help="beginning of these names (default Habitación)")
    add("--clients", type=int, default=900, help="clients in the burst (default 900)")
    add("--bound", type=int, default=200_000, help="reservations of the client that disconnects (default 200000)")
    add("--watchers", type=int, default=15_000, help="connections that watch (default 15000)")
    add("--changes", type=int, default=20, help="changes of rooms in flight (default 20)")
    add("--seconds", type=float, default=30, help="duration of the reading (default 30)")
    add("--reservad", metavar="PATH", action="append", help="program of the server (default: build it)")
    add("--directory", default=str(run.HERE / "results"), help="place for data, on the disk to measure (default bench/results)")
    return parser.parse_args()


def measure(options):
    run.raise_file_limit()
    run.processors(options)
    Path(options.directory).mkdir(parents=True, exist_ok=True)
    options.program = next(iter(run.build(options).values()))
    options.mode = ["--fsync", options.fsync]
    for scenario in options.scenarios:
        SCENARIOS[scenario](options)


if __name__ == "__main__":
    run.main(measure, arguments)
