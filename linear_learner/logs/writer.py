"""Write a training job's log in the format of the newest container, so that SageMaker's metric regexes match it."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters, to_wire_text
from linear_learner.training.engine import Epoch, TrainingResult

HOST: Final = "algo-1"
DEFAULTS: Final = {
    name: to_wire_text(field.default)
    for name, field in Hyperparameters.model_fields.items()
    if name != "predictor_type"
} | {
    "num_classes": "1",
    "num_calibration_samples": "10000000",
    "_kvstore": "auto",
    "_num_gpus": "auto",
    "_num_kv_servers": "auto",
    "_log_level": "info",
    "_tuning_objective_metric": "",
    "_enable_profiler": "false",
}
"""The container's default configuration, as its log prints it."""


class TrainingLog:
    """The log of one job; every call writes whole lines and flushes the stream."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._stream, self._clock = stream, clock
        self._process = os.getpid()
        self._started = clock()
        self._records = self._batches = 0

    def write(self, text: str, level: str = "INFO") -> None:
        self._write([self._line(text, level)])

    def write_configuration(self, provided: Mapping[str, str], source: str) -> None:
        """Write the defaults, the hyperparameters provided in the file `source`, and both merged."""
        self.write(f"Reading default configuration from linear_learner.hyperparameters: {DEFAULTS}")
        self.write(f"Merging with provided configuration from {source}: {dict(provided)}")
        self.write(f"Final configuration: {DEFAULTS | dict(provided)}")

    def write_epoch(self, epoch: Epoch, epochs: int) -> None:
        """Write one epoch; `epochs` is the maximum number of epochs."""
        self._records += epoch.records
        self._batches += epoch.batches
        throughput = epoch.records / max(epoch.seconds, 1e-9)
        end = self._clock()
        counts = {
            "Total Records Seen": [self._records],
            "Total Batches Seen": [self._batches],
            "Number of Records Since Last Reset": [epoch.records],
            "Number of Batches Since Last Reset": [epoch.batches],
        }
        dimensions = {"epoch": epoch.index, "Meta": "training_data_iter"}
        self._write(
            [
                *self._losses(epoch.index, f"train {epoch.objective}_objective", epoch.train),
                *self._losses(epoch.index, f"validation {epoch.objective}_objective", epoch.validation),
                *map(self._line, self._epoch_lines(epoch, epochs)),
                self._metrics(end - epoch.seconds, end, dimensions, counts),
                self._line(f"#throughput_metric: host={HOST}, train throughput={throughput} records/second"),
            ]
        )

    def write_result(self, training: TrainingResult) -> None:
        """Write the scores on each channel and the best model's hyperparameters."""
        scores = [line for channel in ("train", "validation") for line in self._scores(channel, training)]
        test = list(self._scores("test", training)) or ["Test data is not provided."]
        winner = f"Best model found for hyperparameters: {json.dumps(dict(training.hyperparameters))}"
        end = self._clock()
        updates = [1000 * epoch.seconds for epoch in training.epochs]
        timing = {"update.time": updates, "totaltime": [1000 * (end - self._started)]}
        self._write([*map(self._line, [*scores, winner, *test]), self._metrics(self._started, end, {}, timing)])

    def write_failure(self, message: str, origin: str = "Customer") -> None:
        """Write why the job failed; `origin` is `Customer` for invalid input, or `Algorithm`."""
        self.write(f"{origin} Error: {message}", "ERROR")

    def _write(self, lines: list[str]) -> None:
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()

    def _line(self, text: str, level: str = "INFO") -> str:
        now = time.strftime("%m/%d/%Y %H:%M:%S", time.gmtime(self._clock()))
        return f"[{now} {level} {self._process}] {text}"

    def _losses(self, epoch: int, name: str, losses: NDArray[np.float64] | None) -> Iterator[str]:
        if losses is None:
            return
        now = self._clock()
        for model, loss in enumerate(losses.tolist()):
            yield self._metrics(now, now, {"epoch": epoch, "model": model}, {name.replace(" ", "_"): [loss]})
        # Like the container, the value of model 0, even if another model is the best.
        yield self._line(f"#quality_metric: host={HOST}, epoch={epoch}, {name} <loss>={float(losses[0])!r}")

    def _epoch_lines(self, epoch: Epoch, epochs: int) -> Iterator[str]:
        criterion = f"epoch={epoch.index}, criteria={epoch.criteria}, value={float(epoch.value)!r}"
        yield f"#early_stopping_criteria_metric: host={HOST}, {criterion}"
        if epoch.improved:
            yield f"Epoch {epoch.index}: Loss improved. Updating best model"
        if epoch.extended:
            yield f"Epoch {epoch.index}: Loss has not improved for 0 epochs."
        yield f"Saving model for epoch: {epoch.index}"
        if epoch.stop:
            yield "Early stop condition met. Stopping training."
        done = "100 % epochs" if epoch.stop else f"{100 * (epoch.index + 1) / epochs} % of epochs"
        yield f"#progress_metric: host={HOST}, completed {done}"

    def _scores(self, channel: str, training: TrainingResult) -> Iterator[str]:
        scores = training.scores.get(channel, ())
        for score in scores:
            yield f"#{channel}_score ({HOST}) : {(score.name, float(score.value))}"
        for score in scores:
            value = f"{channel} {score.name} <{score.kind}>={float(score.value)!r}"
            yield f"#quality_metric: host={HOST}, {value}"

    def _metrics(
        self, start: float, end: float, extra_dimensions: Mapping[str, object], values: Mapping[str, Sequence[float]]
    ) -> str:
        dimensions = {"Algorithm": "Linear Learner", "Host": HOST, "Operation": "training", **extra_dimensions}
        metrics = {
            name: {"sum": float(sum(numbers)), "count": len(numbers), "min": min(numbers), "max": max(numbers)}
            for name, numbers in values.items()
        }
        content = {"StartTime": start, "EndTime": end, "Dimensions": dimensions, "Metrics": metrics}
        return f"#metrics {json.dumps(content)}"
