"""How long `python -m flows.train` takes beside a Prefect flow of seven empty tasks, both in homes that are new.

`python -m benchmarks.start_up [ROUNDS]`; the rounds alternate, and each figure is the median of its rounds. A home has
what `make .venv/ready` leaves there, matplotlib's list of fonts, and nothing else.
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
    strange = ("PREFECT_", "AWS_", "XDG_", "MPL")
    saved = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    # Two of the machine's test homes at once would share nothing; a cold server has taken more than Prefect's 20 s.
    own = {"HOME": str(home), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120", "PYTHONPATH": str(ROOT)}
    return {**saved, **own}


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
