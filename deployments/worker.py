"""`python -m deployments.worker --pool training`: a Prefect worker that stops its runs gracefully before it exits.

On SIGTERM and SIGINT, Prefect's process worker kills its runs: their training jobs continue, no hook is called, and the
runs stay Running. Here each run gets SIGTERM first: it stops its training job, unless another run follows that, and its
state becomes Crashed. The worker starts no run meanwhile and gets SIGTERM afterwards.

All arguments are passed to `prefect worker start`. Runs are found in /proc, on Linux only; on other systems the
signal goes to the worker only.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from flows.cli.local_services import bypass_proxies_on_loopback

GRACE_SECONDS, WORKER_SECONDS = 25.0, 4.0
"""Time for the runs, then for the worker, before they are killed; most orchestrators allow 30 seconds for both."""
POLL_SECONDS = 0.1


def main() -> int:
    """Run a worker until it ends or a signal ends it; returns its exit code, 128 + n when signal n killed it."""
    bypass_proxies_on_loopback()  # the worker and its runs inherit this
    signals: list[int] = []
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda number, _frame: signals.append(number))
    # In a new session: Ctrl-C reaches this process only, which then stops the worker.
    command = [sys.executable, "-m", "prefect", "worker", "start", *sys.argv[1:]]
    worker = subprocess.Popen(command, start_new_session=True)
    while worker.poll() is None and not signals:
        time.sleep(POLL_SECONDS)
    if worker.poll() is None:
        _end(worker)
    code = worker.wait()
    return code if code >= 0 else 128 - code


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGSTOP)
    end, signalled = time.monotonic() + GRACE_SECONDS, set[int]()
    while (runs := descendants(worker.pid)) and time.monotonic() < end:
        # A starting run cannot report its state yet, and hooks must not be interrupted: neither catches SIGTERM.
        for run in {run for run, catches_sigterm in runs.items() if catches_sigterm} - signalled:
            signalled.add(run)
            with suppress(ProcessLookupError):
                os.kill(run, signal.SIGTERM)
        time.sleep(POLL_SECONDS)
    worker.terminate()
    worker.send_signal(signal.SIGCONT)
    try:
        worker.wait(WORKER_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()


def descendants(ancestor: int) -> dict[int, bool]:
    """The running descendants of a process, and whether each catches SIGTERM."""
    processes = dict[int, dict[str, str]]()
    for file in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in file.read_text().splitlines() if ":\t" in line)
            processes[int(fields["Pid"])] = fields
    found, generation = set[int](), {ancestor}
    while generation := {pid for pid, fields in processes.items() if int(fields["PPid"]) in generation}:
        found |= {pid for pid in generation if not processes[pid]["State"].startswith("Z")}
    return {pid: bool(int(processes[pid]["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1) for pid in found}


if __name__ == "__main__":
    sys.exit(main())
