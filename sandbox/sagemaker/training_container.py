"""The process of a training job: its input files, time limits, termination, and the upload of its model."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from linear_learner.formats.artifact import MODEL_FILE, pack_model
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
    """Download every object under the channel's prefix, named by its key after the prefix's last "/"."""
    source = channel["DataSource"].get("S3DataSource")
    if not source or source["S3DataType"] != "S3Prefix":
        raise JobError(
            f"ClientError: Channel {channel['ChannelName']}: the sandbox reads an S3DataSource of type S3Prefix only"
        )
    bucket, _, prefix = source["S3Uri"].removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    try:
        keys = [item["Key"] for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")]
    except s3.exceptions.NoSuchBucket:
        keys = []
    if not keys:
        raise JobError(
            f'ClientError: No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. Please '
            f"ensure that the bucket exists in the selected region ({REGION}), that objects exist under that S3 "
            f'prefix, and that the role "{job.document["RoleArn"]}" has "s3:ListBucket" permissions on bucket '
            f'"{bucket}".'
        )
    channel_folder = folder / "input" / "data" / channel["ChannelName"]
    for key in keys:
        target = channel_folder / key[prefix.rfind("/") + 1 :]
        if ".." in target.parts or not target.is_relative_to(channel_folder):
            raise JobError(f"ClientError: Data download failed: the key {key!r} is outside the channel's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(target))


def upload_model(s3: Any, job: TrainingJob, folder: Path) -> str:
    """Upload the model to S3 as the job's `model.tar.gz`; returns its URI. Equal models give equal bytes."""
    uri = f"{job.document['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output/model.tar.gz"
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    archive = folder / "model.tar.gz"
    pack_model((folder / "model" / MODEL_FILE).read_bytes(), archive)
    # Without a key SageMaker uses the account's default KMS key for S3 (API reference, OutputDataConfig).
    kms_key = job.document["OutputDataConfig"].get("KmsKeyId")
    encryption = {"ServerSideEncryption": "aws:kms", **({"SSEKMSKeyId": kms_key} if kms_key else {})}
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=archive.read_bytes(), **encryption)
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise JobError(f"ClientError: Artifact upload failed:Error 7: {code} ({status}): {text}") from error
    return uri


FLUSH_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""From SIGTERM to SIGKILL; the service waits 120 seconds."""
SINGLE_THREAD_ENVIRONMENT = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The matrices are small: more threads would slow the training down."""


class Container:
    """Runs the processes of a job one after another; it can be stopped before the first one starts."""

    def __init__(self) -> None:
        self.stopped_as = ""
        """The final SecondaryStatus of the job if the container was stopped, such as MaxRuntimeExceeded."""
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stop_requested = threading.Event()
        self._limit = (math.inf, "")
        self._kill_at = math.inf

    def set_limit(self, seconds: float, status: str) -> None:
        """Stop the container after `seconds` with this SecondaryStatus; the earliest of several limits applies."""
        self._limit = min(self._limit, (time.monotonic() + seconds, status))

    def wait(self, seconds: float) -> bool:
        """Wait for `seconds`, at most until the limit; returns False if the container is stopped."""
        limit, status = self._limit
        remaining = max(0.0, limit - time.monotonic())
        if not self._stop_requested.wait(min(seconds, remaining)) and seconds >= remaining:
            self.stop(status)
        return not self.stopped_as

    def stop(self, status: str) -> None:
        """Terminate the process, and kill it after a grace period; the job ends with the SecondaryStatus `status`."""
        with self._lock:
            if not self.stopped_as:
                self.stopped_as = status
                self._stop_requested.set()
                self._kill_at = time.monotonic() + GRACE_SECONDS
                self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self.stop("Stopped")
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def run(self, folder: Path, environment: dict[str, str], log: TrainingLog, *, interrupt: bool) -> int:
        """Train in a prepared folder, up to the limit; returns the exit code, 128 + n after signal n.

        With `interrupt` the process is killed after its first line of output.
        """
        with self._lock:
            if self.stopped_as:
                return 128 + signal.SIGTERM
            process = self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "linear_learner", "train", str(folder)],
                cwd=folder,
                env=os.environ | SINGLE_THREAD_ENVIRONMENT | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with process:
            reader = threading.Thread(target=self._read_output, args=(process, log, interrupt))
            reader.start()
            while reader.is_alive():
                reader.join(FLUSH_SECONDS)
                log.flush()
                self.wait(0)  # stops it at the limit
                if time.monotonic() > self._kill_at:
                    self._signal(signal.SIGKILL)
            log.flush()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _read_output(self, process: subprocess.Popen[bytes], log: TrainingLog, interrupt: bool) -> None:
        for line in process.stdout or ():
            log.add(line.decode(errors="replace").rstrip("\r\n"))
            if interrupt:
                self._signal(signal.SIGKILL)


# The container always reads files, also in Pipe mode: the records and their order are the same.
CHANNEL = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}


def prepare_folder(folder: Path, job: TrainingJob) -> None:
    """Write the files that the container reads: hyperparameters, channels, hosts; create the folders it writes to."""
    configuration = folder / "input" / "config"
    for place in (configuration, folder / "input" / "data", folder / "model", folder / "output"):
        place.mkdir(parents=True, exist_ok=True)
    channels = {
        channel["ChannelName"]: CHANNEL | {k: channel[k] for k in ("ContentType", "RecordWrapperType") if k in channel}
        for channel in job.document["InputDataConfig"]
    }
    for name, content in (
        ("hyperparameters", job.document.get("HyperParameters", {})),
        ("inputdataconfig", channels),
        ("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}),
    ):
        (configuration / f"{name}.json").write_text(json.dumps(content))


def failure_reason(folder: Path, code: int) -> str:
    """The FailureReason for an exit code: a ClientError for 2, an AlgorithmError for others."""
    file = folder / "output" / "failure"
    text = file.read_text(errors="replace").strip() if file.is_file() else ""
    error_type = "ClientError" if code == 2 else "AlgorithmError"
    suffix = f", exit code: {code}"
    return f"{error_type}: {text[: 1000 - len(suffix)]}{suffix}"
