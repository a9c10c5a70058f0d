"""Register: add the model and the gate's verdict to SageMaker's Model Registry."""

import re
from hashlib import sha256
from pathlib import PurePosixPath

from prefect import task
from prefect.logging import get_run_logger

from aws.console import approval_place
from aws.registry import (
    MODEL_SHA256_KEY,
    PENDING,
    SCHEMA_KEY,
    SCHEMA_SHA256_KEY,
    ApprovalStatus,
    Package,
    Registration,
    approval_command,
    newest_approved,
)
from aws.registry import register as register_package
from aws.training.request import image_uri, to_tag_value
from aws.workspace import Workspace
from tasks.caching.policy import RETRIES, UNCACHED, Result
from tasks.download import TrainedModel
from tasks.evaluation.gate import confirm_champion, make_verdict
from tasks.evaluation.results import METRICS, Evaluation, Verdict
from tasks.monitor import FinishedJob
from tasks.parameters import Dataset, Registry, RunParameters
from tasks.prefect_ui.events import emit_model_event
from tasks.record import Recorded

VERDICT_KEY = "verdict"
DECIDES_KEY, FIGURE_PREFIX = "test:decides", "test:"
"""Metadata keys of the verdict's outcome and the gate metric's title; the prefix of the keys of the metrics."""
MAX_GROUP_LENGTH = 63
_STATUS_TEXTS: dict[ApprovalStatus, str] = {
    "Approved": "approved",
    "Rejected": "rejected",
    "PendingManualApproval": "waits for approval",
}


class Registered(Result):
    """The model package in the registry."""

    arn: str
    group: str
    version: int
    status: ApprovalStatus

    def __str__(self) -> str:
        return f"version {self.version} of {self.group}, {_STATUS_TEXTS[self.status]}"


def group_of(registry: Registry, dataset: Dataset) -> str:
    """Return the model package group: the chosen one, or one named after the target and the table."""
    if registry.group:
        return registry.group
    table = PurePosixPath(dataset.source).name.partition(".")[0]
    name = re.sub(r"[^a-z0-9]+", "-", f"linear-learner-{dataset.target}-{table}".lower()).strip("-")
    if len(name) <= MAX_GROUP_LENGTH:
        return name
    return f"{name[: MAX_GROUP_LENGTH - 9].rstrip('-')}-{sha256(name.encode()).hexdigest()[:8]}"


@task(name="champion", task_run_name="look for the champion", **UNCACHED, **RETRIES)
def find_champion(workspace: Workspace, parameters: RunParameters) -> Package | None:
    """Return the newest approved model of the group; None if there is none or models are not registered."""
    registry = parameters.registry
    return newest_approved(workspace, group_of(registry, parameters.dataset)) if registry.register_model else None


def decide_verdict(
    evaluation: Evaluation, parameters: RunParameters, champion: Package | None, job: FinishedJob
) -> Verdict:
    """Return the gate's verdict; a model that is the champion is `unchanged`."""
    if champion and champion.training_job == job.name:
        return confirm_champion(evaluation, champion.version)
    return make_verdict(evaluation, parameters.gate, champion=champion.version if champion else None)


@task(task_run_name="register the model", **UNCACHED, **RETRIES)
def register(  # noqa: PLR0913, PLR0917 - the contents of a package
    workspace: Workspace,
    trained: TrainedModel,
    parameters: RunParameters,
    recorded: Recorded,
    evaluation: Evaluation,
    verdict: Verdict,
    champion: Package | None,
) -> Registered:
    """Return the package of the model, and create it if there is none.

    A rejected model is Rejected and stays so in later runs. A model that passed is Approved if `registry.approve` is
    set and the champion is still `champion`, which it was compared with; otherwise it is PendingManualApproval.
    """
    dataset, registry = parameters.dataset, parameters.registry
    group = group_of(registry, dataset)
    registration = Registration(
        group=group,
        training_job=trained.job.name,
        training_job_arn=trained.submission.arn,
        image=image_uri(workspace.region),
        model_uri=trained.job.model.uri,
        description=f"predicts {dataset.target}; {verdict.headline}",
        metrics_uri=recorded.uri,
        metadata=_metadata(trained, recorded, evaluation, verdict),
        status=_status(workspace, group, registry, verdict, champion),
        approval_description=verdict.reason,
    )
    package = register_package(workspace, registration)
    registered = Registered(arn=package.arn, group=group, version=package.version, status=package.status)
    get_run_logger().info("registered: %s%s", registered, _how_to_approve(workspace, registered))
    if package.is_new_decision:  # an earlier decision is not announced again
        emit_model_event(verdict, evaluation, package)
    return registered


def _how_to_approve(workspace: Workspace, registered: Registered) -> str:
    """Return the command and, on AWS, the page with which a person approves a waiting model; empty for any other."""
    if registered.status != PENDING:
        return ""
    saved_as = workspace._block_document_name or "sandbox"  # noqa: SLF001 - Prefect has no public name for it
    return f" with `{approval_command(registered.group, registered.version, saved_as)}`{approval_place(workspace)}"


def _status(
    workspace: Workspace, group: str, registry: Registry, verdict: Verdict, champion: Package | None
) -> ApprovalStatus:
    if not verdict.passed:
        return "Rejected"
    if not registry.approve:
        return "PendingManualApproval"
    now = newest_approved(workspace, group)
    if (now and now.arn) == (champion and champion.arn):
        return "Approved"
    get_run_logger().warning(
        "The champion changed to %s during this run, so this model is not approved. Run again to compare the two.",
        now.arn if now else "none",
    )
    return "PendingManualApproval"


def _metadata(trained: TrainedModel, recorded: Recorded, evaluation: Evaluation, verdict: Verdict) -> dict[str, str]:
    """Return the searchable metadata; each metric has its own entry, as values allow few special characters.

    A location with other characters would be changed; without it, the schema is looked for next to the model.
    """
    figures = {f"{FIGURE_PREFIX}{one.name}": f"{one.value:.6g}" for one in evaluation.metrics if one.value is not None}
    channels = {f"sha256:{channel.name}": channel.sha256 for channel in trained.uploaded.channels}
    location = recorded.schema_uri
    return {
        VERDICT_KEY: verdict.outcome,
        "target": trained.table.target,
        "training-job": trained.job.name,
        "test:rows": str(evaluation.rows),
        DECIDES_KEY: METRICS[evaluation.gate_metric].title,
        **figures,
        **channels,
        MODEL_SHA256_KEY: trained.model.sha256,
        SCHEMA_SHA256_KEY: recorded.schema_sha256,
        **({SCHEMA_KEY: location} if to_tag_value(location) == location else {}),
    }
