#!/usr/bin/env python3
"""Measures the cost of an operation with 10 to 1,000,000 resources and up to 1,000,000 live reservations.

Prints a table and draws it as SVG. Each point is the median of several rounds of the work `random` with 50
connections: book an hour of a random resource, and cancel the reservation by its number. The rounds are
interleaved over all points, and disturbed runs are repeated, as in run.py.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import run

SIZES = [10, 100, 1_000, 10_000, 100_000, 1_000_000]
# Title of each series, and its (resources, live reservations).
SERIES = {
    "resources, none reserved": [(size, 0) for size in SIZES],
    "resources, each with a live reservation": [(size, size) for size in SIZES],
    "live reservations of 1,000 resources": [(1_000, size) for size in SIZES],
    "live reservations of 1,000,000 resources": [(1_000_000, size) for size in SIZES],
}
COLOURS = ["#1f6f8b", "#c1440e", "#5b8c2a", "#7b4fa3"]


def options_of():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=1.5, help="duration of a measurement (default 1.5)")
    add("--warmup", type=float, default=0.3, help="duration of the warm-up (default 0.3)")
    add("--largest", type=int, default=SIZES[-1], help="maximum size (default 1000000)")
    add("--mode", choices=["memory", "never", "1s", "always"], default="memory")
    add("--reservad", action="append", metavar="PATH", help="program of the server (default: build it)")
    add("--disturbed", type=float, default=5, help="percent of a processor that other processes may use (default 5)")
    add("--retries", type=int, default=5, help="maximum number of repetitions of a disturbed run (default 5)")
    add("--directory", default=str(run.HERE / "results"), help="place for data, on the disk to measure (default bench/results)")
    add("--svg", default=str(run.HERE.parent / "docs" / "growth.svg"), help="file for the plot (default docs/growth.svg)")
    parser.set_defaults(spin=False)
    return parser.parse_args()


def measure(options):
    """Returns the median processor time per operation at each point in microseconds, and that of echo."""
    run.raise_file_limit()
    run.processors(options)
    Path(options.directory).mkdir(parents=True, exist_ok=True)
    found = run.servers(run.build(options))
    suffix = "" if options.mode == "memory" else f"-{options.mode}"
    # The first build, in the order of the command line.
    name = next(server.name for server in found.values() if server.family == "reservad")
    server = found[name + suffix]
    points = dict.fromkeys(point for series in SERIES.values() for point in series)
    points = [point for point in points if max(point) <= options.largest]
    cells = []
    for resources, live in points:
        load = f"{resources} resources, {live} live"
        more = ["--work=random", f"--resources={resources}", f"--live={live}"]
        run.LOADS[load] = ((50, 1), more, ["reservad"])
        cells.append((server, load))
    run.LOADS["echo"] = ((50, 1), ["--work=random"], ["echo"])
    out = run.HERE / "results" / time.strftime("growth-%Y%m%d-%H%M%S.json")
    rows = run.rounds(options, [(found["echo"], "echo"), *cells], out)
    cost = lambda load: statistics.median(row["cpu_us_per_op"] for row in rows if row["load"] == load)
    costs = {point: cost(load) for point, (_, load) in zip(points, cells)}
    bad = sum(row["disturbed"] > options.disturbed / 100 for row in rows)
    print(f"{bad} of {len(rows)} runs disturbed", file=sys.stderr)
    return costs, cost("echo")


def print_table(costs, echo):
    """Prints a row for each number of resources, with a column for each number of live reservations."""
    lives = sorted({live for _, live in costs})
    lines = []
    for resources in sorted({resources for resources, _ in costs}):
        cells = [costs.get((resources, live)) for live in lives]
        lines.append([f"{resources:,}", *(run.show(cell, 2) for cell in cells)])
    print(f"Processor time of the server in µs per booking and cancellation (echo: {echo:.2f})\n")
    run.table(["resources \\ live", *(f"{live:,}" for live in lives)], lines)


# ---- the plot -----------------------------------------------------------------------------------

WIDTH, HEIGHT = 750, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 700, 50, 300


def x_of(size):
    low, high = math.log10(SIZES[0]), math.log10(SIZES[-1])
    return LEFT + (math.log10(size) - low) / (high - low) * (RIGHT - LEFT)


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def step_of(top):
    """Returns a round distance for about five grid lines."""
    rough = top / 5
    power = 10 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def svg(costs, echo):
    """Draws the cost over the size, with a logarithmic axis for the size and costs from zero."""
    step = step_of(max(*costs.values(), echo) * 1.1)
    top = step * math.ceil(max(*costs.values(), echo) * 1.1 / step)
    y_of = lambda cost: BOTTOM - cost / top * (BOTTOM - TOP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        text(LEFT - 45, 25, "Processor time of a booking and its cancellation, µs (50 connections)", "start"),
    ]
    for at in range(round(top / step) + 1):
        y = y_of(at * step)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(text(LEFT - 8, y + 4, f"{at * step:g}", "end"))
    for size in SIZES:
        out.append(text(x_of(size), BOTTOM + 20, f"{size:,}"))
    y = y_of(echo)
    out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#888" stroke-dasharray="5 4"/>')
    out.append(text(RIGHT, y - 5, "echo", "end", ' fill="#666"'))
    for at, ((title, points), colour) in enumerate(zip(SERIES.items(), COLOURS)):
        shown = [point for point in points if point in costs]
        where = [(x_of(size_of(title, point)), y_of(costs[point])) for point in shown]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in where)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in where]
        legend = BOTTOM + 46 + 19 * at
        key = f'x1="{LEFT}" y1="{legend}" x2="{LEFT + 24}" y2="{legend}"'
        out.append(f'<line {key} stroke="{colour}" stroke-width="2"/>')
        out.append(text(LEFT + 32, legend + 4, title, "start"))
    return "\n".join([*out, "</svg>\n"])


def size_of(title, point):
    """Returns the axis of the series: its live reservations, or its resources."""
    return point[1] if title.startswith("live") else point[0]


def grow(options):
    costs, echo = measure(options)
    print_table(costs, echo)
    Path(options.svg).parent.mkdir(parents=True, exist_ok=True)
    Path(options.svg).write_text(svg(costs, echo))
    print(f"plot: {options.svg}")


if __name__ == "__main__":
    run.main(grow, options_of)
