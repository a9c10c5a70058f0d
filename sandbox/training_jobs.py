"""SageMaker's training-job calls: create, describe, stop, list, and the jobs' tags."""

import re
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from linear_learner.metric_definitions import METRIC_DEFINITIONS
from sandbox.account import ACCOUNT, REGION
from sandbox.faults import Faults
from sandbox.listing import page, tag_list
from sandbox.service_model import ServiceError, validate
from sandbox.training_job import OVER, TrainingJob
from sandbox.training_log import forget

ARN = re.compile(rf"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/(?P<name>.+)")
SUMMARY = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
)
ORDERS = {
    "Name": ("TrainingJobName",),
    "CreationTime": ("CreationTime", "TrainingJobName"),
    "Status": ("TrainingJobStatus", "TrainingJobName"),
}
# The API's model marks these optional, for jobs without an algorithm; with a training image the service insists.
NEEDED = ("RoleArn", "AlgorithmSpecification", "ResourceConfig")


class TrainingJobs:
    """The jobs of a folder; `start` and `stop` are called with each job to run and each running job to stop."""

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
        self._waiting: set[str] = set()
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
        """Put every job whose process died with the server back to its beginning.

        It trains again from the moment somebody asks for it: on AWS it would have gone on meanwhile, but nobody wants
        this machine busy with a job that nobody follows any more.
        """
        for job in (job for job in self if job.status not in OVER):
            for left in job.folder.glob("container-*"):
                shutil.rmtree(left)
            if job.status == "Stopping":
                job.end("Stopped", "Stopped", "Training job stopped")
            else:
                forget(job.folder)
                job.begin()
                self._waiting.add(job.name)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each status."""
        return {"InProgress": 0} | Counter(job.status for job in self)

    def answer(self, action: str, request: Any) -> dict[str, Any]:
        """The response to one call, or a `ServiceError`."""
        return self.actions[action](validate(action, request))

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        _check(request)
        name = request["TrainingJobName"]
        with self._lock:
            if name in self._jobs:
                raise ServiceError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({self._jobs[name].arn})",
                )
            job = self._jobs[name] = TrainingJob.create(self._folder / name, request, METRIC_DEFINITIONS)
        job.faults = self._faults.met_by_job(job["ResourceConfig"].get("InstanceType"), job.spot)
        self._start(job)
        return {"TrainingJobArn": job.arn}

    def _get(self, name: str) -> TrainingJob:
        job = self._jobs.get(name)
        if job is None:
            raise ServiceError("ValidationException", "Requested resource not found.")
        with self._lock:
            waiting = name in self._waiting
            self._waiting.discard(name)
        if waiting:
            self._start(job)
        return job

    def _stop_job(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._get(request["TrainingJobName"])
        with job.lock:
            if job.status in OVER:
                raise ServiceError(
                    "ValidationException",
                    f"The request was rejected because the training job is in status {job.status}.",
                )
            if job.status == "InProgress":
                job.ask_to_stop()
        self._stop(job)
        return {}

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        status = request.get("StatusEquals")
        chosen = (job.document() for job in self if status in {None, job.status})
        shown, rest = page(chosen, request, name="TrainingJobName", orders=ORDERS, summary=SUMMARY)
        return {"TrainingJobSummaries": shown, **rest}

    def _tagged(self, arn: str) -> TrainingJob:
        match = ARN.fullmatch(arn)
        if not match:
            raise ServiceError("ValidationException", "Requested resource not found.")
        return self._get(match["name"])

    def _add_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._tagged(request["ResourceArn"])
        with job.lock:
            job.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
            job.save()
        return {"Tags": tag_list(job.tags)}

    def _list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": tag_list(self._tagged(request["ResourceArn"]).tags)}

    def _delete_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._tagged(request["ResourceArn"])
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


def _check(request: Mapping[str, Any]) -> None:
    for name in NEEDED:
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
