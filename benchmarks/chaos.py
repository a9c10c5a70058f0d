"""Kill and disturb runs repeatedly; check for duplicate, stopped and unattended jobs, partial files, wrong approvals.

`python -m benchmarks.chaos [KILLS=100 [SEED=0]]`; 100 kills take about ten minutes. The runs of `flows.train` share a
sandbox, a Prefect server and a home directory. For each input, runs are killed by SIGKILL at six of the seven moments;
then one run completes. A run that ends before its moment counts as completed. Half of the runs are disturbed as well:
the log of the job cannot be read or has no end, the keys of the assumed role expire every two seconds, the disk is full
from some moment on, or Prefect's server is restarted. Disturbed runs may fail, but their job must go on. All runs
approve models that pass the gate; every second input has a margin that no model can pass. The exit code is 1 if any
check fails.
"""

import json
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.new_home import new_home
from flows.cli.local_services import LocalPrefectServer
from sandbox import client, faults
from sandbox.account import BUCKET, ROLE_ARN
from sandbox.api_call import INTERNAL_USER_AGENT
from sandbox.sagemaker.training_container import SINGLE_THREAD_ENVIRONMENT, prepare_folder
from sandbox.sagemaker.training_jobs import FINAL_STATUSES, TrainingJob
from sandbox.samples import SAMPLES
from sandbox.server import make_client

PATIENCE, SLOW_JOB = 180.0, 12.0
"""Seconds: the limit of a run, and the duration of a job, which is longer than the time until the next two kills."""
FOLDERS = ("cache/train-linear-learner/work", "cache/train-linear-learner/following", "models", ".prefect/storage")
HALF_WRITTEN = re.compile(r"/work/|(\.[0-9a-fA-F]{8}|\.part|\.partial|\.csv\.\d+)$")
COLUMNS = ("kills", "completed", "started", "adopted", "reused", "duplicates", "left running", "half-written")
"""The next run continues what the last two columns count; after a run that completes they must be 0."""


DISTURBED_COLUMNS = ("runs", "killed", "failed")


class Moment(NamedTuple):
    """When to kill a run: up to `seconds` after one of the first `calls` of `action`, in which a fault may occur."""

    seconds: float
    calls: int = 0
    action: str | None = None
    faults: tuple[str, ...] = ()

    def is_reached(self, made: Counter[str], share: float) -> bool:
        return (made[self.action] if self.action else made.total()) >= share * self.calls


MOMENTS = {
    "starting": Moment(3.0),
    "before create": Moment(0.3, 12),
    "during create": Moment(0.6, 1, "sagemaker:CreateTrainingJob", ("slow-answer", "lost-answer")),
    "following": Moment(0.5, 5, "sagemaker:DescribeTrainingJob"),
    "any time": Moment(6.0),
    "downloading": Moment(0.3, 1, "s3:GetObject", ("slow-answer",)),
    "registering": Moment(0.3, 1, "sagemaker:CreateModelPackage", ("slow-answer", "lost-answer")),
}
"""In the order in which they are applied to an input."""
HARMLESS, HARMFUL = ("log denied", "endless log", "expired keys"), ("full disk", "server restart")
"""Disturbances of a run: those with which it must succeed, and those with which it may fail."""
SESSION_SECONDS = 2.0
WORKSPACE = "chaos"
IMPOSSIBLE_GATE = ("--gate.margin", "0.99")
GROUP = "chaos"


