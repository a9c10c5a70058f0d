"""SageMaker's training jobs: the API calls on them, and the state of each job."""

import json
import math
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from sandbox.account import SAGEMAKER_ARN
from sandbox.faults import Fault, Faults
from sandbox.sagemaker.api_model import Document, ServiceError, list_page, now, take_tags
from sandbox.sagemaker.training_log import delete_log
from sandbox.storage import replace_json, skip_if_damaged

FINAL_STATUSES = ("Completed", "Failed", "Stopped")
SECONDARY_STATUSES = {
    "Starting": ("InProgress", "Starting the training job"),
    "Downloading": ("InProgress", "Downloading input data"),
    "Training": ("InProgress", "Training image download completed. Training in progress."),
    # The documentation's wording for this status and MaxWaitTimeExceeded; the service's messages may differ.
    "Interrupted": ("InProgress", "The job stopped because the managed spot training instances were interrupted"),
    "Uploading": (None, "Uploading generated training model"),
    "Stopping": ("Stopping", "Stopping the training job"),
    "Completed": ("Completed", "Training job completed"),
    "Failed": ("Failed", "Training job failed"),
    "Stopped": ("Stopped", "Training job stopped"),
    "MaxRuntimeExceeded": ("Stopped", "Training job runtime exceeded MaxRuntimeInSeconds provided"),
    "MaxWaitTimeExceeded": ("Stopped", "The job stopped because it exceeded the maximum allowed wait time"),
}
"""By SecondaryStatus: the TrainingJobStatus, None where it does not change, and the StatusMessage."""
DEFAULT_STOPPING_CONDITION = {"MaxRuntimeInSeconds": 86400}
SPOT = "EnableManagedSpotTraining"
FLAGS = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", SPOT)
FAMILIES_WITH_EBS = (
    *("m4", "m5", "m6i", "m7i", "m7i-flex", "m8i", "m8i-flex", "r5", "r6i", "r7i", "r8i", "r8i-flex"),
    *("c4", "c5", "c5n", "c6i", "c7i", "c7i-flex", "c8i", "c8i-flex", "t3", "p2", "p3"),
)
"""Families of TrainingInstanceType whose disks are EBS volumes; the others have local NVMe disks."""
SPOT_PERCENT = 30
"""Percentage of its training time that is billed for a spot job; invented, as the real one follows the market."""
ARN_PREFIX = f"{SAGEMAKER_ARN}training-job/"
KILL_SECONDS = 10.0
"""The longest wait for the end of a killed process, which may be in an uninterruptible system call."""


