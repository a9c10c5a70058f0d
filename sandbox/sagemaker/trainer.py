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
    StopCause,
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
MAX_RUNTIME_MESSAGE = "Training job runtime exceeded MaxRuntimeInSeconds provided"
# The documentation's wording for these two statuses; that the service's messages are the same is inferred.
INTERRUPTED_MESSAGE = "The job stopped because the managed spot training instances were interrupted"
MAX_WAIT_MESSAGE = "The job stopped because it exceeded the maximum allowed wait time"
NO_CAPACITY_MESSAGE = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
INTERNAL_ERROR_MESSAGE = "InternalServerError: We encountered an internal error. Please try again."


class Trainer:
    """Runs jobs in the order of their start; `client` makes AWS clients of the sandbox."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(MAX_PARALLEL_JOBS, thread_name_prefix="training-job")
        self._runs: dict[str, tuple[Future[None], Container]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def start(self, job: TrainingJob) -> None:
        """Queue a job."""
        container = Container()
        if job.spot:
            container.set_limit(job["StoppingCondition"]["MaxWaitTimeInSeconds"], StopCause.WAITED_OUT)
        with self._lock:
            if not self._closing.is_set():
                self._runs[job.name] = (self._pool.submit(self._run, job, container), container)

    def stop(self, job: TrainingJob) -> None:
        """End a job that is `Stopping`, whether it runs or is queued."""
        with self._lock:
            future, container = self._runs.get(job.name, (None, None))
        if container:
            container.stop(StopCause.STOPPED)
        if future and future.cancel():
            job.enter_status("Stopped", STOPPED_MESSAGE, "Stopped")

    def close(self) -> None:
        """Kill all containers and leave the jobs' status as it is: the next server starts those jobs again."""
        with self._lock:
            self._closing.set()
            for _, container in self._runs.values():
                container.kill()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, job: TrainingJob, container: Container) -> None:
        try:
            log = TrainingLog(self._client("logs"), job.name, job.folder, METRIC_DEFINITIONS)
            _provision(job, container)
            interrupted = "spot-interruption" in job.faults
            while self._run_attempt(job, container, log, interrupted):
                interrupted = False
        except Exception as error:  # noqa: BLE001 - after any error the job must not stay InProgress
            if self._closing.is_set():
                return  # the error may be a consequence of the sandbox's end
            if not isinstance(error, JobError):
                traceback.print_exc()
            job.fail(str(error) if isinstance(error, JobError) else INTERNAL_ERROR_MESSAGE)
        if "missing-log" in job.faults:
            delete_log(job.folder)
        elif late := job.faults.get("late-log"):
            threading.Thread(target=self._publish_later, args=(log, late.seconds), daemon=True).start()

    def _publish_later(self, log: TrainingLog, seconds: float) -> None:
        if not self._closing.wait(seconds):
            log.publish()

    def _run_attempt(self, job: TrainingJob, container: Container, log: TrainingLog, interrupted: bool) -> bool:
        """Run the job from its download on; returns whether it was interrupted and has to begin again."""
        with tempfile.TemporaryDirectory(prefix="container-", dir=job.folder) as name:
            folder = Path(name)
            artifacts: dict[str, Any] = {}
            if self._download(job, container, folder) and _enter_if_running(
                job, container, "Training", TRAINING_MESSAGE
            ):
                code = _train(job, container, folder, log, interrupted)
                if interrupted and container.stop_cause is None:
                    _enter_if_running(job, container, "Interrupted", INTERRUPTED_MESSAGE)
                    _enter_if_running(job, container, "Starting", STARTING_MESSAGE)
                    return True
                if container.stop_cause is None and code != 0:
                    raise JobError(failure_reason(folder, code))
                artifacts = {"FinalMetricDataList": log.final_metrics()}
                if code == 0:
                    job.enter_status("Uploading", "Uploading generated training model")
                    uri = upload_model(self._client("s3"), job, folder / "model")
                    artifacts["ModelArtifacts"] = {"S3ModelArtifacts": uri}
            if not self._closing.is_set():
                _end_job(job, container.stop_cause, artifacts)
        return False

    def _download(self, job: TrainingJob, container: Container, folder: Path) -> bool:
        check_image(job["AlgorithmSpecification"].get("TrainingImage"))
        if not _enter_if_running(job, container, "Downloading", "Downloading input data"):
            return False
        prepare_folder(folder, job)
        for channel in job["InputDataConfig"]:
            download_channel(self._client("s3"), job, channel, folder / "input" / "data" / channel["ChannelName"])
        return True


def _provision(job: TrainingJob, container: Container) -> None:
    fault = job.faults.get("no-capacity")
    if container.wait(fault.seconds if fault else 0) and fault:
        if not job.spot:
            raise JobError(NO_CAPACITY_MESSAGE)
        container.stop(StopCause.WAITED_OUT)


def _enter_if_running(job: TrainingJob, container: Container, secondary: str, message: str) -> bool:
    with job.lock:
        continues = job.status == "InProgress" and container.stop_cause is None
        if continues:
            job.enter_status(secondary, message)
    return continues


def _train(job: TrainingJob, container: Container, folder: Path, log: TrainingLog, interrupted: bool) -> int:
    overrun, slow = job.faults.get("max-runtime"), job.faults.get("slow-job")
    limit = overrun.seconds if overrun else job["StoppingCondition"]["MaxRuntimeInSeconds"]
    container.set_limit(limit, StopCause.TIMED_OUT)
    if not {"late-log", "missing-log"} & job.faults.keys():
        log.publish()
    if container.wait(slow.seconds if slow else 0) and "internal-error" in job.faults:
        raise JobError(INTERNAL_ERROR_MESSAGE)
    environment = {**job.document().get("Environment", {}), "TRAINING_JOB_NAME": job.name}
    code = container.run(folder, environment, log, interrupt=interrupted)
    if overrun and code == 0:
        container.wait(math.inf)  # it was done before the limit, but the job has to exceed it
        code = 128 + signal.SIGTERM
    return code


def _end_job(job: TrainingJob, stop_cause: StopCause | None, artifacts: Mapping[str, Any]) -> None:
    with job.lock:
        if job.status == "Stopping":
            job.enter_status("Stopped", STOPPED_MESSAGE, "Stopped", **artifacts)
        elif stop_cause is StopCause.TIMED_OUT:
            job.enter_status("MaxRuntimeExceeded", MAX_RUNTIME_MESSAGE, "Stopped", **artifacts)
        elif stop_cause is StopCause.WAITED_OUT:
            job.request_stop()
            job.enter_status("MaxWaitTimeExceeded", MAX_WAIT_MESSAGE, "Stopped", **artifacts)
        else:
            job.enter_status("Completed", "Training job completed", "Completed", **artifacts)
