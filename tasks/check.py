"""Check: report all problems of the workspace and of the data before anything is uploaded or paid for."""

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from aws.errors import AwsError
from aws.preflight import check_workspace as preflight_warnings
from aws.training.compute import Compute
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching.policy import RETRIES, UNCACHED
from tasks.data.profile_report import render_profile
from tasks.data.rules.finding import Finding
from tasks.data.rules.table import error_message, find_problems
from tasks.environment.errors import ExternalError
from tasks.environment.folders import check_folders
from tasks.evaluation.gate import check_gate
from tasks.load import Table
from tasks.parameters import RunParameters, fit_batch_size
from tasks.prefect_ui.display import warn_of_errors
from tasks.split import Rows

ARTIFACT_KEY = "data-profile"
"""The same key for every run, so that Prefect shows their history together."""


@task(name="check workspace", task_run_name="check {workspace.bucket.bucket_name}", **UNCACHED, **RETRIES)
def check_workspace(workspace: Workspace, model_dir: str, compute: Compute) -> None:
    """Check that the workspace, the folders of this machine and the budget can be used.

    Raises one error that lists all problems: an AwsError if all of them are the workspace's, else an ExternalError.
    """
    problems: list[Exception] = [*check_folders(model_dir)]
    warnings: tuple[str, ...] = ()
    try:
        warnings = preflight_warnings(workspace, compute)
    except AwsError as error:
        if not problems:
            raise
        problems.append(error)
    if problems:
        raise ExternalError("\n".join(map(str, problems)))
    for warning in warnings:
        get_run_logger().warning("%s", warning)


@task(name="check", task_run_name="check {table.rows} rows", **UNCACHED)
def check(table: Table, rows: Rows, parameters: RunParameters) -> tuple[Finding, ...]:
    """Check the table for the hyperparameters, the split and the gate, publish its profile, and return the warnings.

    Raises DataError with all errors, HyperparameterError for a mini_batch_size or a gate metric that does not apply.
    """
    ignored = parameters.split.left_out
    findings = find_problems(table.profile, rows.by_channel, parameters.hyperparameters, ignored)
    with warn_of_errors("The artifact of the table's profile was not created"):  # the log has the findings as well
        report = render_profile(table.profile, findings, ignored)
        create_markdown_artifact(report, key=ARTIFACT_KEY, description=f"Data of {table.source.uri}")
    for finding in findings:
        if finding.level == "warning":
            get_run_logger().warning("%s", finding)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise DataError(error_message(table.source.uri, errors))
    # Without these checks, the run would fail after the upload, or after the training job was paid for.
    fit_batch_size(parameters.hyperparameters, rows.train)
    check_gate(parameters, table.columns)
    return findings
