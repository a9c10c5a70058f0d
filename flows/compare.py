"""`python -m flows.compare JOB`: train on a job's own channels on this machine, and compare the two logs.

It shows whether the sandbox's engine makes the model that AWS made, for a job that `flows.train` ran on AWS. Nothing is
started or paid for: the channels and the log are downloaded.
"""

if __name__ == "__main__":
    # Before the other imports: the command can be interrupted while they take place.
    from flows.cli.command import run_main

    raise SystemExit(run_main("flows.compare"))

import io
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError
from pydantic_settings import CliPositionalArg, SettingsConfigDict, SettingsError

from flows.cli import local_services
from flows.cli.arguments import CommandLine, error_message
from flows.cli.command import print_result, report_error
from flows.cli.flow_command import load_saved_workspace

if TYPE_CHECKING:
    from aws.workspace import Workspace
    from linear_learner.logs.comparison import LogComparison


class Arguments(CommandLine):
    """Train on the channels of a finished training job on this machine, and compare the two logs."""

    model_config = SettingsConfigDict(cli_prog_name="python -m flows.compare")

    job: CliPositionalArg[str]
    """Name of the training job."""
    workspace: str = "production"
    """Name of the saved Training Workspace block of the job's account."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-4
    """Largest relative difference of a score, and of the losses in the median."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns the exit code: 0 equal, 1 not equal, 2 an error."""
    try:
        chosen = Arguments(**Arguments.given(arguments))
    except (ValidationError, SettingsError) as error:
        return report_error(error_message(error), 2)
    ready = local_services.start(sandboxed=chosen.workspace == "sandbox")
    from aws.errors import AwsError
    from linear_learner.errors import LinearLearnerError

    try:
        ready()
        comparison = retrain_and_compare(load_saved_workspace(chosen.workspace), chosen.job)
    except (AwsError, LinearLearnerError, local_services.ServerStartError) as error:
        return report_error(error, 2)
    equal = comparison.is_equal(chosen.tolerance)
    print_result(comparison)
    return report_error(f"The job and its repetition are {'equal' if equal else 'not equal'}.", 0 if equal else 1)


def retrain_and_compare(workspace: "Workspace", job: str) -> "LogComparison":
    """Train with the job's hyperparameters on its channels, as the sandbox does, and compare the two logs.

    Raises NotFound when there is no such job, or its channels are no longer there.
    """
    from aws.storage import download_object, list_objects
    from aws.training.following import describe_job
    from aws.training.job_log import read_log_lines
    from linear_learner.container import run
    from linear_learner.logs.comparison import compare_logs
    from linear_learner.logs.reader import LogReader

    description, output = describe_job(workspace, job), io.StringIO()
    with TemporaryDirectory() as folder:
        config, data = Path(folder, "input", "config"), Path(folder, "input", "data")
        config.mkdir(parents=True)
        for channel in description["InputDataConfig"]:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            for stored in list_objects(workspace, uri):
                path = data / channel["ChannelName"] / stored.uri[uri.rindex("/") + 1 :]
                download_object(workspace, stored, path)
        channels = {one["ChannelName"]: {"ContentType": one["ContentType"]} for one in description["InputDataConfig"]}
        (config / "hyperparameters.json").write_text(json.dumps(description["HyperParameters"]))
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        run(Path(folder), output)
    return compare_logs(LogReader.read(read_log_lines(workspace, job)), LogReader.read(output.getvalue().splitlines()))
