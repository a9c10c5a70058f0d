"""Runs training jobs, two at a time: channels down, container, model up, and the record kept all the while."""

import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from linear_learner.metric_definitions import METRIC_DEFINITIONS
from sandbox.channels import JobError, check_image, download_channel, upload_model
from sandbox.container import Container, Ending, failure_reason, prepare
from sandbox.training_job import TrainingJob
from sandbox.training_log import TrainingLog

AT_ONCE = 2
TRAINING = "Training image download completed. Training in progress."


class Trainer:
    """Takes jobs and runs each in its turn; `client` makes AWS clients of the sandbox itself."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="training-job")
        self._runs: dict[str, tuple[Future[None], Container]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def start(self, job: TrainingJob) -> None:
        """Queue a job."""
        container = Container()
        with self._lock:
            if not self._closed:
                self._runs[job.name] = (self._pool.submit(self._run, job, container), container)

    def stop(self, job: TrainingJob) -> None:
        """End a job that is `Stopping`, whether it runs already or waits."""
        with self._lock:
            future, container = self._runs.get(job.name, (None, None))
        if container:
            container.stop(Ending.STOPPED)
        if future and future.cancel():
            job.end("Stopped", "Stopped", "Training job stopped")

    def close(self) -> None:
        """Kill what runs, and leave the records as they are: the next server starts those jobs again."""
        with self._lock:
            self._closed = True
            for _, container in self._runs.values():
                container.kill()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, job: TrainingJob, container: Container) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="container-", dir=job.folder) as folder:
                self._attempt(job, container, Path(folder))
        except Exception as error:  # noqa: BLE001 - whatever it was, the job must not stay InProgress for ever
            if self._closed:
                return  # the failure may be the sandbox's own end
            if not isinstance(error, JobError):
                traceback.print_exc()
            unexpected = "InternalServerError: We encountered an internal error. Please try again."
            job.fail(str(error) if isinstance(error, JobError) else unexpected)

    def _attempt(self, job: TrainingJob, container: Container, folder: Path) -> None:
        artifacts: dict[str, Any] = {}
        if self._download(job, folder) and self._proceed(job, "Training", TRAINING):
            log = TrainingLog(self._client("logs"), job.name, job.folder, METRIC_DEFINITIONS)
            seconds = job["StoppingCondition"]["MaxRuntimeInSeconds"]
            code = container.run(folder, job.environment, seconds, log)
            if container.ending is None and code != 0:
                raise JobError(failure_reason(folder, code))
            artifacts = {"FinalMetricDataList": log.final_metrics()}
            if code == 0:
                job.enter("Uploading", "Uploading generated training model")
                uri = upload_model(self._client("s3"), job, folder / "model")
                artifacts["ModelArtifacts"] = {"S3ModelArtifacts": uri}
        if not self._closed:
            _end(job, container.ending, artifacts)

    def _download(self, job: TrainingJob, folder: Path) -> bool:
        check_image(job["AlgorithmSpecification"].get("TrainingImage"))
        if not self._proceed(job, "Downloading", "Downloading input data"):
            return False
        prepare(folder, job)
        for channel in job["InputDataConfig"]:
            download_channel(self._client("s3"), job, channel, folder / "input" / "data" / channel["ChannelName"])
        return True

    def _proceed(self, job: TrainingJob, secondary: str, message: str) -> bool:
        with job.lock:
            wanted = job.status == "InProgress" and not self._closed
            if wanted:
                job.enter(secondary, message)
        return wanted


def _end(job: TrainingJob, ending: Ending | None, artifacts: Mapping[str, Any]) -> None:
    with job.lock:
        if job.status == "Stopping":
            job.end("Stopped", "Stopped", "Training job stopped", **artifacts)
        elif ending is Ending.TIMED_OUT:
            message = "Training job runtime exceeded MaxRuntimeInSeconds provided"
            job.end("Stopped", "MaxRuntimeExceeded", message, **artifacts)
        else:
            job.end("Completed", "Completed", "Training job completed", **artifacts)
