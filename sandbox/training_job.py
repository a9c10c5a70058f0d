"""One training job's record: the document DescribeTrainingJob answers, its transitions, its tags; always on disk."""

import json
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from sandbox.account import ACCOUNT, REGION
from sandbox.durable import replace_json
from sandbox.faults import JobFault

OVER = ("Completed", "Failed", "Stopped")
STARTING = "Starting the training job"
DEFAULT_STOPPING_CONDITION = {"MaxRuntimeInSeconds": 86400}
FLAGS = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")
LONGEST_FAILURE_REASON = 1024
SPOT_PERCENT = 30
"""What a spot job pays of its time; invented: the real share follows the market."""
Met = TypeVar("Met", bound=JobFault)


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
        job.begin()
        return job

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The job as it was last written."""
        record = json.loads((folder / "job.json").read_text())
        return cls(folder, record["document"], record["tags"])

    def begin(self) -> None:
        """(Back) to the beginning, with no trace of an attempt that the end of a process cut short."""
        with self.lock:
            self._document.pop("TrainingStartTime", None)
            self._document |= {"TrainingJobStatus": "InProgress", "SecondaryStatusTransitions": []}
            self.enter("Starting", STARTING)

    @property
    def name(self) -> str:
        """The name, unique within the sandbox."""
        return str(self._document["TrainingJobName"])

    @property
    def arn(self) -> str:
        """The ARN, which tags go by."""
        return str(self._document["TrainingJobArn"])

    @property
    def environment(self) -> dict[str, str]:
        """The variables its container runs with, beside the service's own."""
        return {**self._document.get("Environment", {}), "TRAINING_JOB_NAME": self.name}

    @property
    def status(self) -> str:
        """`InProgress`, `Stopping`, `Completed`, `Failed` or `Stopped`."""
        return str(self._document["TrainingJobStatus"])

    @property
    def spot(self) -> bool:
        """Whether it runs on spot instances."""
        return bool(self._document["EnableManagedSpotTraining"])

    def fault(self, kind: type[Met]) -> Met | None:
        """The fault of this kind that the job is to meet, if any."""
        return next((fault for fault in self.faults if isinstance(fault, kind)), None)

    def __getitem__(self, name: str) -> Any:
        return self._document[name]

    def document(self) -> dict[str, Any]:
        """What DescribeTrainingJob answers, a copy; times are seconds since the epoch."""
        with self.lock:
            copy: dict[str, Any] = json.loads(json.dumps(self._document))
        return copy

    def enter(self, secondary: str, message: str, **fields: Any) -> None:
        """Go on to the next secondary status, ending the one before."""
        with self.lock:
            now = _now()
            transitions = self._document["SecondaryStatusTransitions"]
            if transitions:
                transitions[-1]["EndTime"] = now
            transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
            if fields.get("TrainingJobStatus") in OVER:
                transitions[-1]["EndTime"] = now
                fields |= self._paid(now)
            if secondary == "Downloading":
                # From here on a job is paid for; one that was interrupted began to train before.
                fields["TrainingStartTime"] = self._document.get("TrainingStartTime", now)
            self._document |= fields | {"SecondaryStatus": secondary, "LastModifiedTime": now}
            self.save()

    def ask_to_stop(self) -> None:
        """`InProgress` becomes `Stopping`."""
        self.enter("Stopping", "Stopping the training job", TrainingJobStatus="Stopping")

    def end(self, status: str, secondary: str, message: str, **fields: Any) -> None:
        """The job is over."""
        self.enter(secondary, message, TrainingJobStatus=status, **fields)

    def _paid(self, now: float) -> dict[str, Any]:
        if "TrainingStartTime" not in self._document:
            return {"TrainingEndTime": now}
        seconds = max(1, math.ceil(now - self._document["TrainingStartTime"]))
        billable = math.ceil(seconds * SPOT_PERCENT / 100) if self.spot else seconds
        return {"TrainingEndTime": now, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}

    def fail(self, reason: str) -> None:
        """The job is `Failed`, for this reason."""
        self.end("Failed", "Failed", "Training job failed", FailureReason=reason[:LONGEST_FAILURE_REASON])

    def save(self) -> None:
        """Write the record."""
        with self.lock:
            replace_json(self.folder / "job.json", {"document": self._document, "tags": self.tags})


def _now() -> float:
    return round(time.time(), 3)
