"""SageMaker's training jobs: the API calls on them, and the state of each job."""

import json
import math
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from sandbox.account import ACCOUNT, REGION
from sandbox.faults import Fault, Faults
from sandbox.sagemaker.api_model import Document, ServiceError, list_page, now, read_tags
from sandbox.sagemaker.training_log import delete_log
from sandbox.storage import replace_json, skip_if_damaged

FINAL_STATUSES = ("Completed", "Failed", "Stopped")
STARTING_MESSAGE = "Starting the training job"
STOPPED_MESSAGE = "Training job stopped"
DEFAULT_STOPPING_CONDITION = {"MaxRuntimeInSeconds": 86400}
FLAGS = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")
MAX_FAILURE_REASON_LENGTH = 1024
SPOT_PERCENT = 30
"""Percentage of its training time that is billed for a spot job; invented, as the real one follows the market."""
ARN_PREFIX = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/"


class TrainingJob:
    """A job in its own folder; every change is on disk before the method returns."""

    def __init__(self, folder: Path, document: Document, tags: dict[str, str]) -> None:
        self.folder = folder
        self.tags = tags
        self.lock = threading.RLock()
        self.faults: Mapping[str, Fault] = {}
        self._document = document

    @classmethod
    def create(cls, folder: Path, request: Mapping[str, Any]) -> Self:
        document = {name: value for name, value in request.items() if name != "Tags"}
        document |= {name: request.get(name, False) for name in FLAGS}
        document["StoppingCondition"] = DEFAULT_STOPPING_CONDITION | request.get("StoppingCondition", {})
        metrics = [{"Name": name, "Regex": regex} for name, regex in METRIC_DEFINITIONS.items()]
        document["AlgorithmSpecification"] = request["AlgorithmSpecification"] | {"MetricDefinitions": metrics}
        document["InputDataConfig"] = [
            {"CompressionType": "None", "RecordWrapperType": "None"} | channel
            for channel in request.get("InputDataConfig", [])
        ]
        document["TrainingJobArn"] = f"{ARN_PREFIX}{request['TrainingJobName']}"
        document["CreationTime"] = now()
        job = cls(folder, document, read_tags(request))
        job.reset()
        return job

    @classmethod
    def load(cls, folder: Path) -> Self:
        record = json.loads((folder / "job.json").read_text())
        return cls(folder, record["document"], record["tags"])

    def reset(self) -> None:
        """Return to `Starting` and remove the times and transitions of the interrupted attempt."""
        self._document.pop("TrainingStartTime", None)
        self._document["SecondaryStatusTransitions"] = []
        self.enter_status("Starting", STARTING_MESSAGE, "InProgress")

    @property
    def name(self) -> str:
        return str(self._document["TrainingJobName"])

    @property
    def status(self) -> str:
        """`InProgress`, `Stopping`, `Completed`, `Failed` or `Stopped`."""
        return str(self._document["TrainingJobStatus"])

    @property
    def spot(self) -> bool:
        return bool(self._document["EnableManagedSpotTraining"])

    def __getitem__(self, name: str) -> Any:
        return self._document[name]

    def document(self) -> Document:
        """A copy of the DescribeTrainingJob response; times are seconds since the epoch."""
        with self.lock:
            copy: Document = json.loads(json.dumps(self._document))
        return copy

    def enter_status(self, secondary: str, message: str, status: str | None = None, **fields: Any) -> None:
        """End the current secondary status and begin the next; a final `status` ends the job."""
        with self.lock:
            time, transitions = now(), self._document["SecondaryStatusTransitions"]
            if transitions:
                transitions[-1]["EndTime"] = time
            transitions.append({"Status": secondary, "StartTime": time, "StatusMessage": message})
            if status in FINAL_STATUSES:
                transitions[-1]["EndTime"] = time
                fields |= self._billing_fields(time)
            if secondary == "Downloading":
                # Billing starts here; an interrupted job keeps its first start time.
                fields["TrainingStartTime"] = self._document.get("TrainingStartTime", time)
            fields |= {"SecondaryStatus": secondary, "LastModifiedTime": time}
            self._document |= fields | ({"TrainingJobStatus": status} if status else {})
            self.save()

    def request_stop(self) -> None:
        self.enter_status("Stopping", "Stopping the training job", "Stopping")

    def fail(self, reason: str) -> None:
        reason = reason[:MAX_FAILURE_REASON_LENGTH]
        self.enter_status("Failed", "Training job failed", "Failed", FailureReason=reason)

    def _billing_fields(self, time: float) -> dict[str, Any]:
        if "TrainingStartTime" not in self._document:
            return {"TrainingEndTime": time}
        seconds = max(1, math.ceil(time - self._document["TrainingStartTime"]))
        billable = math.ceil(seconds * SPOT_PERCENT / 100) if self.spot else seconds
        return {"TrainingEndTime": time, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}

    def save(self) -> None:
        with self.lock:
            replace_json(self.folder / "job.json", {"document": self._document, "tags": self.tags})


