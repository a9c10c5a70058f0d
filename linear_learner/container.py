"""SageMaker's container contract: read a job's folder, train, write the model or the reason of the failure to it.

input/config/hyperparameters.json     name → string
input/config/inputdataconfig.json     channel → {"ContentType": …}
input/data/<channel>/                 the channel's files
model/                                what the service packs into model.tar.gz
output/failure                        why the job failed
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
    """Train the job laid out under `base` (on SageMaker `/opt/ml`), log to `stdout` and return the exit code.

    0: the model is in `model/`. 2: the user's mistake, 1: ours; then `output/failure` says what happened. The same
    input gives the same bytes of model.
    """
    log = TrainingLog(stdout)
    try:
        training = _train(base, log)
    except LinearLearnerError as error:
        _write_failure(base, str(error))
        log.write_failure(str(error))
        return 2
    except Exception as error:  # noqa: BLE001  # whatever it is, the job's owner is to find it in the log
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
    """Channel to content type; without one it is RecordIO, which is what SageMaker's SDK sends and does not name."""
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown:
        raise DataError(f"channel {unknown[0]!r} is unknown to Linear Learner: name it {', '.join(CHANNELS)}")
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
        raise HyperparameterError(f"{file} holds {type(content).__name__}: give a JSON object")
    return content


def _write_failure(base: Path, message: str) -> None:
    folder = base / "output"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure").write_text(message, encoding="utf-8")
