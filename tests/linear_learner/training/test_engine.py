from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from linear_learner import model as model_module
from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples
from linear_learner.training import batches, engine, learner, scaling
from linear_learner.training.engine import TrainingResult, train

BINARY = {"predictor_type": "binary_classifier", "mini_batch_size": 20, "epochs": 3}
SHORT = {"mini_batch_size": 20, "epochs": 3}


def rows(count: int = 205, width: int = 3, kind: str = "regressor", seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width)).astype(np.float32) * 3 + 5
    line = features @ np.arange(1, width + 1, dtype=np.float32) + rng.normal(size=count).astype(np.float32)
    if kind == "binary_classifier":
        return Examples(features, (line > np.median(line)).astype(np.float32))
    if kind == "multiclass_classifier":
        return Examples(features, np.digitize(line, np.quantile(line, [0.3, 0.6])).astype(np.float32))
    return Examples(features, line)


def scores(training: TrainingResult, channel: str) -> dict[str, float]:
    return {score.name: score.value for score in training.scores[channel]}


def equal_results(one: TrainingResult, other: TrainingResult) -> bool:
    return (
        bool(np.array_equal(one.model.weights, other.model.weights))
        and bool(np.array_equal(one.model.bias, other.model.bias))
        and one.scores == other.scores
    )


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier", "multiclass_classifier"])
def test_the_same_input_gives_the_same_model(kind):
    settings = Hyperparameters(predictor_type=kind, num_classes=3, **SHORT)
    assert equal_results(train(settings, rows(kind=kind)), train(settings, rows(kind=kind)))


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier", "multiclass_classifier"])
def test_data_larger_than_memory_gives_the_same_model(kind, tmp_path, monkeypatch):
    settings = Hyperparameters(predictor_type=kind, num_classes=3, num_point_for_scaler=100, **SHORT)
    whole, validation = rows(kind=kind), rows(kind=kind, seed=1)
    expected = train(settings, whole, validation)
    for name in ("features", "labels"):
        np.save(tmp_path / f"{name}.npy", getattr(whole, name))
    mapped = Examples(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("features", "labels")))
    monkeypatch.setattr(batches, "MAX_RESIDENT_SIZE", 0)
    monkeypatch.setattr(engine, "MAX_CALIBRATION_SCORES", 3 * len(validation.labels))
    for module in (batches, model_module):
        monkeypatch.setattr(module, "CHUNK_SIZE", 300)
    monkeypatch.setattr(learner, "MAX_SLAB_SCORES", 3 * 20 * 32)
    found = train(settings, mapped, validation)
    assert_allclose(found.model.weights, expected.model.weights, rtol=1e-4, atol=1e-6)
    assert scores(found, "validation") == pytest.approx(scores(expected, "validation"), rel=1e-4)
    assert found.best_model == expected.best_model


def test_rows_after_the_last_full_mini_batch_are_scored_but_not_used_for_training():
    whole = rows(205)
    labels = whole.labels.copy()
    labels[200:] += 1000
    settings = Hyperparameters(**SHORT)
    one, other = train(settings, whole), train(settings, Examples(whole.features, labels))
    assert_array_equal(one.model.weights, other.model.weights)
    assert scores(one, "train")["mse"] < scores(other, "train")["mse"]
    assert (one.epochs[0].records, one.epochs[0].batches) == (205, 11)


def test_the_scaler_uses_full_mini_batches_until_they_exceed_num_point_for_scaler():
    whole = rows(205)
    for points, used in ((39, 40), (40, 60), (41, 60), (10_000, 200)):
        found = scaling.fit_scaling(Hyperparameters(num_point_for_scaler=points, **SHORT), whole)
        assert_allclose(found.mean, whole.features[:used].mean(axis=0), rtol=1e-5)
        assert_allclose(found.deviation, whole.features[:used].std(axis=0), rtol=1e-5)
        assert found.label_deviation == pytest.approx(whole.labels[:used].std(), rel=1e-5)


def test_the_scaler_is_accurate_with_a_large_offset():
    values = (np.float32(1.7e9) + 128 * np.arange(200, dtype=np.float32))[:, None]
    found = scaling.fit_scaling(Hyperparameters(**SHORT), Examples(values, values[:, 0]))
    assert found.deviation[0] == pytest.approx(values.astype(float).std(), rel=1e-6)


