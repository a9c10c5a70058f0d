"""SageMaker's training jobs: the API calls on them, and the state of each job."""

import json
import math
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from sandbox.account import ACCOUNT, REGION
from sandbox.faults import Faults, JobFault
from sandbox.sagemaker.api_model import ServiceError, paginate, tag_list, validate
from sandbox.sagemaker.training_log import delete_log
from sandbox.storage import replace_json

FINAL_STATUSES = ("Completed", "Failed", "Stopped")
STARTING_MESSAGE = "Starting the training job"
DEFAULT_STOPPING_CONDITION = {"MaxRuntimeInSeconds": 86400}
FLAGS = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")
MAX_FAILURE_REASON_LENGTH = 1024
SPOT_PERCENT = 30
"""Share of its training time that a spot job is billed; invented, as the real one follows the market."""
JobFaultT = TypeVar("JobFaultT", bound=JobFault)


class TrainingJob:
    """A job in a folder of its own; every change is on disk before the call that made it returns."""

    def __init__(self, folder: Path, document: dict[str, Any], tags: dict[str, str]) -> None:
        self.folder = folder
        self.tags = tags
        self.lock = threading.RLock()
        self.faults: tuple[JobFault, ...] = ()
        self._document = document

    @classmethod
    def create(cls, folder: Path, request: Mapping[str, Any], metric_definitions: Mapping[str, str]) -> Self:
        """A new job, `InProgress` and `Starting`."""
        document = {name: value for name, value in request.items() if name != "Tags"}
        document |= {name: request.get(name, False) for name in FLAGS}
        document["StoppingCondition"] = DEFAULT_STOPPING_CONDITION | request.get("StoppingCondition", {})
        metrics = [{"Name": name, "Regex": regex} for name, regex in metric_definitions.items()]
        document["AlgorithmSpecification"] = request["AlgorithmSpecification"] | {"MetricDefinitions": metrics}
        document["InputDataConfig"] = [
            {"CompressionType": "None", "RecordWrapperType": "None"} | channel
            for channel in request.get("InputDataConfig", [])
        ]
        document["TrainingJobArn"] = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{request['TrainingJobName']}"
        document["CreationTime"] = _now()
        job = cls(folder, document, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
        job.reset()
        return job

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The job as it was last written."""
        record = json.loads((folder / "job.json").read_text())
        return cls(folder, record["document"], record["tags"])

    def reset(self) -> None:
        """Set the job to the beginning, without traces of an attempt that ended with the process that ran it."""
        with self.lock:
            self._document.pop("TrainingStartTime", None)
            self._document |= {"TrainingJobStatus": "InProgress", "SecondaryStatusTransitions": []}
            self.enter_status("Starting", STARTING_MESSAGE)

    @property
    def name(self) -> str:
        """The name, unique within the sandbox."""
        return str(self._document["TrainingJobName"])

    @property
    def arn(self) -> str:
        """The ARN."""
        return str(self._document["TrainingJobArn"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of its container, beside the service's own."""
        return {**self._document.get("Environment", {}), "TRAINING_JOB_NAME": self.name}

    @property
    def status(self) -> str:
        """`InProgress`, `Stopping`, `Completed`, `Failed` or `Stopped`."""
        return str(self._document["TrainingJobStatus"])

    @property
    def spot(self) -> bool:
        """Whether it runs on spot instances."""
        return bool(self._document["EnableManagedSpotTraining"])

    def fault(self, kind: type[JobFaultT]) -> JobFaultT | None:
        """The fault of this kind to apply to the job, if any."""
        return next((fault for fault in self.faults if isinstance(fault, kind)), None)

    def __getitem__(self, name: str) -> Any:
        return self._document[name]

    def document(self) -> dict[str, Any]:
        """A copy of the DescribeTrainingJob response; times are seconds since the epoch."""
        with self.lock:
            copy: dict[str, Any] = json.loads(json.dumps(self._document))
        return copy

    def enter_status(self, secondary: str, message: str, **fields: Any) -> None:
        """End the current secondary status and begin the next."""
        with self.lock:
            now = _now()
            transitions = self._document["SecondaryStatusTransitions"]
            if transitions:
                transitions[-1]["EndTime"] = now
            transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
            if fields.get("TrainingJobStatus") in FINAL_STATUSES:
                transitions[-1]["EndTime"] = now
                fields |= self._billing_fields(now)
            if secondary == "Downloading":
                # Billing starts here; a job that was interrupted keeps its first start.
                fields["TrainingStartTime"] = self._document.get("TrainingStartTime", now)
            self._document |= fields | {"SecondaryStatus": secondary, "LastModifiedTime": now}
            self.save()

    def request_stop(self) -> None:
        """Change the status from `InProgress` to `Stopping`."""
        self.enter_status("Stopping", "Stopping the training job", TrainingJobStatus="Stopping")

    def end(self, status: str, secondary: str, message: str, **fields: Any) -> None:
        """End the job with this status."""
        self.enter_status(secondary, message, TrainingJobStatus=status, **fields)

    def _billing_fields(self, now: float) -> dict[str, Any]:
        if "TrainingStartTime" not in self._document:
            return {"TrainingEndTime": now}
        seconds = max(1, math.ceil(now - self._document["TrainingStartTime"]))
        billable = math.ceil(seconds * SPOT_PERCENT / 100) if self.spot else seconds
        return {"TrainingEndTime": now, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}

    def fail(self, reason: str) -> None:
        """End the job as `Failed`, with this FailureReason."""
        self.end("Failed", "Failed", "Training job failed", FailureReason=reason[:MAX_FAILURE_REASON_LENGTH])

    def save(self) -> None:
        """Write the record."""
        with self.lock:
            replace_json(self.folder / "job.json", {"document": self._document, "tags": self.tags})


def _now() -> float:
    return round(time.time(), 3)


ARN_PATTERN = re.compile(rf"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/(?P<name>.+)")
SUMMARY_FIELDS = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
)
SORT_FIELDS = {
    "Name": ("TrainingJobName",),
    "CreationTime": ("CreationTime", "TrainingJobName"),
    "Status": ("TrainingJobStatus", "TrainingJobName"),
}
# Optional in the service model, for jobs without an algorithm; the service requires them with a training image.
REQUIRED_MEMBERS = ("RoleArn", "AlgorithmSpecification", "ResourceConfig")


