"""Runs training jobs, two at a time: channels down, container, model up, and the record kept all the while."""

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
from sandbox.faults import InternalError, LateLog, MaxRuntime, MissingLog, NoCapacity, SlowJob, SpotInterruption
from sandbox.sagemaker.training_container import (
    Container,
    JobError,
    StopCause,
    check_image,
    download_channel,
    failure_reason,
    prepare,
    upload_model,
)
from sandbox.sagemaker.training_jobs import STARTING, TrainingJob
from sandbox.sagemaker.training_log import TrainingLog, forget

AT_ONCE = 2
TRAINING = "Training image download completed. Training in progress."
# What the documentation says of these two statuses; that the service's messages read the same is inferred.
INTERRUPTED = "The job stopped because the managed spot training instances were interrupted"
WAITED_OUT = "The job stopped because it exceeded the maximum allowed wait time"
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."


class Trainer:
    """Takes jobs and runs each in its turn; `client` makes AWS clients of the sandbox itself."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="training-job")
        self._afterwards = ThreadPoolExecutor(thread_name_prefix="late-log")
        self._runs: dict[str, tuple[Future[None], Container]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def start(self, job: TrainingJob) -> None:
        """Queue a job."""
        container = Container()
        if job.spot:
            container.limit(job["StoppingCondition"]["MaxWaitTimeInSeconds"], StopCause.WAITED_OUT)
        with self._lock:
            if not self._closing.is_set():
                self._runs[job.name] = (self._pool.submit(self._run, job, container), container)

    def stop(self, job: TrainingJob) -> None:
        """End a job that is `Stopping`, whether it runs already or waits."""
        with self._lock:
            future, container = self._runs.get(job.name, (None, None))
        if container:
            container.stop(StopCause.STOPPED)
        if future and future.cancel():
            job.end("Stopped", "Stopped", "Training job stopped")

    def close(self) -> None:
        """Kill what runs, and leave the records as they are: the next server starts those jobs again."""
        with self._lock:
            self._closing.set()
            for _, container in self._runs.values():
                container.kill()
        self._pool.shutdown(cancel_futures=True)
        self._afterwards.shutdown()

    def _run(self, job: TrainingJob, container: Container) -> None:
        try:
            log = TrainingLog(self._client("logs"), job.name, job.folder, METRIC_DEFINITIONS)
            _provision(job, container)
            interrupted = job.fault(SpotInterruption) is not None
            while self._attempt(job, container, log, interrupted):
                interrupted = False
        except Exception as error:  # noqa: BLE001 - whatever it was, the job must not stay InProgress for ever
            if self._closing.is_set():
                return  # the failure may be the sandbox's own end
            if not isinstance(error, JobError):
                traceback.print_exc()
            job.fail(str(error) if isinstance(error, JobError) else INTERNAL_ERROR)
        if job.fault(MissingLog):
            forget(job.folder)
        elif (late := job.fault(LateLog)) and log.hidden:
            self._afterwards.submit(self._show, log, late.seconds)

    def _show(self, log: TrainingLog, seconds: float) -> None:
        if not self._closing.wait(seconds):
            log.show()

    def _attempt(self, job: TrainingJob, container: Container, log: TrainingLog, interrupted: bool) -> bool:
        """Whether the job has to begin again."""
        with tempfile.TemporaryDirectory(prefix="container-", dir=job.folder) as name:
            folder = Path(name)
            artifacts: dict[str, Any] = {}
            if self._download(job, container, folder) and _proceed(job, container, "Training", TRAINING):
                code = _train(job, container, folder, log, interrupted)
                if interrupted and container.ending is None:
                    _proceed(job, container, "Interrupted", INTERRUPTED)
                    _proceed(job, container, "Starting", STARTING)
                    return True
                if container.ending is None and code != 0:
                    raise JobError(failure_reason(folder, code))
                artifacts = {"FinalMetricDataList": log.final_metrics()}
                if code == 0:
                    job.enter("Uploading", "Uploading generated training model")
                    uri = upload_model(self._client("s3"), job, folder / "model")
                    artifacts["ModelArtifacts"] = {"S3ModelArtifacts": uri}
            if not self._closing.is_set():
                _end(job, container.ending, artifacts)
        return False

    def _download(self, job: TrainingJob, container: Container, folder: Path) -> bool:
        check_image(job["AlgorithmSpecification"].get("TrainingImage"))
        if not _proceed(job, container, "Downloading", "Downloading input data"):
            return False
        prepare(folder, job)
        for channel in job["InputDataConfig"]:
            download_channel(self._client("s3"), job, channel, folder / "input" / "data" / channel["ChannelName"])
        return True


def _provision(job: TrainingJob, container: Container) -> None:
    fault = job.fault(NoCapacity)
    if container.wait(fault.seconds if fault else 0) and fault:
        if not job.spot:
            raise JobError(NO_CAPACITY)
        container.stop(StopCause.WAITED_OUT)


def _proceed(job: TrainingJob, container: Container, secondary: str, message: str) -> bool:
    with job.lock:
        wanted = job.status == "InProgress" and container.ending is None
        if wanted:
            job.enter(secondary, message)
    return wanted


def _train(job: TrainingJob, container: Container, folder: Path, log: TrainingLog, interrupted: bool) -> int:
    overrun, slow = job.fault(MaxRuntime), job.fault(SlowJob)
    limit = overrun.seconds if overrun else job["StoppingCondition"]["MaxRuntimeInSeconds"]
    container.limit(limit, StopCause.TIMED_OUT)
    if not (job.fault(LateLog) or job.fault(MissingLog)):
        log.show()
    if container.wait(slow.seconds if slow else 0) and job.fault(InternalError):
        raise JobError(INTERNAL_ERROR)
    code = container.run(folder, job.environment, log, cut_short=interrupted)
    if overrun and code == 0:
        container.wait(math.inf)  # it was done before the limit, which must not show
        code = 128 + signal.SIGTERM
    return code


def _end(job: TrainingJob, ending: StopCause | None, artifacts: Mapping[str, Any]) -> None:
    with job.lock:
        if job.status == "Stopping":
            job.end("Stopped", "Stopped", "Training job stopped", **artifacts)
        elif ending is StopCause.TIMED_OUT:
            message = "Training job runtime exceeded MaxRuntimeInSeconds provided"
            job.end("Stopped", "MaxRuntimeExceeded", message, **artifacts)
        elif ending is StopCause.WAITED_OUT:
            job.ask_to_stop()
            job.end("Stopped", "MaxWaitTimeExceeded", WAITED_OUT, **artifacts)
        else:
            job.end("Completed", "Completed", "Training job completed", **artifacts)
