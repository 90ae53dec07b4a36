#!/usr/bin/env python3
"""Measures reservad beside an echo server and its peers, and prints tables of medians.

bench/README.md describes the loads and the figures. Needs Linux and cargo. Redis, memcached and
beanstalkd are measured if they are installed. All servers listen on free ports of 127.0.0.1 and are
stopped at the end, also after an error.
"""

import argparse
import contextlib
import ctypes
import fnmatch
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SHAPES = {"1x1": (1, 1), "50x1": (50, 1), "50x16": (50, 16), "1000x1": (1000, 1), "1000x16": (1000, 16)}
MODES = {
    "": ["--in-memory"],
    "-never": ["--fsync", "never"],
    "-1s": ["--fsync", "1s"],
    "-always": ["--fsync", "always"],
}
ALL = ["echo", "reservad", "redis", "memcached", "beanstalkd", "beanstalkd-put", "answers"]


def pairs():
    """The loads that all servers support, in five shapes."""
    return {f"pairs-{name}": (shape, [], ALL) for name, shape in SHAPES.items()}


# name: ((connections, depth), further options of the generator, families of servers that support it)
LOADS = {
    **pairs(),
    "folded-50x1": ((50, 1), ["--work=folded"], ALL[:2]),
    "folded-50x16": ((50, 16), ["--work=folded"], ALL[:2]),
    "pattern-1x1": ((1, 1), ["--work=pattern"], ALL[:2]),
    "pattern-50x1": ((50, 1), ["--work=pattern"], ALL[:2]),
    "verify-50x16": ((50, 16), ["--work=verify"], ALL[:2]),
    "list3-50x1": ((50, 1), ["--work=list", "--resources=3"], ["reservad"]),
    "list1000-50x1": ((50, 1), ["--work=list", "--resources=1000"], ["reservad"]),
    "list100000-1x1": ((1, 1), ["--work=list", "--resources=100000"], ["reservad"]),
    "dated-50x1": ((50, 1), ["--work=dated"], ALL[:2]),
    "dated-50x16": ((50, 16), ["--work=dated"], ALL[:2]),
    "waiters1000-50x1": ((50, 1), ["--waiters=1000"], ["reservad"]),
    "grants-1000": ((1000, 1), ["--work=grants"], ["reservad"]),
    "watch-100": ((100, 1), ["--work=watch", "--rate=1000"], ["reservad"]),
    "idle10000-50x1": ((50, 1), ["--idle=10000"], ALL[:2]),
    "random10-50x1": ((50, 1), ["--work=random", "--resources=10", "--live=10"], ALL[:2]),
    "random1000000-50x1": (
        (50, 1),
        ["--work=random", "--resources=1000000", "--live=1000000"],
        ALL[:2],
    ),
}


class Failure(Exception):
    """An error that ends the run, with its reason."""


# ---- processes ----------------------------------------------------------------------------------


def disk_core(cores):
    """Returns the processor that handles the interrupts of the disk.

    A sync that completes on another processor takes up to twice as long."""
    taken = dict.fromkeys(cores, 0)
    with open("/proc/interrupts", encoding="ascii") as file:
        numbers = [int(name[3:]) for name in file.readline().split()]
        for line in file:
            words = line.split()
            if re.search(r"-req\.\d+$|^nvme\d+q|^ahci|^mmc|^sd", words[-1]):
                for core, count in zip(numbers, words[1:]):
                    if core in taken:
                        taken[core] += int(count)
    return max(cores, key=lambda core: taken[core])


def in_child(cpu):
    """Pins a child to a processor, and lets the kernel kill it when this script dies."""

    def prepare():
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return prepare


def start(command, cpu, log):
    """Starts a process in a group of its own, which Ctrl-C at the terminal does not reach."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=in_child(cpu),
    )


def stop(process):
    """Ends a process that `start` returned, with SIGTERM first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(process, port, log_path):
    """Waits until a server accepts a connection."""
    for _ in range(1000):
        if process.poll() is not None:
            break
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise Failure(f"a server did not start:\n{log_path.read_text()[-2000:]}")


def tool(name):
    """Returns the path of a release build of a program of this crate."""
    target = os.environ.get("CARGO_TARGET_DIR", HERE / "target")
    return str(Path(target) / "release" / name)