class TrainingJobs:
    """The jobs of a folder; `start` is called with each job to run, `stop` with each running job to stop."""

    def __init__(
        self,
        folder: Path,
        start: Callable[[TrainingJob], None],
        stop: Callable[[TrainingJob], None],
        faults: Faults,
    ) -> None:
        self._folder = folder
        self._start = start
        self._stop = stop
        self._faults = faults
        self._lock = threading.Lock()
        self._jobs = {job.name: job for job in _load(folder)}
        self._to_restart: set[str] = set()
        self.actions: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": lambda request: self._get(request["TrainingJobName"]).document(),
            "StopTrainingJob": self._stop_job,
            "ListTrainingJobs": self._list,
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }

    def __iter__(self) -> Iterator[TrainingJob]:
        return iter(sorted(self._jobs.values(), key=lambda job: job["CreationTime"]))

    def resume(self) -> None:
        """Reset every job that was running when the last server of this folder ended.

        It trains again once a client describes it, or changes it or its tags. On AWS it would have continued to train,
        but here a job that nobody follows any more would occupy the machine.
        """
        for job in (job for job in self if job.status not in FINAL_STATUSES):
            for leftover in job.folder.glob("container-*"):
                shutil.rmtree(leftover)
            if job.status == "Stopping":
                job.end("Stopped", "Stopped", "Training job stopped")
            else:
                delete_log(job.folder)
                job.reset()
                self._to_restart.add(job.name)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each status."""
        return {"InProgress": 0} | Counter(job.status for job in self)

    def handle(self, action: str, request: Any) -> dict[str, Any]:
        """The response to one call, or a `ServiceError`."""
        return self.actions[action](validate(action, request))

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        _check_job_request(request)
        name = request["TrainingJobName"]
        with self._lock:
            if name in self._jobs:
                raise ServiceError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({self._jobs[name].arn})",
                )
            job = self._jobs[name] = TrainingJob.create(self._folder / name, request, METRIC_DEFINITIONS)
        job.faults = self._faults.take_for_job(job["ResourceConfig"].get("InstanceType"), job.spot)
        self._start(job)
        return {"TrainingJobArn": job.arn}

    def _get(self, name: str) -> TrainingJob:
        job = self._jobs.get(name)
        if job is None:
            raise ServiceError("ValidationException", "Requested resource not found.")
        with self._lock:
            restart = name in self._to_restart
            self._to_restart.discard(name)
        if restart:
            self._start(job)
        return job

    def _stop_job(self, request: dict[str, Any]) -> dict[str, Any]:
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

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        status = request.get("StatusEquals")
        chosen = (job.document() for job in self if status in {None, job.status})
        shown, rest = paginate(chosen, request, name="TrainingJobName", orders=SORT_FIELDS, summary=SUMMARY_FIELDS)
        return {"TrainingJobSummaries": shown, **rest}

    def _job_of_arn(self, arn: str) -> TrainingJob:
        match = ARN_PATTERN.fullmatch(arn)
        if not match:
            raise ServiceError("ValidationException", "Requested resource not found.")
        return self._get(match["name"])

    def _add_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._job_of_arn(request["ResourceArn"])
        with job.lock:
            job.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
            job.save()
        return {"Tags": tag_list(job.tags)}

    def _list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": tag_list(self._job_of_arn(request["ResourceArn"]).tags)}

    def _delete_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._job_of_arn(request["ResourceArn"])
        with job.lock:
            job.tags = {key: value for key, value in job.tags.items() if key not in request["TagKeys"]}
            job.save()
        return {}


def _load(folder: Path) -> Iterator[TrainingJob]:
    for record in folder.glob("*/job.json"):
        try:
            yield TrainingJob.load(record.parent)
        except (ValueError, KeyError, TypeError) as error:
            print(f"sandbox: skipped {record}, which is damaged: {error!r}", file=sys.stderr)  # noqa: T201


def _check_job_request(request: Mapping[str, Any]) -> None:
    for name in REQUIRED_MEMBERS:
        if name not in request:
            where = name[:1].lower() + name[1:]
            raise ServiceError(
                "ValidationException",
                f"1 validation error detected: Value null at '{where}' failed to satisfy constraint: "
                "Member must not be null",
            )
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