SORT_FIELDS = {
    "Name": ("TrainingJobName",),
    "CreationTime": ("CreationTime", "TrainingJobName"),
    "Status": ("TrainingJobStatus", "TrainingJobName"),
}


class TrainingJobs:
    """The jobs of a folder; `start` is called with each job to run, `stop` with each running job to stop.

    A job that was running when the last server of this folder ended is reset, and starts again with the first call
    that names it. On AWS it would have continued to train; here, a job that no client follows would occupy the machine.
    """

    arn_pattern = re.compile(f"{ARN_PREFIX}.+")

    def __init__(
        self, folder: Path, start: Callable[[TrainingJob], None], stop: Callable[[TrainingJob], None], faults: Faults
    ) -> None:
        self._folder = folder
        self._start = start
        self._stop = stop
        self._faults = faults
        self._jobs: dict[str, TrainingJob] = {}
        self._to_restart: set[str] = set()
        self.actions: Mapping[str, Callable[[dict[str, Any]], Document]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": lambda request: self._get(request["TrainingJobName"]).document(),
            "StopTrainingJob": self._stop_job,
            "ListTrainingJobs": self._list,
        }
        for record in folder.glob("*/job.json"):
            with skip_if_damaged(record):
                self._load(record.parent)

    def _load(self, folder: Path) -> None:
        job = TrainingJob.load(folder)
        self._jobs[job.name] = job
        if job.status in FINAL_STATUSES:
            return
        for leftover in folder.glob("container-*"):
            shutil.rmtree(leftover)
        if job.status == "Stopping":
            job.enter_status("Stopped", STOPPED_MESSAGE, "Stopped")
        else:
            delete_log(folder)
            job.reset()
            self._to_restart.add(job.name)

    def __iter__(self) -> Iterator[TrainingJob]:
        return iter(list(self._jobs.values()))

    def counts(self) -> dict[str, int]:
        return {"InProgress": 0} | Counter(job.status for job in self)

    def tagged_resource(self, arn: str) -> TrainingJob:
        return self._get(arn.removeprefix(ARN_PREFIX))

    def _create(self, request: dict[str, Any]) -> Document:
        _check_job_request(request)
        name = request["TrainingJobName"]
        if name in self._jobs:
            raise ServiceError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a training job with this "
                f"name already exists ({self._jobs[name]['TrainingJobArn']})",
            )
        job = self._jobs[name] = TrainingJob.create(self._folder / name, request)
        job.faults = self._faults.take_for_job(job["ResourceConfig"].get("InstanceType"), job.spot)
        self._start(job)
        return {"TrainingJobArn": job["TrainingJobArn"]}

    def _get(self, name: str) -> TrainingJob:
        if name not in self._jobs:
            raise ServiceError("ValidationException", "Requested resource not found.")
        if name in self._to_restart:
            self._to_restart.remove(name)
            self._start(self._jobs[name])
        return self._jobs[name]

    def _stop_job(self, request: dict[str, Any]) -> Document:
        job = self._get(request["TrainingJobName"])
        with job.lock:
            if job.status in FINAL_STATUSES:
                raise ServiceError(
                    "ValidationException",
                    f"The request was rejected because the training job is in status {job.status}.",
                )
            if job.status == "InProgress":
                job.request_stop()
        self._stop(job)
        return {}

    def _list(self, request: dict[str, Any]) -> Document:
        status = request.get("StatusEquals")
        chosen = (job.document() for job in self if status in {None, job.status})
        return list_page("ListTrainingJobs", request, chosen, SORT_FIELDS)


def _check_job_request(request: Mapping[str, Any]) -> None:
    if request["AlgorithmSpecification"].get("MetricDefinitions"):
        raise ServiceError(
            "ValidationException",
            "You can't override the metric definitions for Amazon SageMaker algorithms. "
            "Please retry the request without specifying metric definitions.",
        )
    condition = request.get("StoppingCondition", {})
    spot, wait = request.get("EnableManagedSpotTraining"), condition.get("MaxWaitTimeInSeconds", 0)
    broken = ""
    if spot and wait < condition.get("MaxRuntimeInSeconds", 1):
        broken = "It must be present and be greater than or equal to MaxRuntimeInSeconds"
    if wait and not spot:
        broken = "It is only supported when EnableManagedSpotTraining is set to true"
    if broken:
        raise ServiceError("ValidationException", f"Invalid MaxWaitTimeInSeconds. {broken}")
