"""Read a table, split it, write three files: the pandas recipe and ours, side by side in one run.

    python -m benchmarks.prepare [ROWS [LARGE_ROWS]]

Each variant runs in a process of its own, with its imports done before the clock starts; peak memory is the process's.
The recipe reads, splits and writes; ours checks every value, too. Medians of three rounds.
"""

import filecmp
import json
import os
import sys
from pathlib import Path
from statistics import median
from subprocess import PIPE, run
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.prepare_variants import OUTPUTS
from sandbox.samples import employees

ROWS, LARGE_ROWS = 5_000_000, 50_000_000
ROUNDS = 3
PIECE = 1_000_000


def table(path: Path, rows: int) -> None:
    with path.open("wb") as file:
        for start in range(0, rows, PIECE):
            frame = pl.DataFrame(dict(employees(min(PIECE, rows - start), seed=start)))
            frame.write_csv(file, include_header=not start)


def measured(variant: str, source: Path, out: Path) -> dict[str, float]:
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.prepare_variants", variant, str(source), str(out)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(out)}
    figures: dict[str, float] = json.loads(run(command, check=True, stdout=PIPE, env=environment).stdout)
    steps = "  ".join(f"{step} {seconds:.1f}" for step, seconds in figures.items() if step not in {"all", "peak"})
    print(f"{variant:<10}{figures.get('all', 0):>8.2f} s{figures['peak']:>8.0f} MiB   {steps}", flush=True)
    return figures


def medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {step: median(one[step] for one in figures) for step in figures[0]}


def verdict(claim: str, value: float, limit: float, *, least: bool = False) -> bool:
    good = value >= limit if least else value <= limit
    print(f"{'ok ' if good else 'NOT'} {claim}: {value:.2f} ({'at least' if least else 'at most'} {limit:g})")
    return good


def equal(recipe: Path, ours: Path) -> bool:
    same = all(filecmp.cmp(recipe / name, ours / name, shallow=False) for name in OUTPUTS)
    print(f"{'ok ' if same else 'NOT'} the three files are the recipe's, byte by byte")
    return same


def main(rows: int = ROWS, large_rows: int = LARGE_ROWS) -> int:
    # In memory, where that is possible: how fast a disk is, and how much of it is cached, would be measured else.
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        folder = Path(name)
        source = folder / "table.csv"
        table(source, rows)
        print(f"{rows:,} rows x 17 columns, {source.stat().st_size / 1e6:.0f} MB")
        variants = ("recipe", "csv", "recordio", "formats")
        rounds = [{variant: measured(variant, source, folder / variant) for variant in variants} for _ in range(ROUNDS)]
        recipe, csv, recordio, formats = (medians([one[variant] for one in rounds]) for variant in variants)
        results = [
            equal(folder / "recipe", folder / "csv"),
            verdict("times as fast as the recipe", recipe["all"] / csv["all"], 4, least=True),
            verdict("the same with RecordIO", recipe["all"] / recordio["all"], 4, least=True),
            verdict("of the recipe's memory", csv["peak"] / recipe["peak"], 0.75),
            verdict("of CSV's speed, RecordIO of reals", formats["real csv"] / formats["real recordio"], 3, least=True),
        ]
        print(f"    of CSV's speed, RecordIO of this table: {formats['table csv'] / formats['table recordio']:.2f}")
        if large_rows:
            table(source, large_rows)
            print(f"{large_rows:,} rows x 17 columns, {source.stat().st_size / 1e6:.0f} MB")
            large = measured("csv", source, folder / "csv")
            results += [
                verdict("GiB at the most", large["peak"] / 1024, 1.1),
                verdict("times the time of the smaller table", large["all"] / csv["all"], 1.1 * large_rows / rows),
            ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
