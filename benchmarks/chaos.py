"""Whether runs that are killed again and again pay twice, leave a job or half a file, or approve what was rejected.

`python -m benchmarks.chaos [KILLS=100 [SEED=0]]`; a hundred take some ten minutes. Real runs of `flows.train` share
a sandbox, a Prefect server and a home. Each input is run, and ended by SIGKILL, at six of the seven moments, then run
to its end. A run that was over before its moment came counts as completed. All are to approve what passes; every other
input is held to a margin that none can pass. Exit code 1 if anything is wrong.
"""

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from flows.cli.local_services import LocalPrefectServer
from sandbox import client, faults
from sandbox.account import BUCKET
from sandbox.api_call import INTERNAL_USER_AGENT
from sandbox.sagemaker.training_container import SINGLE_THREAD_ENVIRONMENT, prepare_folder
from sandbox.sagemaker.training_jobs import FINAL_STATUSES, TrainingJob
from sandbox.samples import SAMPLES
from sandbox.server import make_client

PATIENCE, SLOW_JOB = 180.0, 12.0
"""Seconds: no run takes as long; a job outlasts the kill of the run that created it, and of the next one."""
FOLDERS = ("cache/train-linear-learner/work", "cache/train-linear-learner/following", "models", ".prefect/storage")
HALF_WRITTEN = re.compile(r"/work/|(\.[0-9a-fA-F]{8}|\.part|\.partial|\.csv\.\d+)$")
COLUMNS = ("kills", "completed", "started", "adopted", "reused", "duplicates", "left running", "half-written")
"""What the last two count is for the next run to pick up; after those to the end there must be none."""


class Moment(NamedTuple):
    """When to kill: up to so many `seconds` after one of the first calls, which some runs find faulty."""

    seconds: float
    calls: int = 0
    action: str | None = None
    faults: tuple[str, ...] = ()

    def has_come(self, made: Counter[str], share: float) -> bool:
        return (made[self.action] if self.action else made.total()) >= share * self.calls


MOMENTS = {
    "starting": Moment(3.0),
    "before create": Moment(0.3, 12),
    "during create": Moment(0.6, 1, "sagemaker:CreateTrainingJob", ("slow-answer", "lost-answer")),
    "following": Moment(0.5, 5, "logs:GetLogEvents"),
    "any time": Moment(6.0),
    "downloading": Moment(0.3, 1, "s3:GetObject", ("slow-answer",)),
    "registering": Moment(0.3, 1, "sagemaker:CreateModelPackage", ("slow-answer", "lost-answer")),
}
"""In the order in which an input meets them."""
HOPELESS = ("--gate.margin", "0.99")
GROUP = "chaos"


