"""The flows that put a model to work at a SageMaker endpoint, and that remove one."""

if __name__ == "__main__":
    # Before the other imports: the command line prints, and starts its servers, while Prefect is being imported.
    from importlib import import_module

    from flows.cli.command import run_command

    raise SystemExit(
        run_command(lambda: import_module("flows.cli.deploy").main(lambda: import_module("flows.deploy").deploy_model))
    )

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from aws.endpoints.settings import Guard, Hosting, Traffic
from aws.workspace import Workspace
from flows.endpoint import load_running_workspace
from flows.form import DeploymentForm, EndpointForm, GuardForm, HostingForm, TrafficForm, WorkspaceName
from tasks.deploy import check_comparison, compare_offline, explain_missing_endpoint, find, load_models, plan, update
from tasks.prefect_ui.console_output import ignore_closed_pipe
from tasks.prefect_ui.display import warn_of_errors
from tasks.prefect_ui.events import ROLLED_BACK, UPDATED, emit_endpoint_event
from tasks.prefect_ui.failure_artifact import failure_artifact
from tasks.prefect_ui.run_name import add_verdict, current_parameters, entered_name
from tasks.serving.page import EndpointRun, render_page
from tasks.serving.parameters import Deployment
from tasks.serving.plan import Plan
from tasks.undeploy import undeploy

DESCRIPTION = """\
Serves a trained model at a SageMaker endpoint: *find → plan → compare offline → update → confirm*.

- An update is watched: SageMaker **rolls it back** on errors, slow or wrong answers, and missing checks.
- Nothing is changed when the endpoint serves exactly this already.
- The run ends *Completed*, or *RolledBack* when the endpoint still serves the model before.
- An endpoint costs money as long as it exists; *undeploy-model* removes it.
"""


def _run_name() -> str:
    """Return the entered name, or else what is deployed."""
    if name := entered_name():
        return name
    deployment: Deployment = current_parameters().get("deployment", Deployment())
    return f"serve {deployment.model}" + (f" at {deployment.endpoint}" if deployment.endpoint else "")


@flow(
    name="deploy-model",
    description=DESCRIPTION,
    flow_run_name=_run_name,
    persist_result=True,
    result_serializer="json",
)
def deploy_model(
    deployment: DeploymentForm = Deployment(),
    workspace: WorkspaceName = "sandbox",
    hosting: HostingForm = Hosting(),
    traffic: TrafficForm = Traffic(),
    guard: GuardForm = Guard(),
) -> EndpointRun:
    """Serve a model at an endpoint, after comparing it with the one that is served, and watch the update.

    Args:
        deployment: The model to serve, and the endpoint that serves it.
        workspace: Name of the saved Training Workspace block, which defines where models and endpoints are.
        hosting: What the endpoint runs on and may cost; of an existing endpoint, settings not given stay as they are.
        traffic: How requests move from the present instances to those with the new model.
        guard: What stops the update before it starts, and what rolls it back.
    """
    ignore_closed_pipe()
    with failure_artifact():
        block = load_running_workspace(workspace)
        if missing := explain_missing_endpoint(block, deployment):
            return Completed(message=missing)  # type: ignore[return-value] # Prefect uses it as the state of the run
        candidate = find(block, deployment, guard)
        deployed = None
        while deployed is None:  # another run may change the endpoint between the plan and the update
            made = plan(block, candidate, deployment, hosting, traffic)
            models = load_models(block, candidate, made)
            run = EndpointRun(plan=made, comparison=compare_offline(block, made, models))
            get_run_logger().info("compared offline: %s", run.comparison)
            _show(block, run)
            if made.was_rolled_back and not deployment.retry_rolled_back and made.action == "update":
                return _skip_rolled_back(made)  # type: ignore[return-value] # Prefect uses it as the state of the run
            check_comparison(run.comparison, guard)
            if deployment.dry_run:
                return Completed(message=run.headline, data=run)  # type: ignore[return-value] # the same
            deployed = update(block, made, models, traffic, guard)
        run = run.model_copy(update={"deployed": deployed})
        _show(block, run)
        _announce(run)
        add_verdict(run.headline)
    if run.rolled_back:
        return Failed(name="RolledBack", message=run.headline, data=run)  # type: ignore[return-value] # the same
    return Completed(message=run.headline, data=run)  # type: ignore[return-value] # the same


def _show(block: Workspace, run: EndpointRun) -> None:
    name = run.plan.spec.endpoint
    with warn_of_errors("The page of the endpoint is not among the artifacts of this run"):
        create_markdown_artifact(
            render_page(block, run), key=f"endpoint-{name.lower()}", description=f"Endpoint {name}"
        )


def _announce(run: EndpointRun) -> None:
    """Emit the event of an endpoint that was changed or rolled back."""
    if run.deployed is None or run.deployed.how == "unchanged":
        return
    model, served = run.plan.spec.model, run.plan.served
    payload = {
        "how": run.deployed.how,
        "cause": run.deployed.cause,
        "model": model.model_dump(),
        "previous_model": served.model.model_dump() if served else None,
        "configuration": run.deployed.config,
        "checks": run.deployed.checks,
        "cost": run.plan.cost,
    }
    emit_endpoint_event(ROLLED_BACK if run.rolled_back else UPDATED, run.plan.spec.endpoint, payload)


def _skip_rolled_back(made: Plan) -> object:
    message = (
        f"{made.spec.endpoint} was not changed: the update to {made.spec.config_name} was rolled back before. Deploy "
        "another version, or try again with --retry-rolled-back."
    )
    return Failed(name="RolledBack", message=message)


@flow(name="undeploy-model", flow_run_name="remove {endpoint}", persist_result=True, result_serializer="json")
def undeploy_model(endpoint: EndpointForm, workspace: WorkspaceName = "sandbox") -> list[str]:
    """Delete an endpoint with its scaling targets, alarms, configurations and models, and return what was deleted.

    Args:
        endpoint: Name of the endpoint.
        workspace: Name of the saved Training Workspace block with the account and region of the endpoint.
    """
    with failure_artifact():
        return list(undeploy(load_running_workspace(workspace), endpoint))
