"""The flow that predicts for new rows with a trained model."""

if __name__ == "__main__":
    # Before the other imports: the command line prints, and starts its servers, while Prefect is being imported.
    from importlib import import_module

    from flows.cli.command import run_command

    raise SystemExit(
        run_command(
            lambda: import_module("flows.cli.predict").main(lambda: import_module("flows.predict").predict_batch)
        )
    )

from pathlib import PurePosixPath

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.endpoint import load_running_workspace
from flows.form import PredictionForm, WorkspaceName
from tasks.parameters import Prediction
from tasks.predict import evaluate, fetch, find, predict
from tasks.prediction_report import BatchPrediction, render_report
from tasks.prefect_ui.console_output import ignore_closed_pipe
from tasks.prefect_ui.display import warn_of_errors
from tasks.prefect_ui.failure_artifact import failure_artifact
from tasks.prefect_ui.run_name import current_parameters, entered_name

REPORT_KEY = "predictions"
DESCRIPTION = """\
Predicts for new rows with a model that *train-linear-learner* has made: *find → fetch model → predict → evaluate*.

- The columns are matched **by name**; text, dates and missing cells are encoded as in training.
- The predictions are written next to the columns of `keep`; the artifact `predictions` summarises them.
- Nothing is predicted again unless the model, the rows or the options have changed.
"""


def _run_name() -> str:
    """Return the entered name, or else the name of the rows: `predictions for july.csv`."""
    if name := entered_name():
        return name
    prediction: Prediction = current_parameters().get("prediction", Prediction())
    return f"predictions for {PurePosixPath(prediction.data).name}"


@flow(
    name="predict-batch",
    description=DESCRIPTION,
    flow_run_name=_run_name,
    persist_result=True,
    result_serializer="json",
)
def predict_batch(
    prediction: PredictionForm = Prediction(),
    workspace: WorkspaceName = "sandbox",
) -> BatchPrediction:
    """Predict for new rows, by column name, and write the predictions to a file for each file of the rows.

    Args:
        prediction: The new rows, the model and the place of the predictions.
        workspace: Name of the saved Training Workspace block, which defines where the bucket and the models are.
    """
    ignore_closed_pipe()
    with failure_artifact():
        block = load_running_workspace(workspace)
        found = find(block, prediction)
        get_run_logger().info("model: %s", found.model)
        job = fetch(block, found, prediction)
        files, statistics = predict(block, found, job)
        evaluation = evaluate(block, found, job) if prediction.evaluate else None
        run = BatchPrediction(
            table=found.table, model=found.model, files=files, statistics=statistics, evaluation=evaluation
        )
        for remark in run.remarks:
            get_run_logger().warning("%s", remark)
        with warn_of_errors("The summary is not among the artifacts of this run"):
            create_markdown_artifact(render_report(run), key=REPORT_KEY, description=f"Predictions for {run.table.uri}")
    return Completed(message=str(run), data=run)  # type: ignore[return-value] # Prefect uses it as the state of the run