def build(options):
    """Builds the tools, and the server unless one is given. Returns {label: program}."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=HERE, check=True)
    if options.reservad:
        labelled = [text.partition("=") if "=" in text else ("reservad", "", text) for text in options.reservad]
        builds = {label: shutil.which(path) for label, _, path in labelled}
        if len(builds) != len(options.reservad) or None in builds.values():
            raise Failure("--reservad: give PATH, or LABEL=PATH with different labels")
        return builds
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=HERE.parent, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")
    return {"reservad": str(Path(target) / "release" / "reservad")}


# ---- servers ------------------------------------------------------------------------------------


class Server:
    """Starts one of the servers that are compared."""

    def __init__(self, name, family, command):
        self.name = name
        self.family = family
        # A function of port and directory.
        self.command = command

    @contextlib.contextmanager
    def running(self, options):
        """Runs the server in a new directory; yields process and port."""
        directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=options.directory))
        port = free_port()
        log_path = directory / "log"
        try:
            with open(log_path, "w") as log:
                process = start(self.command(port, directory), options.server_cpu, log)
            try:
                wait_for(process, port, log_path)
                yield process, port
            finally:
                stop(process)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def reservad(program, mode):
    def command(port, directory):
        data = [] if "--in-memory" in mode else [f"--data-dir={directory}/data"]
        inventory = Path(directory) / "inventory"
        inventory.touch()
        common = [f"--inventory={inventory}", "--time-zone=UTC", f"--listen=127.0.0.1:{port}"]
        return [program, *mode, *data, *common]

    return command


def redis(appends):
    def command(port, directory):
        own = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), "--save", ""]
        more = ["--appendonly", "yes", "--appendfsync", "always"] if appends else ["--appendonly", "no"]
        return ["redis-server", *own, *more, "--tcp-backlog", "1024", "--maxclients", "12000"]

    return command


def memcached(keeps_house):
    def command(port, _):
        user = ["-u", "root"] if os.getuid() == 0 else []
        own = ["memcached", *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-c", "12000"]
        return own if keeps_house else [*own, "-o", "no_lru_maintainer,no_lru_crawler"]

    return command


def beanstalkd(syncs):
    def command(port, directory):
        more = ["-b", str(directory), "-f", "0"] if syncs else []
        return ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), *more]

    return command


def servers(builds):
    """Returns the servers that are available on this machine, by name."""
    found = [
        Server("echo", "echo", lambda port, _: [tool("echo"), str(port)]),
        Server("answers", "answers", lambda port, _: [tool("echo"), str(port), "answers"]),
    ]
    for label, program in builds.items():
        for suffix, mode in MODES.items():
            found.append(Server(label + suffix, "reservad", reservad(program, mode)))
    peers = [
        Server("memcached", "memcached", memcached(True)),
        # Without the maintenance thread, which wakes up every millisecond while there is work.
        Server("memcached-quiet", "memcached", memcached(False)),
        Server("redis", "redis", redis(False)),
        Server("redis-always", "redis", redis(True)),
        Server("beanstalkd", "beanstalkd", beanstalkd(False)),
        Server("beanstalkd-fsync", "beanstalkd-put", beanstalkd(True)),
    ]
    for peer in peers:
        program = peer.command(0, "")[0]
        if shutil.which(program):
            found.append(peer)
        else:
            print(f"{peer.name}: not installed, skipped", file=sys.stderr)
    return {server.name: server for server in found}


# ---- measuring ----------------------------------------------------------------------------------


def busy_s():
    """Returns the processor time of the whole machine, and the time that the host stole from it."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:]]
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq) * TICK_S, steal * TICK_S


