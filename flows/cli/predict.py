"""The command line of `python -m flows.predict`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_settings import SettingsConfigDict

from flows.cli.arguments import LISTS, CommandLine, is_uri
from flows.cli.flow_command import run_flow, run_with_arguments
from tasks.parameters import Prediction

if TYPE_CHECKING:
    from prefect.flows import Flow

    from aws.workspace import Workspace
    from tasks.prediction_report import BatchPrediction

INTERRUPTED = "Interrupted. No incomplete file of predictions remains; run the command again to go on."
PRELOADED = ("markdown_it", "tasks.data.scoring")


class Arguments(CommandLine, Prediction):
    __doc__ = f"Predict for new rows with a trained model, by column name. {LISTS}"

    model_config = SettingsConfigDict(
        cli_prog_name="python -m flows.predict",
        cli_shortcuts={"output": "out"},
        cli_implicit_flags="toggle",
        cli_kebab_case=True,
    )

    examples: ClassVar[str] = """\
examples:
  python -m flows.predict --data july.csv --out predictions.csv --keep id,street
  python -m flows.predict --data s3://my-bucket/july/ --out scored/ --model linear-learner-bonus-july/3
"""

    workspace: str = "sandbox"
    """Name of the saved Training Workspace block of the bucket and the models; "sandbox" needs no AWS account."""
    verbose: bool = False
    """Log every step and its state."""


def main(load_flow: Callable[[], "Flow[..., Any]"], arguments: Sequence[str] | None = None) -> int:
    """Run the flow that `load_flow` returns; exit codes as of `python -m flows.train`."""
    return run_with_arguments(Arguments, arguments, lambda chosen: _run(load_flow, chosen), INTERRUPTED)


def _run(load_flow: Callable[[], "Flow[..., Any]"], chosen: Arguments) -> int:
    def call(flow: "Flow[..., Any]", block: "Workspace") -> tuple[str, int]:
        del block
        run: Any = flow(prediction=_resolve_paths(chosen), workspace=chosen.workspace)
        return _summary(run), 0

    return run_flow(chosen.workspace, load_flow, call, PRELOADED, verbose=chosen.verbose)


def _resolve_paths(chosen: Arguments) -> Prediction:
    """The parameters of the flow: rows that exist on this machine are a path; the output is one unless it is a URI."""
    given: dict[str, Any] = {name: getattr(chosen, name) for name in Prediction.model_fields}
    data, output = Path(chosen.data).expanduser(), chosen.output
    if not is_uri(chosen.data) and data.exists():
        given["data"] = f"file://{data.absolute()}" + "/" * chosen.data.endswith("/")
    if not is_uri(output):
        given["output"] = f"file://{Path(output).expanduser().absolute()}" + "/" * output.endswith("/")
    return Prediction(**given)


def _summary(run: "BatchPrediction") -> str:
    lines = {
        "rows": f"{run.statistics.rows:,} of {run.table.uri}",
        "model": str(run.model),
        "predictions": ", ".join(file.uri.removeprefix("file://") for file in run.files[:3])
        + (f" and {len(run.files) - 3} more files" if len(run.files) > 3 else ""),
        "evaluation": run.score,
        "remarks": "; ".join(run.remarks),
        "reused": "all: nothing has changed" if run.reused else "",
    }
    shown = [f"  {name:<13}{value}" for name, value in lines.items() if value]
    return "\n".join(["", "Linear Learner predictions", "", *shown, ""])
