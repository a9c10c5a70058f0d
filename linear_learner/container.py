"""SageMaker's container contract: read a job's folder, train, write the model or the reason for the failure.

input/config/hyperparameters.json     name → string
input/config/inputdataconfig.json     channel → {"ContentType": …}
input/data/<channel>/                 the channel's files
model/                                the model, which the service packs into model.tar.gz
output/failure                        the reason for the failure
"""

import json
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from linear_learner.errors import DataError, HyperparameterError, LinearLearnerError
from linear_learner.formats.artifact import write_model
from linear_learner.formats.channels import RECORDIO, read_channel
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.logs.writer import TrainingLog
from linear_learner.training.engine import TrainingResult, train

CHANNELS: Final = ("train", "validation", "test")


def run(base: Path, stdout: TextIO) -> int:
    """Train the job in the folder `base` (on SageMaker `/opt/ml`), log to `stdout` and return the exit code.

    0: `model/` contains the model; the same input gives the same bytes. 2 (invalid input) or 1 (internal error):
    `output/failure` contains the reason.
    """
    log = TrainingLog(stdout)
    try:
        training = _train(base, log)
    except LinearLearnerError as error:
        _write_failure(base, str(error))
        log.write_failure(str(error))
        return 2
    except Exception as error:  # noqa: BLE001  # every error must be in the job's log
        _write_failure(base, f"Internal error, see the job's log: {error!r}")
        log.write_failure(traceback.format_exc().rstrip(), origin="Algorithm")
        return 1
    log.write_result(training)
    return 0


def _train(base: Path, log: TrainingLog) -> TrainingResult:
    config = base / "input" / "config"
    provided = {name: str(value) for name, value in _read_object(config / "hyperparameters.json").items()}
    log.write_configuration(provided, str(config / "hyperparameters.json"))
    hyperparameters = Hyperparameters.from_wire(provided)
    for warning in hyperparameters.warnings():
        log.write(warning, "WARNING")
    content_types = _content_types(_read_object(config / "inputdataconfig.json"))
    with tempfile.TemporaryDirectory(prefix="spool-", dir=base) as spool:
        channels = {
            name: read_channel(base / "input" / "data" / name, content_type, Path(spool))
            for name, content_type in content_types.items()
        }
        training = train(
            hyperparameters,
            channels["train"],
            channels.get("validation"),
            channels.get("test"),
            on_epoch=lambda epoch: log.write_epoch(epoch, hyperparameters.epochs),
        )
    (base / "model").mkdir(exist_ok=True)
    write_model(training.model, base / "model")
    return training


def _content_types(channels: Mapping[str, Any]) -> dict[str, str]:
    """The content type of each channel; the default is RecordIO, which SageMaker's SDK sends without naming it."""
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown:
        raise DataError(f"channel {unknown[0]!r} is unknown to Linear Learner: use {', '.join(CHANNELS)}")
    if "train" not in channels:
        raise DataError("there is no train channel: give the training data in a channel named train")
    return {
        name: (channel.get("ContentType") if isinstance(channel, dict) else None) or RECORDIO
        for name, channel in channels.items()
    }


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HyperparameterError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise HyperparameterError(f"{file} contains {type(content).__name__}: give a JSON object")
    return content


def _write_failure(base: Path, message: str) -> None:
    folder = base / "output"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure").write_text(message, encoding="utf-8")
