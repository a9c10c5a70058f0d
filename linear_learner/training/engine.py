"""Training of all models of the grid at once: the epochs, early stopping and the saved model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, LinearModel
from linear_learner.training.input_checks import check_channels
from linear_learner.training.learner import Learner
from linear_learner.training.losses import Loss, make_loss
from linear_learner.training.metrics import Score, channel_scores
from linear_learner.training.models import make_model_grid
from linear_learner.training.selection import LOSS_CRITERIA, EarlyStopping, find_best_threshold

MAX_CALIBRATION_SCORES = 2**24
"""Maximum count of scores in memory during the threshold search for many models."""
DEFAULT_CALIBRATION_SAMPLES = 10_000_000
"""The container's value of num_calibration_samples=auto."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data, for all models."""

    index: int
    objective: str
    """The training objective's name in the log, e.g. `mse`, `binary_classification_cross_entropy`."""
    train: NDArray[np.float64]
    """(models,) mean training objective over the epoch's mini-batches."""
    validation: NDArray[np.float64] | None
    """(models,) validation objective over all rows; None without a validation channel."""
    criteria: str
    """Name of the early stopping criterion in the log."""
    value: float
    """The criterion's value for the best model."""
    best_model: int
    improved: bool
    """The value improved by more than the tolerance, so this epoch's best model is saved."""
    extended: bool
    """Patience was exhausted but restarts: this epoch is better than all since the last improvement."""
    stop: bool
    """Patience is exhausted; this is the last epoch."""
    records: int
    batches: int
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    model: LinearModel
    epochs: tuple[Epoch, ...]
    best_model: int
    best_epoch: int
    hyperparameters: Mapping[str, object]
    """Those of the saved model, as in the log's `Best model found for hyperparameters`."""
    scores: Mapping[str, tuple[Score, ...]]
    """Per channel (`train`, `validation`, `test`), in the container's order."""


