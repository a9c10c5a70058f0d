"""What becomes of the training jobs of a flow run that ended without its result."""

from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from aws.followers import FOLLOWER_TAG
from aws.stopping import abandon, running_jobs
from aws.workspace import load_workspace


def abandon_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop every job that this run followed and no other does; a hook for runs that failed, crashed or were cancelled.

    Most often nothing is left to do: the step that follows a job abandons it by itself when it is interrupted. This is
    for interruptions between two steps, and for processes that were killed.
    """
    logger = flow_run_logger(flow_run, flow)
    workspace = load_workspace(str(flow_run.parameters.get("workspace", "sandbox")))
    for name, tags in running_jobs(workspace):
        if f"{FOLLOWER_TAG}{flow_run.id}" in tags:
            status = abandon(workspace, name, str(flow_run.id))
            said = f"is {status}" if status else "goes on, as another run follows it"
            logger.warning("This run is %s; training job %s %s.", state.name, name, said)
