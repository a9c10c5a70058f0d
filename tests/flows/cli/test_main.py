"""`python -m flows.train` as a person types it: in a process of its own, with a home of its own."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from flows.cli.local_services import LocalPrefectServer
from linear_learner.formats.artifact import read_model
from sandbox import client

pytestmark = pytest.mark.e2e

Command = Callable[..., subprocess.CompletedProcess[str]]
PYTHON = (sys.executable, "-m")
LONG_JOB = ("--hyperparameters.epochs", "1000000", "--hyperparameters.early_stopping_patience", "1000000")


def environment(home: Path) -> dict[str, str]:
    retained = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "XDG_"))}
    return {**retained, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PREFECT_HOME": str(home / "prefect")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def finished(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What became of a command run in an empty folder of the user's, as far from the project's as can be."""
    own = {**environment(home), **variables}
    return subprocess.run(command, cwd=home, env=own, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture(scope="module")
def train(home: Path) -> Command:
    return lambda *arguments: finished(home, *PYTHON, "flows.train", *arguments)


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes whose environment names this home."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(home).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def assert_nothing_is_left(home: Path) -> None:
    end = time.monotonic() + 10
    while (left := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def jobs(home: Path) -> dict[str, str]:
    """Status of every training job the sandbox of this home has on disk."""
    records = (home / "cache/train-linear-learner/sandbox/jobs").glob("*/job.json")
    read = [json.loads(record.read_text())["document"] for record in records]
    return {one["TrainingJobName"]: one["TrainingJobStatus"] for one in read}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPrefectServer]:
    """For commands that need none of their own, which takes seconds to start."""
    with closing(LocalPrefectServer()) as own:
        own.wait()
        yield own


@pytest.fixture(scope="module")
def first(train: Command) -> subprocess.CompletedProcess[str]:
    return train()


def test_the_first_run_trains_and_leaves_a_model_that_opens(
    first: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert first.returncode == 0, first.stderr
    assert "31,500 rows to train, 9,045 to validate, 4,455 to test" in first.stdout
    assert "validation    " in first.stdout
    (model,) = (home / "models").glob("*/model.tar.gz")
    assert str(model) in first.stdout
    assert read_model(model).weights.shape == (16, 1)
    assert_nothing_is_left(home)


def test_the_second_run_reuses_everything_and_says_so(
    first: subprocess.CompletedProcess[str], server: LocalPrefectServer, home: Path
) -> None:
    assert first.returncode == 0
    second = finished(home, *PYTHON, "flows.train", PREFECT_API_URL=server.api_url)
    assert second.returncode == 0, second.stderr
    assert "reused        load, split, format, upload, training job, read log, download" in second.stdout
    assert list(jobs(home).values()) == ["Completed"]


def test_two_that_are_started_at_once_on_a_new_machine_share_one_job(tmp_path: Path) -> None:
    command, variables = [*PYTHON, "flows.train", "--sample", "diabetes"], environment(tmp_path)
    runs = [
        subprocess.Popen(
            command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    said = [run.communicate(timeout=180)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert list(jobs(tmp_path).values()) == ["Completed"]
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "nowhere.csv"], "There is no object s3://linear-learner-sandbox/nowhere.csv."),
        (["--csv", "text.csv", "--target", "price"], "column 'town', row 2: 'Ulm' is not a number."),
        (["--workspace", "nowhere"], "There is no Training Workspace block named 'nowhere' on this Prefect server."),
    ],
)
def test_a_mistake_found_on_the_way_ends_in_one_sentence(
    server: LocalPrefectServer, home: Path, arguments: list[str], message: str
) -> None:
    (home / "text.csv").write_text("town,price\n1,2\nUlm,4\n" + "1,2\n3,4\n" * 9)
    run = finished(home, *PYTHON, "flows.train", *arguments, PREFECT_API_URL=server.api_url)
    assert run.returncode == 2
    assert message in run.stderr.strip().splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert_nothing_is_left(home)


def test_in_a_terminal_a_bar_shows_how_far_training_is(
    first: subprocess.CompletedProcess[str], server: LocalPrefectServer, home: Path
) -> None:
    assert first.returncode == 0
    ours, theirs = pty.openpty()
    # Some seconds of training, so that it is looked at more than once.
    job = {"epochs": "200", "early_stopping_patience": "200", "mini_batch_size": "40"}
    command = [*PYTHON, "flows.train", *(word for name in job for word in (f"--hyperparameters.{name}", job[name]))]
    variables = {**environment(home), "TERM": "xterm", "COLUMNS": "160", "PREFECT_API_URL": server.api_url}
    with subprocess.Popen(
        command, cwd=home, env=variables, stdout=theirs, stderr=theirs, start_new_session=True
    ) as run:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal says that its other end is closed
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
    assert run.returncode == 0, shown.decode()
    assert re.search(r"training .*━.* \d+%", shown.decode())


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_nothing_running(home: Path, sign: signal.Signals) -> None:
    """The signal goes to the whole process group, as Ctrl-C in a terminal does."""
    before = set(jobs(home))
    seed = ("--split.random_state", str(int(sign)))
    with subprocess.Popen(
        [*PYTHON, "flows.train", *LONG_JOB, *seed],
        cwd=home,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stderr is not None
        assert any("Training: " in line for line in run.stderr), "the job never trained"
        os.killpg(run.pid, sign)
        said = run.stderr.read()
    assert_nothing_is_left(home)
    (job,) = set(jobs(home)) - before
    if sign == signal.SIGKILL:
        assert jobs(home)[job] == "InProgress"
    else:
        assert run.returncode == 128 + sign
        assert "Interrupted. Nothing is left running; the next run goes on from here." in said
        assert jobs(home)[job] == "Stopped"


@pytest.fixture
def long_lived_sandbox(home: Path) -> Iterator[str]:
    """`python -m sandbox` in a process of its own; the value is the endpoint that it prints."""
    with subprocess.Popen(
        [*PYTHON, "sandbox"],
        cwd=home,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as served:
        assert served.stdout is not None
        try:
            yield next(
                word for line in served.stdout for word in line.split() if word.startswith("http://127.0.0.1:")
            ).rstrip(".,;")
        finally:
            served.terminate()
            assert served.wait(10) == 0


def test_a_sandbox_that_runs_already_is_used_and_is_open_to_plain_boto3(
    long_lived_sandbox: str, server: LocalPrefectServer, home: Path
) -> None:
    run = finished(home, *PYTHON, "flows.train", "--sample", "diabetes", PREFECT_API_URL=server.api_url)
    assert run.returncode == 0, run.stderr
    assert client.find_endpoint(home / "cache/train-linear-learner/sandbox") == long_lived_sandbox, "it lives on"
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
