"""Compare the time of `python -m flows.train` with a Prefect flow of seven empty tasks, in new home directories.

`python -m benchmarks.start_up [ROUNDS]`; the two commands alternate, and the results are medians of all rounds. A home
directory contains only what `make .venv/ready` creates there: matplotlib's list of fonts.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

COMMANDS = {"seven empty tasks": "benchmarks.empty_flow", "train": "flows.train"}
RUNS = ("first run", "second run")
ROOT = Path(__file__).resolve().parents[1]


def environment(home: Path) -> dict[str, str]:
    excluded = ("PREFECT_", "AWS_", "XDG_", "MPL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
    # The first start of a server in a new home may take longer than Prefect's limit of 20 s.
    added = {"HOME": str(home), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120", "PYTHONPATH": str(ROOT)}
    return {**inherited, **added}


def seconds(module: str, home: Path) -> float:
    begin = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", module], cwd=home, env=environment(home), capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - begin
    assert run.returncode == 0, run.stderr
    if module == "flows.train":
        assert "reused        " in run.stdout
        assert "Linear Learner predicts bonus" in run.stdout
    return took


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for command, module in COMMANDS.items():
            with TemporaryDirectory() as home:
                fonts = [sys.executable, "-c", "import matplotlib.font_manager"]
                subprocess.run(fonts, env=environment(Path(home)), check=True)
                for run in RUNS:
                    took.setdefault((run, command), []).append(seconds(module, Path(home)))
    print(f"{'seconds':<12}" + "".join(f"{command:>20}" for command in COMMANDS) + f"{'difference':>14}")
    for run in RUNS:
        empty, train = (statistics.median(took[run, command]) for command in COMMANDS)
        print(f"{run:<12}{empty:>20.1f}{train:>20.1f}{train - empty:>+14.1f}")


if __name__ == "__main__":
    main()