class Session:
    """One sandbox and one home directory, with the results so far."""

    def __init__(self, home: Path, url: str, server: LocalPrefectServer, seed: int) -> None:
        self._server = server
        self.home, self._url, self._random = home, url, random.Random(seed)  # noqa: S311 - no secrets
        self._sagemaker, self._s3 = (
            make_client(name, url, user_agent_extra=INTERNAL_USER_AGENT) for name in ("sagemaker", "s3")
        )
        self.rows = {moment: Counter[str]() for moment in (*MOMENTS, "uninterrupted")}
        self.disturbed = {kind: Counter[str]() for kind in ("none", *HARMLESS, *HARMFUL)}
        self.calls_per_job, self.errors = list[int](), list[str]()

    def save_workspace(self) -> None:
        """Save the sandbox's workspace with a role to assume, whose keys may expire."""
        workspace = client.make_workspace(self._url)
        credentials: Any = workspace.bucket.credentials
        credentials.assume_role_arn = ROLE_ARN
        workspace.save(WORKSPACE)

    def calls(self) -> Counter[str]:
        return Counter(client.call_counts(self._url))

    def jobs(self, others: Container[str] = ()) -> dict[str, str]:
        """Return the status of every job that was created, except for `others`."""
        pages = self._sagemaker.get_paginator("list_training_jobs").paginate()
        found = pages.search("TrainingJobSummaries[].[TrainingJobName, TrainingJobStatus]")
        return {name: status for name, status in found if name not in others}

    def try_input(self, state: int, moments: list[str]) -> None:
        """Kill runs of one input at these moments, let one more run complete, and check the results."""
        calls, others = self.calls(), self.jobs()
        for moment in (*moments, "uninterrupted"):
            self._run(moment, state, others)
        self.calls_per_job.append((self.calls() - calls).total())
        if list((jobs := self.jobs(others)).values()) == ["Completed"]:
            self._check_model(next(iter(jobs)), state)
        else:
            self.errors.append(f"input {state}: expected one Completed job, found {jobs}")
        packages = self._packages(list(jobs))
        if len(packages) != 1 or (packages == ["Approved"] and _must_be_rejected(state)):
            self.errors.append(f"input {state}: unexpected model packages {packages}")
        summary = f"{', '.join(moments)}: {jobs}, {packages}, {self.calls_per_job[-1]} API calls"
        print(f"input {state}: {summary}", flush=True)

    def _packages(self, jobs: list[str]) -> list[str]:
        """Return the approval statuses of the packages of these jobs' models."""
        pages = self._sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=GROUP)
        found = pages.search("ModelPackageSummaryList[].[ModelPackageDescription, ModelApprovalStatus]")
        return [status for description, status in found if description.partition(":")[0] in jobs]

    def _run(self, moment: str, state: int, others: Container[str]) -> None:
        before = len(self.jobs(others))
        possible = HARMLESS if moment not in MOMENTS else (*HARMLESS, *HARMFUL)
        disturbance = self._random.choice(possible) if self._random.random() < 0.5 else "none"
        killed, code, output = self._command(state, MOMENTS.get(moment), disturbance)
        if disturbance == "full disk":
            self._remove_results_of_prefect()
        jobs, files = self.jobs(others).values(), self._half_written()
        self.disturbed[disturbance].update(runs=1, killed=killed, failed=bool(code and not killed))
        if stopped := sum(job == "Stopped" for job in jobs):
            self.errors.append(f"input {state}, {moment}, {disturbance}: {stopped} jobs were stopped\n{output[-3000:]}")
        how = ("followed: training job" in output, "reused: training job" in output)
        ends = (max(0, len(jobs) - max(before, 1)), sum(job not in FINAL_STATUSES for job in jobs), len(files))
        self.rows[moment].update(dict(zip(COLUMNS, (killed, not killed, len(jobs) - before, *how, *ends), strict=True)))
        failed = code and not killed and disturbance not in HARMFUL
        if (killed or code or files) if moment not in MOMENTS else failed:
            self.errors.append(
                f"input {state}, {moment}, {disturbance}: exit code {code}, partial files {files}\n{output[-3000:]}"
            )

    def _command(self, state: int, moment: Moment | None, disturbance: str) -> tuple[bool, int, str]:
        """Start one run; return whether it was killed, its exit code and its output."""
        faults.clear(self._url)
        faults.inject(self._url, kind="slow-job", seconds=SLOW_JOB)
        if kind := {"log denied": "log-denied", "endless log": "empty-log-pages"}.get(disturbance):
            faults.inject(self._url, kind=kind)
        if disturbance == "expired keys":
            faults.inject(self._url, kind="short-session", seconds=SESSION_SECONDS, times=1000)
        if moment and (kind := self._random.choice(("", *moment.faults))):
            faults.inject(self._url, kind=kind, action=str(moment.action).partition(":")[2])
        before, share, end = self.calls(), self._random.random(), time.monotonic() + PATIENCE
        log, command = self.home / "run.log", [sys.executable, "-m", "flows.train", "--split.random_state", str(state)]
        command += ["--workspace", WORKSPACE]
        command += [
            "--registry.group",
            GROUP,
            "--registry.approve",
            "true",
            *(IMPOSSIBLE_GATE if _must_be_rejected(state) else ()),
        ]
        with log.open("wb") as output:
            # A separate process group, so that the kill does not end the sandbox and the server.
            run = subprocess.Popen(command, cwd=self.home, stdout=output, stderr=output, start_new_session=True)
        later = threading.Timer(self._random.uniform(0, SLOW_JOB), self._disturb, (disturbance, run.pid))
        later.start()
        try:
            while moment and run.poll() is None and not moment.is_reached(self.calls() - before, share):
                assert time.monotonic() < end, f"the run does not end: {log.read_text()[-3000:]}"
                time.sleep(0.002)
            with suppress(subprocess.TimeoutExpired):
                run.wait(self._random.uniform(0, moment.seconds) if moment else PATIENCE)
        finally:
            if killed := run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            code = run.wait()
            later.cancel()
            later.join()
        return killed, code, log.read_text()

    def _disturb(self, disturbance: str, process_id: int) -> None:
        if disturbance == "full disk":
            with suppress(ProcessLookupError):
                resource.prlimit(process_id, resource.RLIMIT_FSIZE, (0, 0))
        elif disturbance == "server restart":
            self._server.close()
            self._server = LocalPrefectServer(self._server.port)
            self._server.wait()

    def close(self) -> None:
        self._server.close()

    def _half_written(self) -> list[str]:
        """Return the files that only an unfinished run uses, and stored results that are not valid JSON."""
        folders = (self.home / folder for folder in FOLDERS)
        return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file() and _is_half(path)]

    def _remove_results_of_prefect(self) -> None:
        """Remove incomplete results of flows: Prefect, unlike this project, writes them under their final names."""
        for path in (self.home / ".prefect/storage").rglob("*"):
            if path.is_file() and _is_half(path):
                path.unlink()

    def _check_model(self, job: str, state: int) -> None:
        """Compare the downloaded model with the object in S3, and with a model trained without flow and S3."""
        import pandas as pd

        from tasks.data.row_assignment import assign_rows
        from tasks.parameters import Split

        path = self.home / "models" / job / "model.tar.gz"
        stored = self._s3.get_object(Bucket=BUCKET, Key=f"linear-learner/models/{job}/output/model.tar.gz")
        if stored["Body"].read() != path.read_bytes():
            self.errors.append(f"input {state}: {path} differs from the object in S3")
        with tarfile.open(path) as archive, TemporaryDirectory(dir=self.home) as name:
            folder = Path(name)
            prepare_folder(folder, TrainingJob.load(client.default_state_dir() / "jobs" / job))
            frame = pd.read_csv(BytesIO(SAMPLES["employees"].csv()))
            frame.insert(0, "bonus", frame.pop("bonus"))
            for channel, rows in assign_rows(len(frame), Split(random_state=state)).items():
                file = folder / "input" / "data" / channel / "rows.csv"
                file.parent.mkdir(parents=True)
                frame.iloc[rows].to_csv(file, header=False, index=False)
            command = [sys.executable, "-m", "linear_learner", "train", name]
            subprocess.run(command, env=os.environ | SINGLE_THREAD_ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
            expected = {file.name: file.read_bytes() for file in (folder / "model").iterdir()}
            if {member.name: archive.extractfile(member).read() for member in archive} != expected:  # type: ignore[union-attr]
                self.errors.append(f"input {state}: {path} differs from the model of an uninterrupted training")


def _must_be_rejected(state: int) -> bool:
    return state % 2 == 1


def _is_half(path: Path) -> bool:
    with suppress(ValueError):
        json.loads(path.read_bytes() if path.suffix in {"", ".json"} else "0")  # results have no suffix
        return HALF_WRITTEN.search(str(path)) is not None
    return True


@contextmanager
def session(seed: int) -> Iterator[Session]:
    """Start a sandbox and a Prefect server in a new home directory; stop them at the end of the block."""
    with new_home("chaos-") as (home, state_dir):
        server = LocalPrefectServer()
        with closing(Session(home, client.wait_for_endpoint(state_dir), server, seed)) as started:
            server.wait()
            os.environ["PREFECT_API_URL"] = server.api_url
            started.save_workspace()
            yield started


def main() -> int:
    kills, seed = [int(argument) for argument in sys.argv[1:]] + [100, 0][len(sys.argv) - 1 :]
    with session(seed) as results:
        for state in range(2 * kills):
            if (remaining := kills - sum(row["kills"] for row in results.rows.values())) <= 0:
                break
            skipped = state % len(MOMENTS)
            results.try_input(state, [name for number, name in enumerate(MOMENTS) if number != skipped][:remaining])
        orphans = [
            f"{job} is running without a run that follows it"
            for job, status in results.jobs().items()
            if status not in FINAL_STATUSES
        ]
    print(f"\n{'moment':<14}" + "".join(f"{column:>13}" for column in COLUMNS))
    for moment, row in results.rows.items():
        print(f"{moment:<14}" + "".join(f"{row[column]:>13}" for column in COLUMNS))
    print(f"\n{'disturbance':<14}" + "".join(f"{column:>13}" for column in DISTURBED_COLUMNS))
    for disturbance, row in results.disturbed.items():
        print(f"{disturbance:<14}" + "".join(f"{row[column]:>13}" for column in DISTURBED_COLUMNS))
    calls, errors = results.calls_per_job, [*results.errors, *orphans]
    print(f"\nAPI calls of all runs of an input: median {statistics.median(calls):.0f}, maximum {max(calls)}")
    print(*errors, f"{kills} kills, {len(calls)} inputs: {len(errors)} errors", sep="\n")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