def test_a_constant_feature_and_a_constant_label_can_be_trained_on():
    whole = rows()
    features = np.c_[whole.features, np.full(len(whole.labels), 0.1)].astype(np.float32)
    training = train(Hyperparameters(**SHORT), Examples(features, np.full(len(features), 7.3, np.float32)))
    assert scaling.fit_scaling(Hyperparameters(**SHORT), Examples(features, whole.labels)).deviation[3] == 1
    assert np.isfinite(training.model.weights).all()
    assert training.model.predict(features).scores.mean() == pytest.approx(7.3, abs=0.2)


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier", "multiclass_classifier"])
def test_the_model_predicts_unscaled_data(kind):
    settings = Hyperparameters(predictor_type=kind, num_classes=3, mini_batch_size=20, epochs=15)
    training = train(settings, rows(kind=kind), rows(kind=kind, seed=1), rows(kind=kind, seed=2))
    assert list(training.scores) == ["validation", "test"]
    name = {"regressor": "r2", "binary_classifier": "binary_classification_accuracy"}.get(kind, "multiclass_accuracy")
    assert scores(training, "test")[name] > 0.85


def test_without_use_bias_the_bias_is_0():
    settings = Hyperparameters(use_bias=False, unbias_label=False, **SHORT)
    assert train(settings, rows()).model.bias == 0


def test_without_a_bias_features_are_divided_by_their_root_mean_square():
    whole = rows(200)
    found = scaling.fit_scaling(Hyperparameters(use_bias=False, **SHORT), whole)
    assert_array_equal(found.mean, 0)
    assert_allclose(found.deviation, np.sqrt(np.square(whole.features.astype(float)).mean(axis=0)), rtol=1e-6)


def test_the_validation_loss_is_in_the_labels_units_and_the_training_loss_is_scaled():
    epochs = train(Hyperparameters(num_models=1, **SHORT), rows(), rows(seed=1)).epochs
    variance = rows().labels.var()
    assert epochs[-1].train[0] * variance == pytest.approx(epochs[-1].validation[0], rel=0.5)
    assert epochs[0].criteria == "mse_objective"
    assert epochs[0].value == epochs[0].validation[0]


@pytest.mark.parametrize(
    ("criterion", "channel", "expected"),
    [
        ("accuracy", None, "binary_classification_cross_entropy_objective"),
        ("accuracy", "validation", "sampled_accuracy"),
        ("f1", "validation", "sampled_f1"),
        ("precision_at_target_recall", "validation", "sampled_precision_at_target_recall"),
        ("loss_function", "validation", "binary_classification_cross_entropy_objective"),
        ("cross_entropy_loss", "validation", "binary_classification_cross_entropy_objective"),
    ],
)
def test_early_stopping_uses_the_criterion_on_the_validation_channel(criterion, channel, expected):
    settings = Hyperparameters(binary_classifier_model_selection_criteria=criterion, **BINARY)
    validation = rows(kind="binary_classifier", seed=1) if channel else None
    training = train(settings, rows(kind="binary_classifier"), validation)
    assert {epoch.criteria for epoch in training.epochs} == {expected}
    if expected.startswith("sampled"):
        assert all(0 <= epoch.value <= 1 for epoch in training.epochs)


def test_the_target_recall_is_reached_on_the_validation_channel():
    settings = Hyperparameters(
        binary_classifier_model_selection_criteria="precision_at_target_recall", target_recall=0.95, **BINARY
    )
    training = train(settings, rows(kind="binary_classifier"), rows(kind="binary_classifier", seed=1))
    assert scores(training, "validation")["recall"] == pytest.approx(0.95, abs=0.05)


def test_the_threshold_is_searched_on_the_calibration_samples_only():
    validation = rows(kind="binary_classifier", seed=1)
    changed = Examples(validation.features, np.where(np.arange(205) < 50, validation.labels, 1).astype(np.float32))
    settings = Hyperparameters(num_calibration_samples=50, num_models=1, **BINARY)
    one, other = (train(settings, rows(kind="binary_classifier"), channel) for channel in (validation, changed))
    assert one.model.threshold == other.model.threshold


def test_the_saved_model_is_from_the_last_improved_epoch():
    settings = Hyperparameters(mini_batch_size=20, epochs=15, early_stopping_tolerance=0.2, num_models=4)
    training = train(settings, rows())
    improved = [epoch for epoch in training.epochs if epoch.improved]
    assert training.best_epoch == improved[-1].index < training.epochs[-1].index
    assert training.best_model == improved[-1].best_model
    shorter = train(settings.model_copy(update={"epochs": training.best_epoch + 1}), rows())
    assert equal_results(training, shorter)


