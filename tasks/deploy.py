"""Deploy: compare a model with the one that an endpoint serves, and update the endpoint under watch."""

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from prefect import task
from prefect.logging import get_run_logger

from aws.endpoints import alarms, cleanup, deployment, scaling
from aws.endpoints.outcome import UpdateOutcome, judge
from aws.endpoints.request import expiry_tag
from aws.endpoints.settings import Guard, Hosting, Traffic
from aws.endpoints.state import describe_endpoint
from aws.errors import AwsError, EndpointUpdateFailed
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError, DataError
from tasks.caching.policy import RETRIES, UNCACHED
from tasks.model_source import find_model, read_record
from tasks.prefect_ui.cancellation import wait_unless_cancelled
from tasks.prefect_ui.display import warn_of_errors
from tasks.record import RunRecord
from tasks.serving.checks import Checker, describe_checks, make_checks
from tasks.serving.comparison import Comparison, compare
from tasks.serving.page import Deployed
from tasks.serving.parameters import Deployment
from tasks.serving.plan import PREVIOUS_TAG, ROLLED_BACK_TAG, Plan, make_plan, require_approval
from tasks.serving.requests import Row, make_request, read_captured_requests, read_test_rows
from tasks.serving.served_model import Candidate, LocalContainer, load_served, prepare_candidate, upload_archive

MAX_ROWS, MAX_CAPTURED = 1000, 500
CHECK_SECONDS = 1.0
"""Pause between two checks: well below the two minutes after which missing checks roll an update back."""
POLLS_WITHOUT_CHECKS_SECONDS = 5.0
MAX_OLD_DESCRIPTIONS = 5
MAX_ALARM_WAIT_SECONDS = 600.0
"""CloudWatch evaluates a new alarm within a few minutes."""


class Models(NamedTuple):
    """A candidate, the model that it replaces, if any, and rows of the candidate's test set."""

    candidate: Candidate
    incumbent: LocalContainer | None
    rows: list[Row]


def explain_missing_endpoint(workspace: Workspace, deployment: Deployment) -> str | None:
    """Return why a deployment that may not create its endpoint has nothing to do; None if the endpoint exists."""
    name = deployment.endpoint_name
    if deployment.create or name is None or describe_endpoint(workspace, name):
        return None
    return (
        f"There is no endpoint {name}, and this run may not create one: nothing to do. `python -m flows.deploy --model "
        f"{deployment.model}` creates it; from then on it is updated."
    )


@task(task_run_name="find {deployment.model}", **UNCACHED, **RETRIES)
def find(workspace: Workspace, deployment: Deployment, guard: Guard) -> Candidate:
    """Find the model, verify its checksums and prepare it; raises an error for one that may not be served."""
    try:
        source = find_model(workspace, deployment.model, allow_unapproved=guard.allow_unapproved)
    except ArtifactError as error:
        name = deployment.endpoint_name
        if name and describe_endpoint(workspace, name):
            raise ArtifactError(f"{error} Endpoint {name} was not changed; flows.undeploy removes it.") from error
        raise
    get_run_logger().info("model: %s", source)
    return prepare_candidate(workspace, source)


@task(task_run_name="plan the deployment", **UNCACHED, **RETRIES)
def plan(
    workspace: Workspace, candidate: Candidate, deployment: Deployment, hosting: Hosting, traffic: Traffic
) -> Plan:
    """Log what will change and cost; waits for another update of the endpoint first."""
    logger = get_run_logger()
    made = make_plan(workspace, candidate, deployment, hosting, traffic)
    while made.action == "wait":
        logger.info("%s: waiting for its end", made)
        wait_unless_cancelled(POLLS_WITHOUT_CHECKS_SECONDS)
        made = make_plan(workspace, candidate, deployment, hosting, traffic)
    logger.info("%s", made)
    for change in made.changes:
        logger.info("%s: %s", change.name, f"{change.before} -> {change.after}" if change.before else change.after)
    logger.info("cost: %s", made.cost)
    return made


@task(name="load models", task_run_name="load what is served, and test rows", **UNCACHED, **RETRIES)
def load_models(workspace: Workspace, candidate: Candidate, made: Plan) -> Models:
    """Load the model that an update replaces, and the rows to compare and check with; raises ArtifactError without it.

    An endpoint that is created, or that serves the candidate already, has no other model.
    """
    served = made.served if made.action in {"update", "follow"} else None
    incumbent = load_served(workspace, served.model) if served else None
    return Models(candidate, incumbent, _read_rows(workspace, candidate))


