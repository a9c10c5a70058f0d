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

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from sandbox.sagemaker.training_container import (
    Container,
    JobError,
    check_image,
    download_channel,
    failure_reason,
    prepare_folder,
    upload_model,
)
from sandbox.sagemaker.training_jobs import STARTING_MESSAGE, STOPPED_MESSAGE, TrainingJob
from sandbox.sagemaker.training_log import TrainingLog, delete_log

MAX_PARALLEL_JOBS = 2
TRAINING_MESSAGE = "Training image download completed. Training in progress."
# This and the message of MaxWaitTimeExceeded quote the documentation; that the service sends the same is inferred.
INTERRUPTED_MESSAGE = "The job stopped because the managed spot training instances were interrupted"
END_MESSAGES = {
    "Completed": "Training job completed",
    "Stopped": STOPPED_MESSAGE,
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "The job stopped because it exceeded the maximum allowed wait time",
}
"""Status message by the final secondary status."""
NO_CAPACITY_MESSAGE = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
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
            future, container = self._runs.get(job.name, (None, None))
        if container:
            container.stop("Stopped")
        if future and future.cancel():
            job.enter_status("Stopped", STOPPED_MESSAGE, "Stopped")

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
        if job.spot:
            self.container.set_limit(job["StoppingCondition"]["MaxWaitTimeInSeconds"], "MaxWaitTimeExceeded")

    def run(self) -> None:
        job = self._job
        self._log = TrainingLog(self._client("logs"), job.name, job.folder, METRIC_DEFINITIONS)
        try:
            self._provision()
            check_image(job["AlgorithmSpecification"].get("TrainingImage"))
            interrupted = "spot-interruption" in job.faults
            while self._run_attempt(interrupted):
                interrupted = False
        except Exception as error:  # noqa: BLE001 - after any error the job must not stay InProgress
            if self._closing.is_set():
                return  # the shutdown may have caused the error
            if not isinstance(error, JobError):
                traceback.print_exc()
            job.fail(str(error) if isinstance(error, JobError) else INTERNAL_ERROR_MESSAGE)
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
            if not self._job.spot:
                raise JobError(NO_CAPACITY_MESSAGE)
            self.container.stop("MaxWaitTimeExceeded")

    def _run_attempt(self, interrupted: bool) -> bool:
        """Run the job from `Downloading` on; returns whether it was interrupted and has to start again."""
        with tempfile.TemporaryDirectory(prefix="container-", dir=self._job.folder) as name:
            folder, artifacts = Path(name), dict[str, Any]()
            if self._enter_status("Downloading", "Downloading input data"):
                self._download(folder)
            if self._enter_status("Training", TRAINING_MESSAGE):
                code = self._train(folder, interrupted)
                if interrupted and self._enter_status("Interrupted", INTERRUPTED_MESSAGE):
                    self._enter_status("Starting", STARTING_MESSAGE)
                    return True
                if self.container.stopped_as is None and code != 0:
                    raise JobError(failure_reason(folder, code))
                artifacts = {"FinalMetricDataList": self._log.final_metrics()}
                if code == 0:
                    self._job.enter_status("Uploading", "Uploading generated training model")
                    uri = upload_model(self._client("s3"), self._job, folder / "model")
                    artifacts["ModelArtifacts"] = {"S3ModelArtifacts": uri}
            if not self._closing.is_set():
                self._end(artifacts)
        return False

    def _enter_status(self, secondary: str, message: str) -> bool:
        """Enter a secondary status and return True, unless the job is being stopped."""
        with self._job.lock:
            continues = self._job.status == "InProgress" and self.container.stopped_as is None
            if continues:
                self._job.enter_status(secondary, message)
        return continues

    def _download(self, folder: Path) -> None:
        prepare_folder(folder, self._job)
        for channel in self._job["InputDataConfig"]:
            target = folder / "input" / "data" / channel["ChannelName"]
            download_channel(self._client("s3"), self._job, channel, target)

    def _train(self, folder: Path, interrupted: bool) -> int:
        job, container = self._job, self.container
        overrun, slow = job.faults.get("max-runtime"), job.faults.get("slow-job")
        limit = overrun.seconds if overrun else job["StoppingCondition"]["MaxRuntimeInSeconds"]
        container.set_limit(limit, "MaxRuntimeExceeded")
        if not {"late-log", "missing-log"} & job.faults.keys():
            self._log.publish()
        if container.wait(slow.seconds if slow else 0) and "internal-error" in job.faults:
            raise JobError(INTERNAL_ERROR_MESSAGE)
        environment = {**job.document().get("Environment", {}), "TRAINING_JOB_NAME": job.name}
        code = container.run(folder, environment, self._log, interrupt=interrupted)
        if overrun and code == 0:
            container.wait(math.inf)  # training ended before the limit, but the fault is to exceed it
            code = 128 + signal.SIGTERM
        return code

    def _end(self, artifacts: Mapping[str, Any]) -> None:
        job, stopped_as = self._job, self.container.stopped_as
        with job.lock:
            if job.status == "Stopping":
                stopped_as = "Stopped"
            elif stopped_as == "MaxWaitTimeExceeded":
                job.request_stop()
            status = "Stopped" if stopped_as else "Completed"
            secondary = stopped_as or status
            job.enter_status(secondary, END_MESSAGES[secondary], status, **artifacts)