def process_s(pid):
    """Returns the processor time of all threads of a process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class Disturbance:
    """The share of one processor that other processes have used since the value was created."""

    def __init__(self):
        self.begun = time.monotonic()
        self.busy, self.stolen = busy_s()

    def share(self, own_s):
        busy, stolen = busy_s()
        taken = max(0, busy - self.busy - own_s) + stolen - self.stolen
        return taken / (time.monotonic() - self.begun)


def generate(options, port, pid, family, shape, more):
    """Runs the load generator. Returns its figures and the disturbance by other processes.

    The disturbance is counted during the preparation too, so that a run is repeated too often rather
    than too seldom.
    """
    protocol = "reservad" if family == "answers" else family
    command = [tool("load"), f"--protocol={protocol}", f"--port={port}", f"--pid={pid}"]
    command += [f"--connections={shape[0]}", f"--depth={shape[1]}"]
    command += [f"--seconds={options.seconds}", f"--warmup={options.warmup}", *more]
    command += ["--spin"] if options.spin else []
    used, server_s = Disturbance(), process_s(pid)
    before = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    process = start(command, options.load_cpu, subprocess.PIPE)
    try:
        output = process.communicate(timeout=options.seconds + options.warmup + 300)[0].decode()
    except BaseException:
        stop(process)
        raise
    if process.returncode != 0:
        raise Failure(f"{' '.join(command)}:\n{output}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    own_s = process_s(pid) - server_s + after[1] - before[1]
    own_s += sum(getattr(after[0], field) - getattr(before[0], field) for field in ("ru_utime", "ru_stime"))
    return {**json.loads(output), "disturbed": round(used.share(own_s), 4)}


def measure(options, server, load):
    """Measures one cell of one round, and repeats it while it is disturbed."""
    shape, more, _ = LOADS[load]
    best = None
    for attempt in range(options.retries + 1):
        with server.running(options) as (process, port):
            figures = generate(options, port, process.pid, server.family, shape, more)
        if best is None or figures["disturbed"] < best["disturbed"]:
            best = {**figures, "attempts": attempt + 1}
        if best["disturbed"] <= options.disturbed / 100:
            break
    return best


def rounds(options, cells, out):
    """Measures all cells, round by round, and returns a row for each. The rows are also written to a file."""
    rows = []
    try:
        measure_all(options, cells, rows)
    finally:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
        print(f"raw figures: {out}", file=sys.stderr)
    return rows


def measure_all(options, cells, rows):
    """Adds a row for each cell in each round, and prints it."""
    for number in range(options.rounds):
        # Every other round is in reverse order, so that a drift over time affects all cells alike.
        for server, load in cells if number % 2 == 0 else reversed(cells):
            row = measure(options, server, load)
            row.update(round=number, server=server.name, load=load)
            rows.append(row)
            mark = " disturbed" if row["disturbed"] > options.disturbed / 100 else ""
            what = f"{show(row['ops_per_s'], 0):>12}/s {show(row['cpu_us_per_op'], 2):>9} µs"
            print(f"round {number + 1} {load:20} {server.name:18} {what}{mark}", file=sys.stderr)


# ---- tables -------------------------------------------------------------------------------------


def by_round(rows, server, load, key):
    """Returns {round: value} of one cell, without rounds in which no operation was completed."""
    cell = (row for row in rows if (row["server"], row["load"]) == (server, load))
    return {row["round"]: row[key] for row in cell if row[key] is not None}


def median(rows, server, load, key):
    values = by_round(rows, server, load, key).values()
    return statistics.median(values) if values else None


def ratio(rows, server, other, load, key):
    """Returns the median of the ratios within each round, because disturbances slow both alike."""
    own, others = by_round(rows, server, load, key), by_round(rows, other, load, key)
    ratios = [own[number] / others[number] for number in own if others.get(number)]
    return statistics.median(ratios) if ratios else None


def show(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head, lines):
    """Prints a Markdown table with aligned columns."""
    cells = [head, *lines]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    rule = ["-" * width for width in widths]
    for line in [head, rule, *lines]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
    print()


def print_cells(rows, disturbed):
    """Prints the medians of all cells, and their ratios to echo."""
    head = ["load", "server", "ops/s", "÷ echo", "CPU µs/op", "÷ echo", "p50 µs", "p99", "p99.9", "disturbed"]
    lines = []
    for load in LOADS:
        for server in dict.fromkeys(row["server"] for row in rows if row["load"] == load):
            bad = [value > disturbed for value in by_round(rows, server, load, "disturbed").values()]
            value = lambda key, digits: show(median(rows, server, load, key), digits)
            of_echo = lambda key: show(ratio(rows, server, "echo", load, key), 2)
            lines.append(
                [load, server, value("ops_per_s", 0), of_echo("ops_per_s")]
                + [value("cpu_us_per_op", 2), of_echo("cpu_us_per_op")]
                + [value("p50_us", 1), value("p99_us", 1), value("p999_us", 1)]
                + [f"{sum(bad)} of {len(bad)}" if any(bad) else ""]
            )
    table(head, lines)


def print_durable(rows, labels):
    """Prints the ratio of a durable pair to a pair of Redis."""
    lines = []
    for load in pairs():
        for label in labels:
            of_redis = lambda key: ratio(rows, f"{label}-always", "redis-always", load, key)
            if of_redis("ops_per_s") is not None:
                lines.append([load, label, show(of_redis("ops_per_s"), 2), show(of_redis("cpu_us_per_op"), 2)])
    if lines:
        table(["load", "build", "always ÷ Redis always", "CPU ÷"], lines)


def print_builds(rows, labels):
    """Prints the ratios of the other builds to the first one."""
    first, lines = labels[0], []
    for load in LOADS:
        for other in labels[1:]:
            for suffix in MODES:
                cell = lambda key: ratio(rows, other + suffix, first + suffix, load, key)
                if cell("ops_per_s") is not None:
                    values = [show(cell(key), 3) for key in ("ops_per_s", "cpu_us_per_op", "p99_us")]
                    lines.append([load, f"{other + suffix} ÷ {first + suffix}", *values])
    if lines:
        table(["load", "builds", "ops/s", "CPU", "p99"], lines)


# ---- the program --------------------------------------------------------------------------------


def processors(options):
    """Selects a processor for the server and another one for the generator, if there are two."""
    mine = sorted(os.sched_getaffinity(0))
    server = disk_core(mine)
    others = [core for core in mine if core != server]
    options.server_cpu, options.load_cpu = (server, others[0]) if others else (None, None)
    if len(mine) < 2:
        print("server and generator share the only processor, so that ratios mean little", file=sys.stderr)


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def picked(names, globs):
    return [name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs.split(","))]


def choose(options, found):
    """Returns the selected cells, load by load, with echo first."""
    chosen = picked(found, options.servers)
    loads = picked(LOADS, options.loads)
    cells = [
        (found[server], load)
        for load in loads
        for server in chosen
        if found[server].family in LOADS[load][2]
        and any(fnmatch.fnmatchcase(f"{load}/{server}", glob) for glob in options.only.split(","))
    ]
    if not cells:
        raise Failure(f"nothing to do.\nservers: {' '.join(found)}\nloads: {' '.join(LOADS)}")
    return cells


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=1.5, help="duration of a measurement (default 1.5)")
    add("--warmup", type=float, default=0.3, help="duration of the warm-up (default 0.3)")
    add("--loads", default="pairs-*", help="patterns of names, separated by commas (default pairs-*)")
    add("--servers", default="*", help="patterns of names, separated by commas (default *)")
    add("--only", default="*", help="patterns of LOAD/SERVER, separated by commas (default *)")
    add("--reservad", action="append", metavar="[LABEL=]PATH", help="server to measure; repeat to compare (default: build it)")
    add("--spin", action="store_true", help="the generator never sleeps, so that the server does not have to wake it")
    add("--disturbed", type=float, default=5, help="percent of a processor that other processes may use (default 5)")
    add("--retries", type=int, default=5, help="maximum number of repetitions of a disturbed run (default 5)")
    add("--directory", default=str(HERE / "results"), help="place for data, on the disk to measure (default bench/results)")
    add("--out", help="file for the raw figures (default: a new one in bench/results)")
    return parser.parse_args()


def run(options):
    """Measures what the options select and prints the tables."""
    raise_file_limit()
    processors(options)
    Path(options.directory).mkdir(parents=True, exist_ok=True)
    builds = build(options)
    cells = choose(options, servers(builds))
    out = Path(options.out or HERE / "results" / time.strftime("%Y%m%d-%H%M%S.json"))
    rows = rounds(options, cells, out)
    print_cells(rows, options.disturbed / 100)
    print_durable(rows, list(builds))
    print_builds(rows, list(builds))


def interrupted(*_):
    """Handles SIGTERM like Ctrl-C, so that all servers are stopped."""
    raise KeyboardInterrupt


def main(job=run, parse=arguments):
    signal.signal(signal.SIGTERM, interrupted)
    try:
        job(parse())
    except Failure as failure:
        sys.exit(f"{Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