def test_every_epoch_is_reported_as_it_ends():
    reported: list[Any] = []
    training = train(Hyperparameters(**SHORT), rows(), on_epoch=reported.append)
    assert tuple(reported) == training.epochs
    assert [epoch.index for epoch in reported] == [0, 1, 2]
    assert all(epoch.train.shape == (32,) for epoch in reported)


def test_diverging_models_are_not_selected():
    settings = Hyperparameters(optimizer="sgd", use_lr_scheduler=False, mini_batch_size=20, epochs=30, num_models=32)
    training = train(settings, rows())
    assert not np.isfinite(training.epochs[-1].train).all()
    assert training.hyperparameters["wd"] != 100
    assert scores(training, "train")["r2"] > 0.9


def test_divergence_of_all_models_is_an_error():
    settings = Hyperparameters(optimizer="sgd", learning_rate=1e30, normalize_data=False, **SHORT)
    with pytest.raises(HyperparameterError, match="lower learning_rate"):
        train(settings, rows())


def test_the_artifact_has_only_the_parameters_that_its_loss_uses():
    huber = train(Hyperparameters(loss="huber_loss", huber_delta=2.0, **SHORT), rows()).model.metrics_params
    assert huber["huber_delta"] == 2.0
    assert [huber[name] for name in ("quantile", "margin", "loss_insensitivity", "f_beta", "class_weights")] == [
        None
    ] * 5
    weighted = Hyperparameters(positive_example_weight_mult="4", **BINARY)
    assert train(weighted, rows(kind="binary_classifier")).model.metrics_params["positive_example_weight_mult"] == 4.0


def test_a_higher_positive_weight_gives_higher_predictions():
    light, heavy = (
        train(
            Hyperparameters(
                positive_example_weight_mult=weight,
                binary_classifier_model_selection_criteria="loss_function",
                num_models=1,
                wd=0.1,
                **BINARY,
            ),
            rows(kind="binary_classifier"),
        ).model
        for weight in ("0.1", "10")
    )
    features = rows().features
    assert light.predict(features).scores.mean() < heavy.predict(features).scores.mean() - 0.1


def rows_with(value: float, row: int = 4, column: int = 1) -> Examples:
    whole = rows()
    features = whole.features.copy()
    features[row, column] = value
    return Examples(features, whole.labels)


@pytest.mark.parametrize(
    ("options", "channels", "error", "message"),
    [
        ({"mini_batch_size": 206}, [rows()], HyperparameterError, "mini_batch_size is 206, .* 205 rows"),
        ({"feature_dim": 4}, [rows()], HyperparameterError, "feature_dim is 4, .* 3 feature columns"),
        ({}, [rows(), rows(width=4)], DataError, "validation channel: 4 feature columns, but .* 3"),
        ({}, [rows(), rows(), rows(width=2)], DataError, "test channel: 2 feature columns"),
        ({}, [rows(), rows(0)], DataError, "validation channel: no rows"),
        ({}, [rows_with(np.nan)], DataError, "train channel, row 5, feature column 2: nan"),
        ({}, [rows(), rows_with(-np.inf, 204, 2)], DataError, "validation channel, row 205, feature column 3: -inf"),
        (
            {},
            [Examples(rows().features, np.where(np.arange(205) == 9, np.nan, 1).astype(np.float32))],
            DataError,
            "train channel, row 10, label",
        ),
        (BINARY, [rows(kind="multiclass_classifier")], DataError, r"row \d+: label 2; .* 0 or 1"),
        (BINARY, [Examples(rows().features, np.ones(205, np.float32))], DataError, "every label is 1"),
        (
            {"predictor_type": "multiclass_classifier", "num_classes": 3},
            [Examples(rows().features, np.where(np.arange(205) == 2, 0.5, 1).astype(np.float32))],
            DataError,
            "row 3: label 0.5; .* from 0 to 2",
        ),
    ],
    ids=str,
)
def test_invalid_input_is_refused_with_its_position(options, channels, error, message):
    settings = Hyperparameters(**{**SHORT, **options})
    with pytest.raises(error, match=message):
        train(settings, *channels)


def test_large_finite_values_are_accepted():
    whole = rows()
    features = whole.features.copy()
    features[:, 0] = 3e38
    train(Hyperparameters(**SHORT), Examples(features, whole.labels))