@task(name="compare offline", task_run_name="compare with what is served", **UNCACHED, **RETRIES)
def compare_offline(workspace: Workspace, made: Plan, models: Models) -> Comparison:
    """Compare the candidate with the model that is served, on the last captured requests or else on test rows."""
    if made.served is None:
        return Comparison(source="", objection="the endpoint serves no model yet.")
    candidate, incumbent, rows = models
    if incumbent is None or made.served.model.sha256 == candidate.served.sha256:
        return Comparison(source="", objection="it is the model that is served.")
    if captured := read_captured_requests(workspace, made.spec.endpoint, MAX_CAPTURED):
        return compare(
            f"{len(captured):,} captured requests", [(one, one) for one in captured], incumbent, candidate.local
        )
    if not rows:
        return Comparison(source="", objection="there are no captured requests, and the test rows were removed.")
    try:
        pair = make_request(rows, incumbent), make_request(rows, candidate.local)
    except DataError as error:
        return Comparison(source="", objection=f"the model that is served has other columns: {error}")
    return compare(f"{len(rows):,} rows of the test set", [pair], incumbent, candidate.local)


def check_comparison(comparison: Comparison, guard: Guard) -> None:
    """Raise ArtifactError when more decisions change than the guard permits."""
    if not comparison.objection and comparison.share > guard.max_changed:
        raise ArtifactError(
            f"The endpoint was not changed: {comparison}, and guard.max_changed permits {guard.max_changed:.0%}. The "
            "artifact of this run lists the largest differences. If the change is intended, raise --guard.max-changed."
        )


@task(task_run_name="update {made.spec.endpoint}", **UNCACHED, **RETRIES)
def update(workspace: Workspace, made: Plan, models: Models, traffic: Traffic, guard: Guard) -> Deployed | None:
    """Create or update the endpoint, follow it to its end, and check its answers all the time.

    Raises EndpointUpdateFailed when the endpoint cannot be created or updated. The result is `rolled back` when
    SageMaker has returned to the model before, and None when another update has begun since the plan was made.
    Interrupted, the update goes on without checks: SageMaker rolls it back two minutes later, unless the same
    deployment is run again.
    """
    spec, (candidate, incumbent, rows) = made.spec, models
    checker = Checker(workspace, spec.endpoint, make_checks(rows, candidate, incumbent))
    if made.action == "nothing":
        return _finish(workspace, made, checker, "unchanged")
    upload_archive(workspace, candidate)
    require_approval(workspace, candidate, guard)
    deployment.ensure_model_and_config(workspace, spec)
    watched = _prepare_watch(workspace, made, guard, checker) if incumbent else []
    how = deployment.start(workspace, spec, traffic, watched)
    get_run_logger().info("endpoint %s: %s", spec.endpoint, how)
    if how == "busy":
        return None
    outcome = _follow(workspace, made, checker if incumbent else None)
    if outcome.kind == "in service":
        return _finish(workspace, made, checker, "created" if made.action == "create" else "updated")
    return _report_failure(workspace, made, outcome, checker)


def _prepare_watch(workspace: Workspace, made: Plan, guard: Guard, checker: Checker) -> list[str]:
    """Create the alarms of an update, and tag the endpoint with what serves; returns the names of the alarms.

    SageMaker watches no alarms while it updates a serverless endpoint.
    """
    spec = made.spec
    names = alarms.put_alarms(workspace, spec.endpoint, guard) if spec.hosting.kind == "instances" else []
    if made.action == "update" and made.served:
        if names:
            _wait_for_alarms(workspace, names, checker)
        tags = {PREVIOUS_TAG: made.served.config, ROLLED_BACK_TAG: None}
        deployment.set_tags(workspace, _arn(workspace, spec.endpoint), tags)
    return names


def _report_failure(workspace: Workspace, made: Plan, outcome: UpdateOutcome, checker: Checker) -> Deployed:
    """Return what was rolled back, and why, and remember it; raises EndpointUpdateFailed for any other outcome."""
    spec = made.spec
    with warn_of_errors("The alarms of this update were not removed"):
        alarms.delete_alarms(workspace, spec.endpoint, only=alarms.UPDATE_KINDS)
    if outcome.kind != "rolled back":
        raise EndpointUpdateFailed(f"Endpoint {spec.endpoint}: {outcome.cause} {outcome.remedy}")
    deployment.set_tags(workspace, _arn(workspace, spec.endpoint), {ROLLED_BACK_TAG: spec.config_name})
    problem = f" The last check that failed: {checker.last_problem}." if checker.last_problem else ""
    return Deployed(
        endpoint=spec.endpoint,
        config=spec.config_name,
        how="rolled back",
        cause=f"{outcome.cause}{problem}",
        remedy=outcome.remedy,
        checks=dict(checker.counts),
    )


