"""Check: report all problems of the workspace and of the data before anything is uploaded or paid for."""

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from aws.errors import AwsError
from aws.preflight import check_workspace as preflight_warnings
from aws.training.compute import Compute
from aws.workspace import Workspace
from linear_learner.columns import list_missing
from linear_learner.errors import DataError
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.policy import RETRIES, UNCACHED, Result
from tasks.data.column_plan import ColumnPlan, Treatment, plan_columns
from tasks.data.label_choice import LabelChoice, choose_labels, count_classes
from tasks.data.profile_report import render_profile
from tasks.data.rules.finding import Finding
from tasks.data.rules.table import error_message, find_problems
from tasks.environment.errors import ExternalError
from tasks.environment.folders import check_folders
from tasks.evaluation.gate import check_gate
from tasks.load import Table
from tasks.parameters import RunParameters
from tasks.prefect_ui.display import warn_of_errors
from tasks.split import Rows

ARTIFACT_KEY = "data-profile"
"""The same key for every run, so that Prefect shows their history together."""
SHOWN: dict[Treatment, str] = {
    "fill": "numbers whose missing cells are filled in",
    "category": "categories",
    "date": "dates",
    "leave out": "left out",
}
"""What becomes of columns that are not used as the numbers that they are, in words."""


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


class CheckedData(Result):
    """What the check of a table found, what becomes of its columns, and the hyperparameters for its labels and rows."""

    findings: tuple[Finding, ...]
    plan: tuple[ColumnPlan, ...]
    label: LabelChoice
    hyperparameters: Hyperparameters


@task(name="check", task_run_name="check {table.rows} rows", **UNCACHED)
def check(table: Table, rows: Rows, parameters: RunParameters) -> CheckedData:
    """Check the table for the hyperparameters, the split and the gate, and publish its profile.

    Decides what becomes of each column, and the hyperparameters that are auto. Raises DataError with all errors,
    HyperparameterError for a mini_batch_size, a class or a gate metric that does not apply.
    """
    checked = find_treatments(table, rows, parameters)
    plan, findings = checked.plan, checked.findings
    with warn_of_errors("The artifact of the table's profile was not created"):  # the log has the findings as well
        report = render_profile(table.profile, findings, plan)
        create_markdown_artifact(report, key=ARTIFACT_KEY, description=f"Data of {table.source.uri}")
    get_run_logger().info("%s: %s", table.source.uri, table.description)
    _log_plan(checked, rows)
    for finding in findings:
        if finding.level == "warning":
            get_run_logger().warning("%s", finding)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise DataError(error_message(table.source.uri, errors))
    # Without this check, the run would fail after the training job was paid for.
    check_gate(parameters, checked.hyperparameters, table.columns)
    return checked


def find_treatments(table: Table, rows: Rows, parameters: RunParameters) -> CheckedData:
    """Decide what becomes of each column and what is predicted, and find the problems of the table."""
    dataset, requested, profile = parameters.dataset, parameters.hyperparameters, table.profile
    known = (*table.columns, *dataset.ignore)
    if unknown := [name for name in dataset.categorical if name not in known]:  # not found by load if it is reused
        raise DataError(f"{table.source.uri} has no {list_missing(unknown, known)} to use as a category.")
    plan = plan_columns(profile, dataset.plan_options, parameters.split.left_out)
    label = choose_labels(profile, requested, dataset.positive)
    classes = count_classes(label, requested, profile)
    hyperparameters = requested.resolve(label.predictor_type, classes, rows.train)
    channels, drop = rows.by_channel, dataset.drop_unlabelled
    findings = find_problems(profile, plan, channels, hyperparameters, drop_unlabelled=drop)
    return CheckedData(findings=findings, plan=plan, label=label, hyperparameters=hyperparameters)


def _log_plan(checked: CheckedData, rows: Rows) -> None:
    """Log what is predicted, and what becomes of the columns that are not used as the numbers that they are."""
    logger, chosen = get_run_logger(), checked.hyperparameters
    schedule = f"mini_batch_size is {chosen.mini_batch_size}, and epochs at most {chosen.epochs}"
    logger.info("%s %s for %s training rows.", checked.label.reason, schedule, f"{rows.train:,}")
    for treatment, words in SHOWN.items():
        columns = [column for column in checked.plan if column.treatment == treatment]
        if columns:
            logger.info("%s: %s", words, "; ".join(f"{one.name}: {one.reason.rstrip('.')}" for one in columns))
