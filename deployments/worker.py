"""`python -m deployments.worker --pool training`: a Prefect worker that lets its runs end in order before it ends.

Prefect's process worker answers SIGTERM and SIGINT by killing its runs outright: no step can stop its training job, no
hook runs, and the runs stay Running for ever. Here each run gets SIGTERM first, upon which it stops the job that nobody
else follows and reports itself Crashed; the worker, which starts no run meanwhile, gets its own SIGTERM afterwards.

Every argument is passed on to `prefect worker start`. Runs are found in /proc, hence on Linux only; elsewhere the
signal is passed on to the worker.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS, WORKER_SECONDS = 25.0, 4.0
"""For the runs and then for the worker itself, before they are killed; most orchestrators give 30 to both."""
POLL_SECONDS = 0.1


def main() -> int:
    """Run a worker until it ends or a signal ends it; returns its exit code, 128 + n when signal n killed it."""
    asked: list[int] = []
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda number, _frame: asked.append(number))
    # In a session of its own: Ctrl-C is for this process, which passes it on in its own way.
    command = [sys.executable, "-m", "prefect", "worker", "start", *sys.argv[1:]]
    worker = subprocess.Popen(command, start_new_session=True)
    while worker.poll() is None and not asked:
        time.sleep(POLL_SECONDS)
    code = worker.poll()
    if code is None:
        code = _end(worker)
    return code if code >= 0 else 128 - code


def _end(worker: subprocess.Popen[bytes]) -> int:
    if sys.platform == "linux":
        worker.send_signal(signal.SIGSTOP)
        _end_runs(worker.pid)
    worker.terminate()
    if sys.platform == "linux":
        worker.send_signal(signal.SIGCONT)
    try:
        return worker.wait(WORKER_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait()


def _end_runs(worker: int) -> None:
    end, warned = time.monotonic() + GRACE_SECONDS, set[int]()
    while (runs := descendants(worker)) and time.monotonic() < end:
        for run, handles_sigterm in runs.items():
            # A run that only starts could not report anything yet; a hook is nothing to interrupt, and catches nothing.
            if handles_sigterm and run not in warned:
                warned.add(run)
                with suppress(ProcessLookupError):
                    os.kill(run, signal.SIGTERM)
        time.sleep(POLL_SECONDS)


def descendants(ancestor: int) -> dict[int, bool]:
    """The processes below this one that did not end yet, and whether each catches SIGTERM."""
    parents, catch = dict[int, int](), dict[int, bool]()
    for file in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in file.read_text().splitlines() if ":\t" in line)
            parents[int(fields["Pid"])] = int(fields["PPid"])
            if not fields["State"].startswith("Z"):
                catch[int(fields["Pid"])] = bool(int(fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)
    found, generation = set[int](), {ancestor}
    while generation := {process for process, parent in parents.items() if parent in generation}:
        found |= generation
    return {process: catch[process] for process in found if process in catch}


if __name__ == "__main__":
    sys.exit(main())
