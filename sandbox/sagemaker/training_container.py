"""The process that trains a job: its input folder and channels, its limits and end, the upload of its model."""

import gzip
import json
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from sandbox.account import REGION
from sandbox.sagemaker.training_jobs import TrainingJob
from sandbox.sagemaker.training_log import TrainingLog

IMAGE_PATTERN = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/linear-learner([:@][\w.:-]+)?")


class JobError(Exception):
    """The job has failed; the message is its FailureReason."""


def check_image(image: str | None) -> None:
    """Raise JobError for an image that is not Linear Learner's, of any registry account and region."""
    if not IMAGE_PATTERN.fullmatch(image or ""):
        raise JobError(
            "ClientError: Cannot pull algorithm container. The sandbox runs linear-learner only, as in "
            f"382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1; the job's training image is {image}"
        )


def download_channel(s3: Any, job: TrainingJob, channel: dict[str, Any], folder: Path) -> None:
    """Download every object under the channel's prefix into a folder, named by its key after the prefix's last "/"."""
    source = channel["DataSource"].get("S3DataSource")
    if not source or source["S3DataType"] != "S3Prefix":
        raise JobError(
            f"ClientError: Channel {channel['ChannelName']}: the sandbox reads an S3DataSource of type S3Prefix only"
        )
    bucket, prefix = _split_uri(source["S3Uri"])
    keys = [key for key in _keys(s3, bucket, prefix) if not key.endswith("/")]
    if not keys:
        raise JobError(_no_objects_message(source["S3Uri"], bucket, job["RoleArn"]))
    for key in keys:
        target = folder / key[prefix.rfind("/") + 1 :]
        if ".." in target.parts or not target.is_relative_to(folder):
            raise JobError(f"ClientError: Data download failed: the key {key!r} leads out of the channel's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(target))


def _keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    try:
        return [item["Key"] for page in pages for item in page.get("Contents", [])]
    except s3.exceptions.NoSuchBucket:
        return []


def _no_objects_message(uri: str, bucket: str, role: str) -> str:
    return (
        f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
        f"bucket exists in the selected region ({REGION}), that objects exist under that S3 prefix, and that the role "
        f'"{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
    )


def upload_model(s3: Any, job: TrainingJob, model: Path) -> str:
    """Archive a folder as the job's `model.tar.gz` in S3 and return its URI; equal folders give equal bytes."""
    uri = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output/model.tar.gz"
    bucket, key = _split_uri(uri)
    archive = model.with_name("model.tar.gz")
    with archive.open("wb") as file:
        _archive(model, file)
    try:
        with archive.open("rb") as body:
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise JobError(f"ClientError: Artifact upload failed:Error 7: {code} ({status}): {text}") from error
    return uri


def _archive(folder: Path, file: IO[bytes]) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = tarfile.TarInfo(str(path.relative_to(folder)))
            member.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)


