"""Stop training jobs that no run follows: the scheduled reaper flow, and the hook that stops the jobs of a run."""

from typing import Any
from uuid import UUID

from prefect import flow, get_client
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger

from aws.training.leases import LEASE_TAG_PREFIX, active_leases
from aws.training.stopping import running_jobs, stop_job, stop_unless_followed
from aws.workspace import load_workspace
from tasks.prefect_ui.events import emit_reaped_event


@flow(name="reap-training-jobs", flow_run_name="in {workspace}")
def reap_training_jobs(workspace: str = "sandbox") -> list[str]:
    """Stop every running training job of this project that no flow run follows, and return the names of these jobs.

    A run follows a job as long as it renews its lease in the job's tags. The lease of a run that was killed expires
    after 15 minutes; it is not valid once Prefect reports that the run is over, or its process has ended. Training jobs
    of other projects are not stopped.

    Args:
        workspace: Name of the saved Training Workspace block with the account and region of the jobs.
    """
    block, logger = load_workspace(workspace), get_run_logger()
    reaped = []
    with get_client(sync_client=True) as prefect:
        for name, tags in running_jobs(block):
            following = [run for run in active_leases(tags) if not _is_over(prefect, run)]
            if following:
                logger.info("training job %s is followed by %s", name, ", ".join(following))
                continue
            reaped.append({"training job": name, "status": (status := stop_job(block, name))})
            emit_reaped_event(name, status)
            logger.warning("stopped training job %s: no run follows it", name)
    if reaped:
        create_table_artifact(reaped, key="reaped", description="Stopped training jobs that no run followed")
    return [row["training job"] for row in reaped]


def _is_over(prefect: SyncPrefectClient, run: str) -> bool:
    """Return whether this Prefect server has the run and it is over; a run of another server counts as running."""
    try:
        state = prefect.read_flow_run(UUID(run)).state
    except (ObjectNotFound, ValueError):
        return False
    return state is not None and state.is_final()


def stop_jobs_of_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop every job that only this run followed; a hook for runs that failed, crashed or were cancelled.

    The step that follows a job stops it when it is interrupted. This hook is for interruptions between two steps and
    for processes that were killed.
    """
    logger = flow_run_logger(flow_run, flow)
    workspace = load_workspace(str(flow_run.parameters.get("workspace", "sandbox")))
    for name, tags in running_jobs(workspace):
        if f"{LEASE_TAG_PREFIX}{flow_run.id}" in tags:
            status = stop_unless_followed(workspace, name, str(flow_run.id))
            message = f"is {status}" if status else "continues, as another run follows it"
            logger.warning("This run is %s; training job %s %s.", state.name, name, message)
