"""The scheduled reaper flow: it stops training jobs that no run follows, and removes endpoints that have expired.

The hook for the jobs of a run that ended is here, too.
"""

import re
from typing import Annotated, Any
from uuid import UUID

import httpx
from prefect import flow, get_client
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger
from pydantic import Field

from aws.errors import AwsError
from aws.training.leases import LEASE_TAG_PREFIX, active_leases
from aws.training.stopping import leave_job, running_jobs, stop_job, stop_unless_followed
from aws.workspace import load_workspace
from tasks.prefect_ui.display import warn_of_errors
from tasks.prefect_ui.events import emit_reaped_event
from tasks.undeploy import reap_endpoints

SIGNAL_EXIT_CODES = 128
"""Exit codes from this one on, and negative ones, are those of processes that a signal ended."""


@flow(name="reap-training-jobs", flow_run_name="in {workspace}")
def reap_training_jobs(workspace: str = "sandbox", idle_days: Annotated[int, Field(ge=1, le=60)] = 7) -> list[str]:
    """Stop every running training job of this project that no flow run follows, and remove endpoints that have expired.

    A run follows a job as long as it renews its lease in the job's tags. The lease of a run that failed or was killed
    expires after 15 minutes; it is not valid once Prefect reports that the run completed, was cancelled or crashed, or
    once its process was killed. Training jobs and endpoints of other projects are not touched. Endpoints without a
    request for `idle_days` are listed with their price.

    Args:
        workspace: Name of the saved Training Workspace block with the account and region of the jobs.
        idle_days: Days without a request after which an endpoint is reported as idle.

    Returns:
        The names of the jobs and endpoints.
    """
    block, logger = load_workspace(workspace), get_run_logger()
    reaped = []
    with get_client(sync_client=True) as prefect:
        for name, _, tags in running_jobs(block):
            following = [run for run in active_leases(tags) if not _is_over(prefect, run)]
            if following:
                logger.info("training job %s is followed by %s", name, ", ".join(following))
                continue
            reaped.append({"training job": name, "status": (status := stop_job(block, name))})
            emit_reaped_event(name, status)
            logger.warning("stopped training job %s: no run follows it", name)
    if reaped:
        create_table_artifact(reaped, key="reaped", description="Stopped training jobs that no run followed")
    removed: list[str] = []
    with warn_of_errors("Endpoints were not looked at"):
        removed += reap_endpoints(block, idle_days)
    return [row["training job"] for row in reaped] + removed


def _is_over(prefect: SyncPrefectClient, run: str) -> bool:
    """Return whether this Prefect server has the run, and it no longer needs its lease.

    The lease of a run that failed is valid until it expires, so that the next run can follow the job. A run of another
    server counts as running.
    """
    try:
        state = prefect.read_flow_run(UUID(run)).state
    except (ObjectNotFound, ValueError):
        return False
    return state is not None and state.is_final() and not has_failed(state)


def has_failed(state: State[Any]) -> bool:
    """Return whether a run ended because of an error, and was neither cancelled, interrupted, killed nor timed out."""
    if state.is_crashed():
        # A process that exits by itself with an error could not report it, as Prefect's server did not respond.
        code = re.search(r"exited with status code: (-?\d+)", state.message or "")
        return bool(code and 0 < int(code[1]) < SIGNAL_EXIT_CODES)
    return state.is_failed() and state.name != "TimedOut"


def stop_or_leave_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop every job that only this run followed, or leave it running if the run failed; a hook for runs that ended.

    The step that follows a job stops it when it is interrupted. This hook is for interruptions between two steps and
    for processes that were killed. An error of this project, or of anything else but the job, does not end the job:
    it keeps a lease, so that a run with the same input adopts it.
    """
    logger, run = flow_run_logger(flow_run, flow), str(flow_run.id)
    try:
        workspace = load_workspace(str(flow_run.parameters.get("workspace", "sandbox")))
        for job in running_jobs(workspace):
            if f"{LEASE_TAG_PREFIX}{run}" not in job.tags:
                continue
            if has_failed(state):
                until = leave_job(workspace, job, run)
                message = f"continues. The next run with the same input follows it; the reaper stops it after {until}"
            else:
                status = stop_unless_followed(workspace, job.name, run)
                message = f"is {status}" if status else "continues, as another run follows it"
            logger.warning("This run is %s; training job %s %s.", state.name, job.name, message)
    except (AwsError, httpx.HTTPError) as error:
        logger.warning("Training jobs of this run may continue up to their time limit. %s", error)
