"""What can be done after a run, as commands that can be pasted into the shell in which it was started."""

import shlex
import shutil
import sys
from pathlib import Path

from prefect.settings import PREFECT_UI_URL

from tasks.report import PAGE, REPORT_KEY, TrainingRun


def list_next_steps(run: TrainingRun, workspace: str, rows: str) -> dict[str, str]:
    """Return the commands that apply to the verdict and the state of the model, by what they are for.

    `workspace` is the name of the block, `rows` the location of a table with the columns of the training.
    """
    where = [] if workspace == "sandbox" else ["--workspace", workspace]
    path, steps = run.model.path, dict[str, str]()
    if (page := path.with_name(PAGE)).is_file():
        steps["open report"] = _python("webbrowser", page.as_uri())
    if run.verdict.passed:
        output = "predictions/" if rows.endswith("/") else "predictions.csv"
        model = ["--model", _shorten(path.parent)]
        steps["predict"] = _python("flows.predict", "--data", rows, "--out", output, *model, *where)
    if run.recorded.path.is_file():
        again = [
            "--from-run",
            _shorten(run.recorded.path),
            "--hyperparameters.l1",
            "0.001" if run.checked.hyperparameters.l1 == 0.01 else "0.01",
        ]
        steps["change"] = _python("flows.train", *again, *where)
    if package := run.registered:
        group, version = package.group, package.version
        if version > 1:
            steps["compare"] = _python("flows.models", "compare", group, str(version - 1), str(version), *where)
        if run.waits_for_approval:
            steps["approve"] = _python("flows.models", "approve", group, str(version), *where)
        if run.verdict.passed:  # serves the newest version that is Approved
            steps["serve"] = _python("flows.deploy", "--model", group, *where)
    if ui := PREFECT_UI_URL.value():
        steps["see in Prefect"] = f"{str(ui).rstrip('/')}/artifacts/key/{REPORT_KEY}"
    return steps


def _python(module: str, *arguments: str) -> str:
    """Return a command with the interpreter of this process, by the name that works in this folder."""
    interpreter = "python" if shutil.which("python") == sys.executable else _shorten(Path(sys.executable))
    return shlex.join([interpreter, "-m", module, *arguments])


def _shorten(path: Path) -> str:
    """Return a path relative to the current folder, if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
