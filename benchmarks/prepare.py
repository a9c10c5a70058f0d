"""Compare data preparation with a pandas recipe: read a table, split it, write three files.

    python -m benchmarks.prepare [ROWS [LARGE_ROWS]]

Each variant runs in a separate process; imports are not timed, and peak memory is that of the process. The recipe
reads, splits and writes; this project also checks every value. The results are medians of three rounds.
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
CHUNK_ROWS = 1_000_000


def write_table(path: Path, rows: int) -> None:
    with path.open("wb") as file:
        for start in range(0, rows, CHUNK_ROWS):
            frame = pl.DataFrame(dict(employees(min(CHUNK_ROWS, rows - start), seed=start)))
            frame.write_csv(file, include_header=not start)


def measure(variant: str, source: Path, out: Path) -> dict[str, float]:
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.prepare_variants", variant, str(source), str(out)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(out)}
    figures: dict[str, float] = json.loads(run(command, check=True, stdout=PIPE, env=environment).stdout)
    steps = "  ".join(f"{step} {seconds:.1f}" for step, seconds in figures.items() if step not in {"all", "peak"})
    print(f"{variant:<10}{figures.get('all', 0):>8.2f} s{figures['peak']:>8.0f} MiB   {steps}", flush=True)
    return figures


def medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {step: median(figure[step] for figure in figures) for step in figures[0]}


def meets(name: str, value: float, limit: float, *, least: bool = False) -> bool:
    """Print a measured value with its limit; return whether the value is within the limit."""
    passed = value >= limit if least else value <= limit
    print(f"{'ok' if passed else 'FAILED'}: {name}: {value:.2f} ({'at least' if least else 'at most'} {limit:g})")
    return passed


def are_equal(recipe: Path, project: Path) -> bool:
    equal = all(filecmp.cmp(recipe / name, project / name, shallow=False) for name in OUTPUTS)
    print(f"{'ok' if equal else 'FAILED'}: the three files equal those of the recipe byte by byte")
    return equal


def main(rows: int = ROWS, large_rows: int = LARGE_ROWS) -> int:
    # In memory if possible; otherwise the speed and cache of the disk would affect the results.
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        folder = Path(name)
        source = folder / "table.csv"
        write_table(source, rows)
        print(f"{rows:,} rows x 17 columns, {source.stat().st_size / 1e6:.0f} MB")
        variants = ("recipe", "csv", "recordio", "formats")
        rounds = [{variant: measure(variant, source, folder / variant) for variant in variants} for _ in range(ROUNDS)]
        recipe, csv, recordio, formats = (medians([result[variant] for result in rounds]) for variant in variants)
        real, mixed = (formats[f"{name} csv"] / formats[f"{name} recordio"] for name in ("real", "table"))
        results = [
            are_equal(folder / "recipe", folder / "csv"),
            meets("speed relative to the recipe, CSV", recipe["all"] / csv["all"], 4, least=True),
            meets("speed relative to the recipe, RecordIO", recipe["all"] / recordio["all"], 4, least=True),
            meets("memory relative to the recipe", csv["peak"] / recipe["peak"], 0.75),
            meets("speed of writing RecordIO relative to CSV, real numbers", real, 3, least=True),
        ]
        print(f"speed of writing RecordIO relative to CSV, this table: {mixed:.2f}")
        if large_rows:
            write_table(source, large_rows)
            print(f"{large_rows:,} rows x 17 columns, {source.stat().st_size / 1e6:.0f} MB")
            large = measure("csv", source, folder / "csv")
            results += [
                meets("peak memory in GiB", large["peak"] / 1024, 1.1),
                meets("time relative to the smaller table", large["all"] / csv["all"], 1.1 * large_rows / rows),
            ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