def _split_uri(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    return parts.netloc, uri.partition(f"{parts.netloc}/")[2]


FLUSH_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""From SIGTERM to SIGKILL; the service gives 120."""
SINGLE_THREAD_ENVIRONMENT = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The matrices are small: more threads would slow the training down."""


class StopCause(Enum):
    """Why a container was stopped from outside."""

    STOPPED = "StopTrainingJob"
    TIMED_OUT = "MaxRuntimeInSeconds"
    WAITED_OUT = "MaxWaitTimeInSeconds"
    CLOSED = "the sandbox ends"


class Container:
    """Runs the processes of a job, one after the other; it may be stopped before the first."""

    def __init__(self) -> None:
        self.stop_cause: StopCause | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stop_requested = threading.Event()
        self._limit, self._limit_cause = math.inf, StopCause.TIMED_OUT
        self._kill_at = math.inf

    def set_limit(self, seconds: float, cause: StopCause) -> None:
        """Stop the container after so many seconds; of several limits the nearest counts."""
        at = time.monotonic() + seconds
        if at < self._limit:
            self._limit, self._limit_cause = at, cause

    def wait(self, seconds: float) -> bool:
        """Wait so many seconds, up to the limit; returns False when the container is stopped."""
        remaining = max(0.0, self._limit - time.monotonic())
        if not self._stop_requested.wait(min(seconds, remaining)) and seconds >= remaining:
            self.stop(self._limit_cause)
        return self.stop_cause is None

    def stop(self, cause: StopCause) -> None:
        """Terminate the process, and kill it after a grace period."""
        with self._lock:
            if self.stop_cause is None:
                self.stop_cause = cause
                self._stop_requested.set()
                self._kill_at = time.monotonic() + GRACE_SECONDS
                self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process now."""
        with self._lock:
            self.stop_cause = StopCause.CLOSED
            self._stop_requested.set()
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def run(self, folder: Path, environment: Mapping[str, str], log: TrainingLog, *, interrupt: bool) -> int:
        """Train in a prepared folder, up to the limit; returns the exit code, 128 + n after signal n.

        With `interrupt` the process is killed after its first line of output.
        """
        with self._lock:
            if self.stop_cause is not None:
                return 128 + signal.SIGTERM
            process = self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "linear_learner", "train", str(folder)],
                cwd=folder,
                env=_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with process:
            self._read_output(process, log, interrupt)
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _read_output(self, process: subprocess.Popen[bytes], log: TrainingLog, interrupt: bool) -> None:
        flushed = time.monotonic()
        for line in _lines(process):
            if line is not None:
                log.add(line)
            now = time.monotonic()
            if now > self._limit:
                self.stop(self._limit_cause)
            if now > self._kill_at or (interrupt and line):
                self._signal(signal.SIGKILL)
            if now - flushed >= FLUSH_SECONDS:
                log.flush()
                flushed = time.monotonic()
        log.flush()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Each line of the output as it arrives, and None after each `FLUSH_SECONDS` without output."""
    assert process.stdout  # noqa: S101 - it was opened as a pipe
    descriptor, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(FLUSH_SECONDS):
                yield None
                continue
            chunk = os.read(descriptor, 1 << 16)
            *lines, rest = (rest + chunk).split(b"\n") if chunk else (rest, b"")
            yield from (line.decode(errors="replace").rstrip("\r") for line in lines)
            if not chunk:
                return


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    variables = {**os.environ, **SINGLE_THREAD_ENVIRONMENT, **extra}
    return {name: value for name, value in variables.items() if not name.startswith("AWS_")}


def prepare_folder(folder: Path, job: TrainingJob) -> None:
    """Write the files that the container reads: hyperparameters, channels, hosts; create the folders it writes to."""
    document = job.document()
    configuration = folder / "input" / "config"
    for place in (configuration, folder / "input" / "data", folder / "model", folder / "output"):
        place.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("hyperparameters", document.get("HyperParameters", {})),
        ("inputdataconfig", {c["ChannelName"]: _channel(c) for c in document["InputDataConfig"]}),
        ("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}),
    ):
        (configuration / f"{name}.json").write_text(json.dumps(content))


def _channel(channel: Mapping[str, Any]) -> dict[str, str]:
    # Whatever mode the request names, the container gets files: the records and their order are the same.
    configuration = {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": channel["RecordWrapperType"],
    }
    return configuration | ({"ContentType": channel["ContentType"]} if channel.get("ContentType") else {})


def failure_reason(folder: Path, code: int) -> str:
    """The FailureReason of a container that ended with this exit code: 2 blames the input, others the algorithm."""
    file = folder / "output" / "failure"
    text = file.read_text(errors="replace").strip() if file.is_file() else ""
    error_type = "ClientError" if code == 2 else "AlgorithmError"
    suffix = f", exit code: {code}"
    return f"{error_type}: {text[: 1000 - len(suffix)]}{suffix}"
