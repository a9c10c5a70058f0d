"""Events for Prefect's automations, and links on the page of the run, about training jobs and models.

Events are sent in the background; Prefect adds the flow run, its deployment and its tags as related resources. When the
server cannot be reached, events and links are missing, but the run continues.
"""

from typing import Any, Final

from prefect.artifacts import create_link_artifact
from prefect.events import emit_event
from prefect.logging import get_run_logger

from aws.console import job_page, log_page
from aws.registry import Package
from aws.training.submission import Submission
from aws.workspace import Workspace
from tasks.evaluation.results import Evaluation, GateOutcome, Verdict
from tasks.prefect_ui.display import warn_of_errors, without_retries

JOB_KEY, LOG_KEY = "training-job", "training-log"
"""Artifact keys of the links, the same in every run, so that Prefect shows their history."""
MODEL_EVENTS: Final[dict[GateOutcome, str]] = {
    "promoted": "linear-learner.model.promoted",
    "first model": "linear-learner.model.first",
    "unchanged": "linear-learner.model.promoted",
    "no better than the baseline": "linear-learner.model.rejected",
    "no better than the champion": "linear-learner.model.rejected",
}
"""Name of the event by the outcome of the gate."""
STARTED, REAPED = "linear-learner.training-job.started", "linear-learner.training-job.reaped"
UPDATED, ROLLED_BACK = "linear-learner.endpoint.updated", "linear-learner.endpoint.rolled-back"
REMOVED = "linear-learner.endpoint.removed"


def show_job(workspace: Workspace, submission: Submission, at_most: str) -> None:
    """Create links to the job's pages in the AWS console, if it has any, and emit an event if the job was started.

    `at_most` describes the cost of the job in the worst case.
    """
    job = submission.name
    if page := job_page(workspace, job):
        get_run_logger().info("training job %s in the console: %s", job, page)
        _link(JOB_KEY, page, job, "The training job in SageMaker's console")
    if log := log_page(workspace, job):
        _link(LOG_KEY, log, f"log of {job}", "Its log in CloudWatch's console")
    if submission.how == "started":
        _emit(STARTED, _job_resource(job), {"arn": submission.arn, "at_most": at_most, "console": page})


def emit_model_event(verdict: Verdict, evaluation: Evaluation, package: Package) -> None:
    """Emit the verdict on a model that was registered, approved or rejected as an event of its package group."""
    payload = {
        **verdict.model_dump(),
        "decides": evaluation.gate_metric,
        "metrics": {one.name: one.model_dump(include={"value", "baseline", "champion"}) for one in evaluation.metrics},
    }
    _emit(MODEL_EVENTS[verdict.outcome], _group_resource(package), payload | _package_payload(package))


def emit_decision(package: Package, reason: str) -> None:
    """Emit, outside of a run, that a person approved or rejected a model, as the event of a model with that verdict."""
    name = MODEL_EVENTS["promoted" if package.status == "Approved" else "no better than the champion"]
    payload = {"reason": reason, "metadata": package.metadata, **_package_payload(package)}
    emit_event(name, _group_resource(package), payload=payload)


def _group_resource(package: Package) -> dict[str, str]:
    """The resource of a model's event. The approval status is a label, as automations can filter by labels only."""
    return {
        "prefect.resource.id": f"linear-learner.model-package-group.{package.group}",
        "prefect.resource.name": package.group,
        "linear-learner.approval-status": package.status,
    }


def _package_payload(package: Package) -> dict[str, Any]:
    return {
        "training_job": package.training_job,
        "model_uri": package.model_uri,
        "package": package.model_dump(include={"arn", "version", "status"}),
    }


def emit_endpoint_event(name: str, endpoint: str, payload: dict[str, Any]) -> None:
    """Emit that an endpoint was UPDATED (or created), ROLLED_BACK or REMOVED."""
    resource = {"prefect.resource.id": f"linear-learner.endpoint.{endpoint}", "prefect.resource.name": endpoint}
    _emit(name, resource, payload)


def emit_reaped_event(job: str, status: str) -> None:
    """Emit that a job was stopped because no run followed it; `status` is its status afterwards."""
    _emit(REAPED, _job_resource(job), {"status": status})


def _job_resource(job: str) -> dict[str, str]:
    return {"prefect.resource.id": f"linear-learner.training-job.{job}", "prefect.resource.name": job}


def _link(key: str, url: str, text: str, description: str) -> None:
    with warn_of_errors(f"The artifact {key} was not created"), without_retries():
        create_link_artifact(url, link_text=text, key=key, description=description)


def _emit(name: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
    with warn_of_errors(f"The event {name} was not emitted"), without_retries():
        emit_event(name, resource, payload=payload)
