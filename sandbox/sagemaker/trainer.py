"""Runs training jobs, two at a time: downloads channels, runs the container, uploads the model, sets the status."""

import math
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.sagemaker.training_container import (
    Container,
    JobError,
    check_image,
    download_channel,
    failure_reason,
    prepare_folder,
    upload_model,
)
from sandbox.sagemaker.training_jobs import SPOT, TrainingJob
from sandbox.sagemaker.training_log import TrainingLog, delete_log

MAX_PARALLEL_JOBS = 2
MAX_FAILURE_REASON_LENGTH = 1024
NO_CAPACITY_MESSAGE = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
DISK_FULL_MESSAGE = "ClientError: Insufficient disk space"
INTERNAL_ERROR_MESSAGE = "InternalServerError: We encountered an internal error. Please try again."


class Trainer:
    """Runs jobs in the order of their start; `client` returns the boto3 client of a service of the sandbox."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(MAX_PARALLEL_JOBS, thread_name_prefix="training-job")
        self._runs: dict[str, tuple[Future[None], Container]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def start(self, job: TrainingJob) -> None:
        run = JobRun(job, self._client, self._closing)
        with self._lock:
            if not self._closing.is_set():
                self._runs[job.name] = (self._pool.submit(run.run), run.container)

    def stop(self, job: TrainingJob) -> None:
        """Stop a job in status `Stopping`, whether it runs or is queued."""
        with self._lock:
            if job.name in self._runs:
                future, container = self._runs[job.name]
                container.stop("Stopped")
                if future.cancel():
                    job.enter_status("Stopped")

    def close(self) -> None:
        """Kill all containers but do not change the status of their jobs, so that the next server restarts them."""
        with self._lock:
            self._closing.set()
            for _, container in self._runs.values():
                container.kill()
        self._pool.shutdown(cancel_futures=True)


class JobRun:
    """Runs a job to its end, or until `closing` is set."""

    def __init__(self, job: TrainingJob, client: Callable[[str], Any], closing: threading.Event) -> None:
        self.container = Container()
        self._job = job
        self._client = client
        self._closing = closing
        if job.document[SPOT]:
            self.container.set_limit(job.document["StoppingCondition"]["MaxWaitTimeInSeconds"], "MaxWaitTimeExceeded")

    def run(self) -> None:
        job = self._job
        self._log = TrainingLog(self._client("logs"), job.name, job.folder)
        try:
            self._provision()
            check_image(job.document["AlgorithmSpecification"].get("TrainingImage"))
            interrupted = "spot-interruption" in job.faults
            while self._run_attempt(interrupted):
                interrupted = False
        except Exception as error:  # noqa: BLE001 - after any error the job must not stay InProgress
            if self._closing.is_set():
                return  # the shutdown may have caused the error
            if not isinstance(error, JobError):
                traceback.print_exc()
            reason = str(error) if isinstance(error, JobError) else INTERNAL_ERROR_MESSAGE
            job.enter_status("Failed", FailureReason=reason[:MAX_FAILURE_REASON_LENGTH])
        if "missing-log" in job.faults:
            delete_log(job.folder)
        elif "late-log" in job.faults:
            threading.Thread(target=self._publish_late_log, daemon=True).start()

    def _publish_late_log(self) -> None:
        if not self._closing.wait(self._job.faults["late-log"].seconds):
            self._log.publish()

    def _provision(self) -> None:
        fault = self._job.faults.get("no-capacity")
        if self.container.wait(fault.seconds if fault else 0) and fault:
            if not self._job.document[SPOT]:
                raise JobError(NO_CAPACITY_MESSAGE)
            self.container.stop("MaxWaitTimeExceeded")

    def _run_attempt(self, interrupted: bool) -> bool:
        """Run the job from `Downloading` on; returns whether it was interrupted and has to start again."""
        job = self._job
        with tempfile.TemporaryDirectory(prefix="container-", dir=job.folder) as name:
            folder, artifacts = Path(name), dict[str, Any]()
            if self._enter_status("Downloading"):
                if "disk-full" in job.faults:
                    raise JobError(DISK_FULL_MESSAGE)
                prepare_folder(folder, job)
                for channel in job.document["InputDataConfig"]:
                    download_channel(self._client("s3"), job, channel, folder)
            if self._enter_status("Training"):
                code = self._train(folder, interrupted)
                if interrupted and self._enter_status("Interrupted"):
                    self._enter_status("Starting")
                    return True
                if code != 0 and not self.container.stopped_as:
                    raise JobError(failure_reason(folder, code))
                artifacts = {"FinalMetricDataList": self._log.final_metrics()}
                if code == 0:
                    job.enter_status("Uploading")
                    artifacts["ModelArtifacts"] = {"S3ModelArtifacts": upload_model(self._client("s3"), job, folder)}
            if not self._closing.is_set():
                self._end(artifacts)
        return False

    def _enter_status(self, secondary: str) -> bool:
        """Enter a secondary status and return True, unless the job is being stopped."""
        with self._job.lock:
            continues = self._job.status == "InProgress" and not self.container.stopped_as
            if continues:
                self._job.enter_status(secondary)
        return continues

    def _train(self, folder: Path, interrupted: bool) -> int:
        job, container = self._job, self.container
        overrun, slow = job.faults.get("max-runtime"), job.faults.get("slow-job")
        limit = overrun.seconds if overrun else job.document["StoppingCondition"]["MaxRuntimeInSeconds"]
        container.set_limit(limit, "MaxRuntimeExceeded")
        if not {"late-log", "missing-log"} & job.faults.keys():
            self._log.publish()
        if container.wait(slow.seconds if slow else 0) and "internal-error" in job.faults:
            raise JobError(INTERNAL_ERROR_MESSAGE)
        environment = {**job.document.get("Environment", {}), "TRAINING_JOB_NAME": job.name}
        code = container.run(folder, environment, self._log, interrupt=interrupted)
        if overrun and code == 0:
            container.wait(math.inf)  # training ended before the limit, but the fault is to exceed it
            code = 128 + signal.SIGTERM
        return code

    def _end(self, artifacts: Mapping[str, Any]) -> None:
        job = self._job
        with job.lock:
            status = "Stopped" if job.status == "Stopping" else self.container.stopped_as or "Completed"
            if status == "MaxWaitTimeExceeded":
                job.enter_status("Stopping")
            job.enter_status(status, **artifacts)