def _follow(workspace: Workspace, made: Plan, checker: Checker | None) -> UpdateOutcome:
    """Wait for the end of the update, and send checks meanwhile; raises CancelledRun if the run is cancelled.

    Only DescribeEndpoint decides how the update ends. An error of AWS that may be temporary does not end the watch.
    """
    logger, spec = get_run_logger(), made.spec
    shown, warned, looks = "", False, 0
    while True:
        try:
            state = describe_endpoint(workspace, spec.endpoint)
        except AwsError as error:
            if not error.retryable:
                raise
            if not warned:
                logger.warning("The endpoint cannot be described at the moment. %s", error)
                warned = True
        else:
            outcome, looks = judge(state, spec.config_name), looks + 1
            # A description may be older than the call that began the update (inferred).
            is_certain = shown or outcome.kind != "rolled back" or looks > MAX_OLD_DESCRIPTIONS
            if outcome.kind != "in progress" and is_certain:
                return outcome
            status = state.status if state else ""
            if status != shown and outcome.kind == "in progress":
                logger.info("endpoint %s is %s", spec.endpoint, status)
                shown = status
        if checker:
            checker.send()
            _log_checks(checker)
        wait_unless_cancelled(CHECK_SECONDS if checker else POLLS_WITHOUT_CHECKS_SECONDS)


def _log_checks(checker: Checker) -> None:
    """Log the number of checks now and then, and the first ones that fail."""
    counts = checker.counts
    failed = counts["wrong"] + counts["not sent"]
    if checker.last_problem and failed in {1, 10, 100}:
        get_run_logger().warning("check %d failed: %s", counts.total(), checker.last_problem)
    if counts.total() % 60 == 0:
        get_run_logger().info("checks: %s", describe_checks(counts))


def _wait_for_alarms(workspace: Workspace, names: Sequence[str], checker: Checker) -> None:
    """Send checks until the alarm on missing checks is OK, and no alarm is in ALARM.

    SageMaker would roll back an update at once that begins with an alarm. Raises EndpointUpdateFailed when the present
    model gives other answers than it should, or an alarm stays in ALARM.
    """
    end = time.monotonic() + MAX_ALARM_WAIT_SECONDS
    get_run_logger().info("waiting for the alarms to see the first checks")
    while True:
        checker.send()
        _log_checks(checker)
        states = alarms.alarm_states(workspace, names)
        raised = [name for name, state in states.items() if state == "ALARM"]
        watches = states.get(alarms.alarm_name(checker.endpoint, "no-checks")) == "OK"
        if not raised and watches:
            return
        if time.monotonic() > end:
            problem = f" {checker.last_problem}." if checker.last_problem else ""
            raise EndpointUpdateFailed(
                f"The endpoint was not changed: {', '.join(raised) or 'the alarm on missing checks'} is not OK after "
                f"{MAX_ALARM_WAIT_SECONDS:.0f} s of checks.{problem} Look at the alarm in CloudWatch; if the endpoint "
                "gives wrong answers, remove it with `python -m flows.undeploy` and deploy again."
            )
        wait_unless_cancelled(CHECK_SECONDS)


def _finish(
    workspace: Workspace, made: Plan, checker: Checker, how: Literal["created", "updated", "unchanged"]
) -> Deployed:
    """Confirm that the new model answers, apply what is not part of the configuration, and remove what is old."""
    spec = made.spec
    if not checker.confirm():
        raise EndpointUpdateFailed(
            f"Endpoint {spec.endpoint} is InService with {spec.config_name}, but its answers are not those of the "
            f"model: {checker.last_problem}. Deploy another version with `python -m flows.deploy --model "
            "GROUP/VERSION`, or remove the endpoint."
        )
    state = describe_endpoint(workspace, spec.endpoint)
    outcome = judge(state, spec.config_name)
    if state is None or outcome.kind != "in service":  # another run has changed it since
        raise EndpointUpdateFailed(f"Endpoint {spec.endpoint} was changed by another run. {outcome.cause}")
    scaling.apply_scaling(workspace, spec.endpoint, spec.hosting)
    deployment.set_tags(workspace, state.arn, {ROLLED_BACK_TAG: None, **expiry_tag(spec.hosting)})
    removed: tuple[str, ...] = ()
    with warn_of_errors("What is older than the previous model was not removed"):
        alarms.delete_alarms(workspace, spec.endpoint, only=alarms.UPDATE_KINDS)
        keep = {spec.config_name, state.tags.get(PREVIOUS_TAG, "")}
        removed = tuple(cleanup.delete_superseded(workspace, spec.endpoint, keep))
    return Deployed(
        endpoint=spec.endpoint, config=spec.config_name, how=how, checks=dict(checker.counts), removed=removed
    )


def _read_rows(workspace: Workspace, candidate: Candidate) -> list[Row]:
    """The test rows of the run that made the candidate; none for a model without record."""
    source = candidate.source
    content = read_record(workspace, source)
    if content is None:
        return []
    record = RunRecord.parse(content, source.location)
    return read_test_rows(workspace, record, candidate.local.table_schema, MAX_ROWS)


def _arn(workspace: Workspace, endpoint: str) -> str:
    state = describe_endpoint(workspace, endpoint)
    if state is None:
        raise EndpointUpdateFailed(f"Endpoint {endpoint} was deleted in the meantime. Run again to create it.")
    return state.arn