@dataclass
class TrainingJob:
    """A job in its own folder; every change is on disk before the method returns.

    `document` is the DescribeTrainingJob response, with times in seconds since the epoch. It is replaced, never
    changed, as responses may still refer to it.
    """

    folder: Path
    document: Document
    tags: dict[str, str]
    faults: Mapping[str, Fault] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def create(cls, folder: Path, request: Document) -> Self:
        """A new job, `InProgress` and `Starting`."""
        tags = take_tags(request)
        metrics = [{"Name": name, "Regex": regex} for name, regex in METRIC_DEFINITIONS.items()]
        document = {
            **dict.fromkeys(FLAGS, False),
            **request,
            "StoppingCondition": DEFAULT_STOPPING_CONDITION | request.get("StoppingCondition", {}),
            "AlgorithmSpecification": request["AlgorithmSpecification"] | {"MetricDefinitions": metrics},
            "InputDataConfig": [
                {"CompressionType": "None", "RecordWrapperType": "None"} | channel
                for channel in request.get("InputDataConfig", [])
            ],
            "TrainingJobArn": f"{ARN_PREFIX}{request['TrainingJobName']}",
            "CreationTime": now(),
        }
        job = cls(folder, document, tags)
        job.reset()
        return job

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(folder, **json.loads((folder / "job.json").read_text()))

    def reset(self) -> None:
        """Return to `Starting` and remove the times and transitions of the interrupted attempt."""
        self.document.pop("TrainingStartTime", None)
        self.enter_status("Starting", SecondaryStatusTransitions=[])

    @property
    def name(self) -> str:
        return str(self.document["TrainingJobName"])

    @property
    def status(self) -> str:
        """`InProgress`, `Stopping`, `Completed`, `Failed` or `Stopped`."""
        return str(self.document["TrainingJobStatus"])

    def enter_status(self, secondary: str, **fields: Any) -> None:
        """End the current secondary status and begin the next; a final one ends the job."""
        with self.lock:
            time, document = now(), self.document | fields
            status, message = SECONDARY_STATUSES[secondary]
            # Only the last one has no EndTime yet.
            transitions = [{"EndTime": time} | earlier for earlier in document["SecondaryStatusTransitions"]]
            transitions.append({"Status": secondary, "StartTime": time, "StatusMessage": message})
            document |= {"SecondaryStatus": secondary, "LastModifiedTime": time}
            document["SecondaryStatusTransitions"] = transitions
            if status:
                document["TrainingJobStatus"] = status
            if secondary == "Downloading":
                # Billing starts here; an interrupted job keeps its first start time.
                document.setdefault("TrainingStartTime", time)
            if status in FINAL_STATUSES:
                transitions[-1]["EndTime"] = document["TrainingEndTime"] = time
                if "TrainingStartTime" in document:
                    seconds = max(1, math.ceil(time - document["TrainingStartTime"]))
                    billable = math.ceil(seconds * SPOT_PERCENT / 100) if document[SPOT] else seconds
                    document |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}
            self.document = document
            self.save()

    def save(self) -> None:
        with self.lock:
            replace_json(self.folder / "job.json", {"document": self.document, "tags": self.tags})


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

    arn_prefixes = (ARN_PREFIX,)

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
            "DescribeTrainingJob": lambda request: self._get(request["TrainingJobName"]).document,
            "StopTrainingJob": self._stop_job,
            "ListTrainingJobs": self._list,
        }
        for record in folder.glob("*/job.json"):
            with skip_if_damaged(record):
                self._load(record.parent)

    def _load(self, folder: Path) -> None:
        job = TrainingJob.load(folder)
        self._jobs[job.name] = job
        for leftover in folder.glob("container-*"):
            _end_container(leftover)
            shutil.rmtree(leftover)
        if job.status in FINAL_STATUSES:
            return
        if job.status == "Stopping":
            job.enter_status("Stopped")
        else:
            delete_log(folder)
            job.reset()
            self._to_restart.add(job.name)

    def counts(self) -> dict[str, int]:
        return {"InProgress": 0} | Counter(job.status for job in list(self._jobs.values()))

    def faults_of(self, name: str) -> Mapping[str, Fault]:
        """The faults that affect a job, by kind; none if there is no such job."""
        return self._jobs[name].faults if name in self._jobs else {}

    def tagged_resource(self, arn: str) -> TrainingJob:
        return self._get(arn.removeprefix(ARN_PREFIX))

    def _create(self, request: dict[str, Any]) -> Document:
        _check_job_request(request)
        name = request["TrainingJobName"]
        if name in self._jobs:
            raise ServiceError(
                "Training job names must be unique within an AWS account and region, and a training job with this "
                f"name already exists ({ARN_PREFIX}{name})",
                "ResourceInUse",
            )
        job = self._jobs[name] = TrainingJob.create(self._folder / name, request)
        job.faults = self._faults.take_for_job(request["ResourceConfig"].get("InstanceType"), job.document[SPOT])
        self._start(job)
        return {"TrainingJobArn": f"{ARN_PREFIX}{name}"}

    def _get(self, name: str) -> TrainingJob:
        if name not in self._jobs:
            raise ServiceError("Requested resource not found.")
        if name in self._to_restart:
            self._to_restart.remove(name)
            self._start(self._jobs[name])
        return self._jobs[name]

    def _stop_job(self, request: dict[str, Any]) -> Document:
        job = self._get(request["TrainingJobName"])
        with job.lock:
            if job.status in FINAL_STATUSES:
                raise ServiceError(f"The request was rejected because the training job is in status {job.status}.")
            if job.status == "InProgress":
                job.enter_status("Stopping")
        self._stop(job)
        return {}

    def _list(self, request: dict[str, Any]) -> Document:
        status = request.get("StatusEquals")
        chosen = (job.document for job in self._jobs.values() if status in {None, job.status})
        return list_page("ListTrainingJobs", request, chosen, SORT_FIELDS)


def _end_container(folder: Path) -> None:
    """Kill the process that a killed server left in this folder: it would train on and write into the folder.

    The process is found in /proc, on Linux only; on other systems it ends with its next log line.
    """
    deadline = monotonic() + KILL_SECONDS
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        while _is_container(process, folder) and monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.kill(int(process.parent.name), signal.SIGKILL)
            sleep(0.01)


def _is_container(process: Path, folder: Path) -> bool:
    try:
        arguments = process.read_bytes().split(b"\0")
    except OSError:  # it has ended
        return False
    return b"linear_learner" in arguments and os.fsencode(folder) in arguments


def _check_job_request(request: Mapping[str, Any]) -> None:
    resources = request["ResourceConfig"]
    if "VolumeKmsKeyId" in resources and resources["InstanceType"].split(".")[1] not in FAMILIES_WITH_EBS:
        # The wording of sagemaker-python-sdk#3677, which is about endpoints; inferred for training.
        raise ServiceError("KMS key is not supported for NVMe instance storage")
    if request["AlgorithmSpecification"].get("MetricDefinitions"):
        raise ServiceError(
            "You can't override the metric definitions for Amazon SageMaker algorithms. "
            "Please retry the request without specifying metric definitions."
        )
    condition = request.get("StoppingCondition", {})
    spot, wait = request.get(SPOT), condition.get("MaxWaitTimeInSeconds", 0)
    problem = "Invalid MaxWaitTimeInSeconds."
    if spot and wait < condition.get("MaxRuntimeInSeconds", 1):
        raise ServiceError(f"{problem} It must be present and be greater than or equal to MaxRuntimeInSeconds")
    if wait and not spot:
        raise ServiceError(f"{problem} It is only supported when EnableManagedSpotTraining is set to true")