def train(
    hyperparameters: Hyperparameters,
    train: Examples,
    validation: Examples | None = None,
    test: Examples | None = None,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> TrainingResult:
    """Train Linear Learner on `train` and select the best model, as the container does.

    Rows are used in file order and initial weights are the container's, so the same input gives the same model. Arrays
    may be memory maps larger than memory. `on_epoch` is called after every epoch. Scores are computed on `validation`
    (without it on `train`) and `test`. Raises DataError or HyperparameterError for invalid input before training, and
    HyperparameterError if no model's loss is ever finite.
    """
    given = {"train": train, "validation": validation, "test": test}
    channels = {name: examples for name, examples in given.items() if examples is not None}
    check_channels(hyperparameters, channels)
    run = _TrainingRun(hyperparameters, train, validation)
    epochs = []
    for epoch in run.epochs():
        epochs.append(epoch)
        on_epoch(epoch)
    return run.result(tuple(epochs), channels)


class _TrainingRun:
    def __init__(self, settings: Hyperparameters, train: Examples, validation: Examples | None) -> None:
        self.settings, self.train, self.validation = settings, train, validation
        self.loss, self.grid = make_loss(settings, train.labels), make_model_grid(settings)
        self.learner = Learner(settings, self.grid, self.loss, train)
        self.best_model, self.best_epoch = 0, 0
        self.best_parameters: NDArray[np.float32] | None = None
        criterion = settings.binary_classifier_model_selection_criteria
        self._has_threshold = settings.predictor_type == "binary_classifier" and criterion not in LOSS_CRITERIA
        self._samples_thresholds = self._has_threshold and validation is not None
        # `sampled_accuracy` is in logs; the names of the other criteria are inferred from it.
        self._criteria = f"sampled_{criterion}" if self._samples_thresholds else f"{self.loss.objective}_objective"
        held_out, rows = train if validation is None else validation, settings.num_calibration_samples
        rows = rows or DEFAULT_CALIBRATION_SAMPLES
        self._calibration = Examples(held_out.features[:rows], held_out.labels[:rows])

    def epochs(self) -> Iterator[Epoch]:
        """Train until early stopping or the last epoch, saving the parameters of the best model so far."""
        stopping = EarlyStopping(self.settings.early_stopping_patience, self.settings.early_stopping_tolerance)
        for index in range(self.settings.epochs):
            started = perf_counter()
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                train_loss = self.learner.train_epoch()
                seconds = perf_counter() - started
                validation_loss = None if self.validation is None else self.learner.mean_loss(self.validation)
                criterion_values = self._criterion_values(train_loss, validation_loss)
            best = int(np.argmin(criterion_values))
            progress = stopping.observe(index, float(criterion_values[best]))
            if progress.improved:
                self.best_model, self.best_epoch = best, index
                self.best_parameters = self.learner.copy_parameters(best)
            yield Epoch(
                index=index,
                objective=self.loss.objective,
                train=train_loss,
                validation=validation_loss,
                criteria=self._criteria,
                value=float(-criterion_values[best] if self._samples_thresholds else criterion_values[best]),
                best_model=best,
                improved=progress.improved,
                extended=progress.extended,
                stop=progress.stop,
                records=len(self.train.labels),
                batches=-(-len(self.train.labels) // self.settings.mini_batch_size),
                seconds=seconds,
            )
            if progress.stop:
                break

    def result(self, epochs: tuple[Epoch, ...], channels: Mapping[str, Examples]) -> TrainingResult:
        """The saved model and its scores; the training data is scored only without a validation channel."""
        model = self._model()
        return TrainingResult(
            model=model,
            epochs=epochs,
            best_model=self.best_model,
            best_epoch=self.best_epoch,
            hyperparameters=self.grid.hyperparameters_of(self.best_model),
            scores={
                name: channel_scores(model, examples, self.loss, self.settings)
                for name, examples in channels.items()
                if name != "train" or self.validation is None
            },
        )

    def _model(self) -> LinearModel:
        """The saved model in the units of the data, with its threshold."""
        if self.best_parameters is None:
            raise HyperparameterError(
                "The loss of every model overflowed in every epoch; lower learning_rate, or set normalize_data to true."
            )
        weights, bias = self.learner.scaling.unscale_parameters(self.best_parameters)
        params = _metrics_params(self.settings, self.loss)
        model = LinearModel(self.settings.predictor_type, self.loss.name, weights, bias, metrics_params=params)
        if self._has_threshold:
            scores = model.activate(model.raw_scores(self._calibration.features))[:, 0]
            return replace(model, threshold=find_best_threshold(scores, self._calibration.labels, self.settings)[0])
        # Inferred: the other criteria determine no threshold, so the loss's decision boundary is used.
        return replace(model, threshold=0.0) if self.loss.name == "hinge_loss" else model

    def _criterion_values(
        self, train: NDArray[np.float64], validation: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """(models,) values that early stopping and model selection minimise; infinite if the loss is not finite."""
        loss = train if validation is None else validation
        values = -self._best_criterion_values() if self._samples_thresholds else loss
        return np.where(np.isfinite(loss), values, np.inf)

    def _best_criterion_values(self) -> NDArray[np.float64]:
        """(models,) the best value of the selection criterion over all thresholds."""
        found: list[float] = []
        rows_count = len(self._calibration.labels)
        at_once = max(1, MAX_CALIBRATION_SCORES // rows_count)
        for first in range(0, self.grid.model_count, at_once):
            parameters = self.learner.parameters[:, first : first + at_once]
            scores = np.empty((parameters.shape[1], rows_count), dtype=np.float32)
            for rows, batch_scores in self.learner.iter_scores(self._calibration, parameters):
                scores[:, rows] = batch_scores[:, 0].T
            found += [find_best_threshold(one, self._calibration.labels, self.settings)[1] for one in scores]
        return np.array(found)


def _metrics_params(settings: Hyperparameters, loss: Loss) -> dict[str, object]:
    """The artifact's parameters of loss and metrics; those that loss or predictor type do not use are null."""
    names = ("quantile", "huber_delta", "margin", "loss_insensitivity")
    weights, binary = loss.class_weights, settings.predictor_type == "binary_classifier"
    return {
        **{name: getattr(settings, name) if settings.uses(name) else None for name in names},
        "eps_insensitive_loss_type": loss.name if settings.uses("loss_insensitivity") else None,
        "accuracy_top_k": settings.accuracy_top_k,
        "f_beta": settings.f_beta if settings.uses("f_beta") else None,
        "positive_example_weight_mult": float(weights[1]) if binary and weights is not None else 1.0,
        "class_weights": None if binary or weights is None else weights.tolist(),
    }