class Session:
    """One sandbox and one home, and what was found there so far."""

    def __init__(self, home: Path, url: str, seed: int) -> None:
        self.home, self._url, self._random = home, url, random.Random(seed)  # noqa: S311 - no secrets
        self._sagemaker, self._s3 = (
            make_client(name, url, user_agent_extra=INTERNAL_USER_AGENT) for name in ("sagemaker", "s3")
        )
        self.rows = {moment: Counter[str]() for moment in (*MOMENTS, "to the end")}
        self.calls_per_job, self.wrong = list[int](), list[str]()

    def calls(self) -> Counter[str]:
        return Counter(client.call_counts(self._url))

    def jobs(self, others: Container[str] = ()) -> dict[str, str]:
        """Every job that was ever created, each paid for, and its status; but for the others."""
        pages = self._sagemaker.get_paginator("list_training_jobs").paginate()
        found = pages.search("TrainingJobSummaries[].[TrainingJobName, TrainingJobStatus]")
        return {name: status for name, status in found if name not in others}

    def try_input(self, state: int, moments: list[str]) -> None:
        """Kill runs of one input at these moments, let another one come to its end, and see what there is."""
        calls, others = self.calls(), self.jobs()
        for moment in (*moments, "to the end"):
            self._run(moment, state, others)
        self.calls_per_job.append((self.calls() - calls).total())
        if list((own := self.jobs(others)).values()) == ["Completed"]:
            self._check_model(next(iter(own)), state)
        else:
            self.wrong.append(f"input {state} came to {own}")
        packages = self._packages(list(own))
        if len(packages) != 1 or (packages == ["Approved"] and _is_hopeless(state)):
            self.wrong.append(f"input {state} has the packages {packages}")
        said = f"{', '.join(moments)}: {own}, {packages}, {self.calls_per_job[-1]} API calls"
        print(f"input {state}: {said}", flush=True)

    def _packages(self, jobs: list[str]) -> list[str]:
        """Statuses of the packages of these jobs' models."""
        pages = self._sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=GROUP)
        found = pages.search("ModelPackageSummaryList[].[ModelPackageDescription, ModelApprovalStatus]")
        return [status for description, status in found if description.partition(":")[0] in jobs]

    def _run(self, moment: str, state: int, others: Container[str]) -> None:
        had = len(self.jobs(others))
        killed, code, said = self._command(state, MOMENTS.get(moment))
        own, left = self.jobs(others).values(), self._half_written()
        how = ("followed: training job" in said, "reused: training job" in said)
        ends = (max(0, len(own) - max(had, 1)), sum(status not in FINAL_STATUSES for status in own), len(left))
        self.rows[moment].update(dict(zip(COLUMNS, (killed, not killed, len(own) - had, *how, *ends), strict=True)))
        if (killed or code or left) if moment not in MOMENTS else (code and not killed):
            self.wrong.append(f"input {state}, {moment}: exit code {code}, leaves {left or 'nothing'}\n{said[-3000:]}")

    def _command(self, state: int, moment: Moment | None) -> tuple[bool, int, str]:
        """One run: whether it was killed, its exit code, what it said."""
        faults.clear(self._url)
        faults.inject(self._url, kind="slow-job", seconds=SLOW_JOB)
        if moment and (kind := self._random.choice(("", *moment.faults))):
            faults.inject(self._url, kind=kind, action=str(moment.action).partition(":")[2])
        before, share, end = self.calls(), self._random.random(), time.monotonic() + PATIENCE
        log, command = self.home / "run.log", [sys.executable, "-m", "flows.train", "--split.random_state", str(state)]
        command += ["--registry.group", GROUP, "--registry.approve", "true", *(HOPELESS if _is_hopeless(state) else ())]
        with log.open("wb") as said:
            # In a group of its own, which has neither the sandbox nor the server in it.
            run = subprocess.Popen(command, cwd=self.home, stdout=said, stderr=said, start_new_session=True)
        try:
            while moment and run.poll() is None and not moment.has_come(self.calls() - before, share):
                assert time.monotonic() < end, f"the run hangs: {log.read_text()[-3000:]}"
                time.sleep(0.002)
            with suppress(subprocess.TimeoutExpired):
                run.wait(self._random.uniform(0, moment.seconds) if moment else PATIENCE)
        finally:
            if killed := run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            code = run.wait()
        return killed, code, log.read_text()

    def _half_written(self) -> list[str]:
        """Files that only an unfinished run has a use for, and kept results that do not parse."""
        folders = (self.home / folder for folder in FOLDERS)
        return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file() and _is_half(path)]

    def _check_model(self, job: str, state: int) -> None:
        """Compare what was downloaded with what S3 holds, and with what the table gives by no flow and no S3."""
        import pandas as pd

        from tasks.data.row_assignment import assign_rows
        from tasks.parameters import Split

        path = self.home / "models" / job / "model.tar.gz"
        stored = self._s3.get_object(Bucket=BUCKET, Key=f"linear-learner/models/{job}/output/model.tar.gz")
        if stored["Body"].read() != path.read_bytes():
            self.wrong.append(f"input {state}: {path} is not what S3 holds")
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
            learned = {file.name: file.read_bytes() for file in (folder / "model").iterdir()}
            if {member.name: archive.extractfile(member).read() for member in archive} != learned:  # type: ignore[union-attr]
                self.wrong.append(f"input {state}: {path} is not the model that is learned undisturbed")


def _is_hopeless(state: int) -> bool:
    return state % 2 == 1


def _is_half(path: Path) -> bool:
    with suppress(ValueError):
        json.loads(path.read_bytes() if path.suffix in {"", ".json"} else "0")  # results have no suffix
        return HALF_WRITTEN.search(str(path)) is not None
    return True


@contextmanager
def session(seed: int) -> Iterator[Session]:
    """A new home with a sandbox and a Prefect server in it; both end with the block."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "PREFECT_"))]:
        del os.environ[name]
    with TemporaryDirectory(prefix="chaos-") as home:
        os.environ |= {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        state_dir = client.default_state_dir()
        with closing(LocalPrefectServer()) as server, client.start_server(state_dir), client.mark_in_use(state_dir):
            server.wait()
            os.environ["PREFECT_API_URL"] = server.api_url
            yield Session(Path(home), client.wait_for_endpoint(state_dir), seed)


def main() -> int:
    kills, seed = [int(given) for given in sys.argv[1:]] + [100, 0][len(sys.argv) - 1 :]
    with session(seed) as found:
        for state in range(2 * kills):
            if (left := kills - sum(row["kills"] for row in found.rows.values())) <= 0:
                break
            spared = state % len(MOMENTS)
            found.try_input(state, [name for number, name in enumerate(MOMENTS) if number != spared][:left])
        orphans = [
            f"{job} runs, and nobody follows" for job, status in found.jobs().items() if status not in FINAL_STATUSES
        ]
    print(f"\n{'moment':<14}" + "".join(f"{column:>13}" for column in COLUMNS))
    for moment, row in found.rows.items():
        print(f"{moment:<14}" + "".join(f"{row[column]:>13}" for column in COLUMNS))
    calls, wrong = found.calls_per_job, [*found.wrong, *orphans]
    print(f"\nAPI calls per completed job, by all its runs: median {statistics.median(calls):.0f}, most {max(calls)}")
    print(*wrong, f"{kills} kills, {len(calls)} inputs: {len(wrong) or 'nothing'} wrong", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
