"""`python -m flows.train` as a user runs it: in its own process, with its own home directory."""

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config

from linear_learner.formats.artifact import read_model
from sandbox import client

pytestmark = pytest.mark.e2e

PYTHON = (sys.executable, "-m")
SMALL = ("--sample", "diabetes")
LONG_JOB = (*SMALL, "--hyperparameters.epochs", "1000000", "--hyperparameters.early_stopping_patience", "1000000")


def environment(home: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "XDG_"))}
    return {
        **inherited,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PREFECT_HOME": str(home / "prefect"),
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "prefect").mkdir()
    shutil.copy(empty_database, home / "prefect" / "prefect.db")
    return home


def run_command(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the user's home directory, outside the project, and wait for it."""
    variables = {**environment(home), **variables}
    return subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, timeout=180, check=False)


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes with this home directory in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(home).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def assert_no_process_is_left(home: Path) -> None:
    end = time.monotonic() + 10
    while (processes := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes


def jobs(home: Path) -> dict[str, str]:
    """Status by name of the training jobs that the sandbox of this home directory has stored."""
    records = (home / "cache/train-linear-learner/sandbox/jobs").glob("*/job.json")
    documents = [json.loads(record.read_text())["document"] for record in records]
    return {one["TrainingJobName"]: one["TrainingJobStatus"] for one in documents}


def test_two_simultaneous_first_runs_share_one_job_and_download_the_model(tmp_path: Path) -> None:
    """On a new machine, with a proxy that cannot reach this machine's own servers."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with ThreadPoolExecutor() as pool:
        first_runs = pool.map(lambda _: run_command(tmp_path, *PYTHON, "flows.train", *SMALL, **proxies), range(2))
        runs = list(first_runs)
    assert [run.returncode for run in runs] == [0, 0], "\n".join(run.stderr for run in runs if run.returncode)
    assert list(jobs(tmp_path).values()) == ["Completed"]
    (model,) = (tmp_path / "models").glob("*/model.tar.gz")
    assert read_model(model).weights.shape == (10, 1)
    for run in runs:
        assert "validation    " in run.stdout
        assert str(model) in run.stdout
    assert_no_process_is_left(tmp_path)


def test_a_terminal_shows_a_progress_bar_and_a_run_completes_when_its_output_and_its_terminal_are_closed(
    api_url: str, home: Path
) -> None:
    before = set(jobs(home))
    controller, terminal = pty.openpty()
    # Training takes some seconds, so that the job is polled more than once.
    job = ("--hyperparameters.epochs", "150", "--hyperparameters.early_stopping_patience", "150")
    variables = {**environment(home), "TERM": "xterm", "COLUMNS": "160", "PREFECT_API_URL": api_url}
    with subprocess.Popen(
        [*PYTHON, "flows.train", *job],
        cwd=home,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        os.close(terminal)
        output = b""
        with suppress(OSError):  # raised when the other end of the terminal is closed
            while not re.search(r"training .*━.* \d+%", output.decode(errors="replace")):
                output += os.read(controller, 65536)
        assert run.poll() is None, output.decode()
        run.stdout.close()
        os.close(controller)
        run.send_signal(signal.SIGHUP)
        assert run.wait(60) == 0
    (job_name,) = set(jobs(home)) - before
    assert jobs(home)[job_name] == "Completed"
    latest = httpx.post(f"{api_url}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()
    assert [one["state_name"] for one in latest] == ["Completed"]


def test_a_disk_that_is_full_while_the_job_trains_ends_neither_the_job_nor_what_was_paid_for(
    api_url: str, home: Path
) -> None:
    before = set(jobs(home))
    command = [*PYTHON, "flows.train", "--hyperparameters.epochs", "149"]
    variables = {**environment(home), "PREFECT_API_URL": api_url}
    with subprocess.Popen(
        command, cwd=home, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        assert any("Training: " in line for line in run.stdout), "the job did not train"
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (0, 0))  # every write to a file fails, as on a full disk
        output = run.stdout.read()
    assert run.returncode == 2, output
    assert "Traceback" not in output
    (job,) = set(jobs(home)) - before
    assert jobs(home)[job] == "Completed"
    assert f"Training job {job} is complete" in output.splitlines()[-1]
    again = run_command(home, *command, PREFECT_API_URL=api_url)
    assert f"{job}, reused" in again.stdout, again.stderr
    assert "reused        load, split, encode, format, upload, training job" in again.stdout


@pytest.mark.parametrize(
    ("number", "starts_a_server"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, True)]
)
def test_an_interrupted_run_leaves_no_process_running(
    home: Path, api_url: str, number: signal.Signals, starts_a_server: bool
) -> None:
    """The signal goes to the whole process group, as Ctrl-C in a terminal does."""
    before = set(jobs(home))
    seed = ("--split.random_state", str(int(number)))
    with subprocess.Popen(
        [*PYTHON, "flows.train", *LONG_JOB, *seed],
        cwd=home,
        env=environment(home) | ({} if starts_a_server else {"PREFECT_API_URL": api_url}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stderr is not None
        assert any("Training: " in line for line in run.stderr), "the job did not train"
        os.killpg(run.pid, number)
        output = run.stderr.read()
    assert_no_process_is_left(home)
    (job,) = set(jobs(home)) - before
    if number == signal.SIGKILL:
        assert jobs(home)[job] == "InProgress"
    else:
        assert run.returncode == 128 + number
        assert "Interrupted. No training job is left running, unless a warning says so; the next run reuses" in output
        assert jobs(home)[job] == "Stopped"


@pytest.fixture
def long_lived_sandbox(home: Path) -> Iterator[str]:
    """Run `python -m sandbox` and return the endpoint that it prints."""
    with subprocess.Popen(
        [*PYTHON, "sandbox"],
        cwd=home,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield next(
                word for line in process.stdout for word in line.split() if word.startswith("http://127.0.0.1:")
            ).rstrip(".,;")
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_a_running_sandbox_is_used_and_can_be_called_with_boto3(
    long_lived_sandbox: str, api_url: str, home: Path
) -> None:
    run = run_command(home, *PYTHON, "flows.train", *SMALL, PREFECT_API_URL=api_url)
    assert run.returncode == 0, run.stderr
    assert client.find_endpoint(home / "cache/train-linear-learner/sandbox") == long_lived_sandbox, "it still runs"
    session = boto3.Session(aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name="us-east-1")
    config = Config(proxies={})
    sagemaker, logs, s3 = (
        session.client(service, endpoint_url=long_lived_sandbox, config=config)
        for service in ("sagemaker", "logs", "s3")
    )
    (name,) = set(re.findall(r"linear-learner-[0-9a-f]{20}", run.stdout))
    (listed,) = sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    assert (listed["TrainingJobName"], listed["TrainingJobStatus"]) == (name, "Completed")
    (stream,) = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/")[
        "logStreams"
    ]
    events = logs.get_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream["logStreamName"], startFromHead=True
    )["events"]
    assert any("#progress_metric" in event["message"] for event in events)
    artifact = sagemaker.describe_training_job(TrainingJobName=name)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, key = artifact.removeprefix("s3://").split("/", 1)
    s3.download_file(bucket, key, str(home / "fetched.tar.gz"))
    assert read_model(home / "fetched.tar.gz").weights.shape == (10, 1)
    for connection in (sagemaker, logs, s3):
        connection.close()
