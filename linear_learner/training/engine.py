"""Training: every model of the grid at once, one matrix product per mini-batch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import LinearModel, sigmoid
from linear_learner.training.examples import Examples
from linear_learner.training.input_checks import check_channels
from linear_learner.training.learner import Learner
from linear_learner.training.losses import Loss, loss_of
from linear_learner.training.metrics import channel_scores, raw_scores
from linear_learner.training.models import models_of
from linear_learner.training.results import Epoch, Training
from linear_learner.training.selection import LOSS_CRITERIA, EarlyStopping, best_threshold

CALIBRATION_SCORES = 2**24
"""Scores held at once when thresholds are searched for many models."""
CALIBRATION_SAMPLES = 10_000_000
"""The container's num_calibration_samples=auto."""


def train(  # noqa: PLR0913 - three channels, a seed and a listener
    hyperparameters: Hyperparameters,
    train: Examples,
    validation: Examples | None = None,
    test: Examples | None = None,
    *,
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Training:
    """Train Linear Learner on `train` and keep the best model, as the container does.

    Rows are used in their order; the same seed gives the same model. Arrays may be memory maps larger than memory.
    `on_epoch` is called after every epoch. Scores are of `validation`, or of `train` without it, and of `test`.
    Raises DataError or HyperparameterError, before training, for what cannot be trained on, and HyperparameterError
    when no model's loss stays finite.
    """
    given = {"train": train, "validation": validation, "test": test}
    channels = {name: examples for name, examples in given.items() if examples is not None}
    check_channels(hyperparameters, channels)
    run = _Run(hyperparameters, train, validation, seed)
    epochs = []
    for epoch in run.epochs():
        epochs.append(epoch)
        on_epoch(epoch)
    return run.result(tuple(epochs), channels)


class _Run:
    """One training run and the best model it has seen."""

    def __init__(self, settings: Hyperparameters, train: Examples, validation: Examples | None, seed: int) -> None:
        self.settings, self.train, self.validation = settings, train, validation
        self.loss, self.grid = loss_of(settings, train.labels), models_of(settings)
        self.learner = Learner(settings, self.grid, self.loss, train, seed)
        self.best_model, self.best_epoch = 0, 0
        self.best: NDArray[np.float32] | None = None
        criterion = settings.binary_classifier_model_selection_criteria
        self._sampled = (
            settings.predictor_type == "binary_classifier" and validation is not None and criterion not in LOSS_CRITERIA
        )
        # `sampled_accuracy` is in logs; the names of the other criteria are inferred from it.
        self._criteria = f"sampled_{criterion}" if self._sampled else f"{self.loss.objective}_objective"

    def epochs(self) -> Iterator[Epoch]:
        """Train until early stopping or the last epoch; the best parameters are kept on the way."""
        stopping = EarlyStopping(self.settings.early_stopping_patience, self.settings.early_stopping_tolerance)
        for index in range(self.settings.epochs):
            started = perf_counter()
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                train_loss = self.learner.train_once()
                seconds = perf_counter() - started
                validation_loss = None if self.validation is None else self.learner.mean_loss(self.validation)
                watched = self._watched(train_loss, validation_loss)
            best = int(np.argmin(watched))
            improved, stop = stopping.observe(index, float(watched[best]))
            if improved:
                self.best_model, self.best_epoch = best, index
                self.best = self.learner.parameters_of(best)
            yield Epoch(
                index=index,
                train=train_loss,
                validation=validation_loss,
                criteria=self._criteria,
                value=float(-watched[best] if self._sampled else watched[best]),
                best_model=best,
                improved=improved,
                stop=stop,
                records=len(self.train.labels),
                batches=-(-len(self.train.labels) // self.settings.mini_batch_size),
                seconds=seconds,
            )
            if stop:
                break

    def result(self, epochs: tuple[Epoch, ...], channels: Mapping[str, Examples]) -> Training:
        """The kept model and its scores, of the training data only when there is no validation channel."""
        model = self._model()
        return Training(
            model=model,
            epochs=epochs,
            objective=self.loss.objective,
            best_model=self.best_model,
            best_epoch=self.best_epoch,
            hyperparameters=self.grid.row(self.best_model),
            scores={
                name: channel_scores(model, examples, self.loss, self.settings)
                for name, examples in channels.items()
                if name != "train" or self.validation is None
            },
        )

    def _model(self) -> LinearModel:
        """In the units of the data, with its threshold."""
        if self.best is None:
            raise HyperparameterError(
                "The loss of every model overflowed in every epoch; lower learning_rate, or leave normalize_data on."
            )
        weights, bias = self.learner.scaling.undo(self.best)
        model = LinearModel(
            predictor_type=self.settings.predictor_type,
            loss=self.loss.name,
            weights=weights,
            bias=bias,
            metrics_params=_metrics_params(self.settings, self.loss),
        )
        return replace(model, threshold=self._threshold(model))

    def _watched(self, train: NDArray[np.float64], validation: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """(models,) what early stopping and the choice of the best model minimise; infinite where it is not finite."""
        loss = train if validation is None else validation
        if self._sampled and self.validation is not None:
            watched = -self._best_criteria(_first(self.validation, self._calibration_rows))
            watched[~np.isfinite(loss)] = np.inf
            return watched
        return np.where(np.isfinite(loss), loss, np.inf)

    def _best_criteria(self, sample: Examples) -> NDArray[np.float64]:
        """(models,) the best value of the selection criterion over all thresholds."""
        found: list[float] = []
        at_once = max(1, CALIBRATION_SCORES // len(sample.labels))
        for first in range(0, self.grid.models, at_once):
            part = self.learner.parameters[:, first : first + at_once]
            scores = np.empty((part.shape[1], len(sample.labels)), dtype=np.float32)
            for rows, some in self.learner.scored(sample, part):
                scores[:, rows] = some[:, 0].T
            found += [best_threshold(of_model, sample.labels, self.settings)[1] for of_model in scores]
        return np.array(found)

    @property
    def _calibration_rows(self) -> int:
        return self.settings.num_calibration_samples or CALIBRATION_SAMPLES

    def _threshold(self, model: LinearModel) -> float:
        if model.predictor_type != "binary_classifier":
            return 0.5
        if self.settings.binary_classifier_model_selection_criteria in LOSS_CRITERIA:
            # Inferred: these criteria name no threshold, so the loss's own decision boundary serves.
            return 0.5 if model.has_sigmoid else 0.0
        sample = _first(self.train if self.validation is None else self.validation, self._calibration_rows)
        scores = raw_scores(model, sample.features)[:, 0]
        return best_threshold(sigmoid(scores) if model.has_sigmoid else scores, sample.labels, self.settings)[0]


def _first(examples: Examples, rows: int) -> Examples:
    return Examples(examples.features[:rows], examples.labels[:rows])


def _metrics_params(settings: Hyperparameters, loss: Loss) -> dict[str, object]:
    """What the artifact says of how the model is measured; what the loss or the predictor type does not use is null."""
    used = {
        "quantile": ("quantile_loss",),
        "huber_delta": ("huber_loss",),
        "margin": ("hinge_loss",),
        "loss_insensitivity": ("eps_insensitive_squared_loss", "eps_insensitive_absolute_loss"),
    }
    params: dict[str, object] = {
        name: getattr(settings, name) if loss.name in losses else None for name, losses in used.items()
    }
    weights, binary = loss.class_weights, settings.predictor_type == "binary_classifier"
    return {
        **params,
        "eps_insensitive_loss_type": loss.name if loss.name in used["loss_insensitivity"] else None,
        "accuracy_top_k": settings.accuracy_top_k,
        "f_beta": None if settings.predictor_type == "regressor" else settings.f_beta,
        "positive_example_weight_mult": float(weights[1]) if binary and weights is not None else 1.0,
        "class_weights": None if binary or weights is None else weights.tolist(),
    }
