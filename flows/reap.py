"""Stop training jobs that no run follows any more: the scheduled reaper, and the hook that stops a run's own jobs."""

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
    """Stop every training job of this project that runs although no run follows it, and return their names.

    A run follows a job as long as it renews its lease in the job's tags. One that was killed cannot; its lease runs out
    after a quarter of an hour, at once where Prefect knows that the run is over or its process is seen to be gone.
    Jobs of others are not touched.

    Args:
        workspace: Name of the saved Training Workspace block whose account and region are looked through.
    """
    block, logger = load_workspace(workspace), get_run_logger()
    reaped = []
    with get_client(sync_client=True) as prefect:
        for name, tags in running_jobs(block):
            following = [run for run in active_leases(tags) if not _is_over(prefect, run)]
            if following:
                logger.info("%s is followed by %s", name, ", ".join(following))
                continue
            reaped.append({"training job": name, "status": (status := stop_job(block, name))})
            emit_reaped_event(name, status)
            logger.warning("stopped %s: nobody follows it", name)
    if reaped:
        create_table_artifact(reaped, key="reaped", description="Training jobs that nobody followed any more")
    return [row["training job"] for row in reaped]


def _is_over(prefect: SyncPrefectClient, run: str) -> bool:
    """Whether this Prefect knows the run and knows it to be over; of another Prefect's run the lease alone tells."""
    try:
        state = prefect.read_flow_run(UUID(run)).state
    except (ObjectNotFound, ValueError):
        return False
    return state is not None and state.is_final()


def stop_jobs_of_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop every job that this run followed and no other does; a hook for runs that failed, crashed or were cancelled.

    Most often nothing is left to do: the step that follows a job stops it when it is interrupted. This is
    for interruptions between two steps, and for processes that were killed.
    """
    logger = flow_run_logger(flow_run, flow)
    workspace = load_workspace(str(flow_run.parameters.get("workspace", "sandbox")))
    for name, tags in running_jobs(workspace):
        if f"{LEASE_TAG_PREFIX}{flow_run.id}" in tags:
            status = stop_unless_followed(workspace, name, str(flow_run.id))
            message = f"is {status}" if status else "goes on, as another run follows it"
            logger.warning("This run is %s; training job %s %s.", state.name, name, message)
