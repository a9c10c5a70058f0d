from typing import Any

import pytest
from numpy.testing import assert_allclose

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.logs.reader import LogReader
from linear_learner.training.models import ModelGrid, make_model_grid

FIXED: dict[str, Any] = {
    "num_models": 2,
    "learning_rate": 0.05,
    "lr_scheduler_step": 7,
    "lr_scheduler_factor": 0.5,
    "lr_scheduler_minimum_lr": 0.01,
}


def test_the_learning_rate_is_multiplied_by_the_factor_down_to_the_minimum():
    rates = make_model_grid(Hyperparameters(**FIXED)).learning_rates(1, 30)
    assert_allclose(rates[[0, 6, 7, 13, 14, 20, 21, 29], 0], [0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.01, 0.01])
    assert_allclose(make_model_grid(Hyperparameters(**FIXED)).learning_rates(8, 23), rates[7:])


def test_the_learning_rate_is_constant_without_the_scheduler():
    grid = make_model_grid(Hyperparameters(learning_rate=0.2, use_lr_scheduler=False, num_models=1))
    assert_allclose(grid.learning_rates(1, 1000), 0.2)
    assert "lr_scheduler_step" not in grid.hyperparameters_of(0)


def test_a_minimum_above_the_learning_rate_leaves_it_unchanged():
    grid = make_model_grid(Hyperparameters(learning_rate=1e-6, num_models=1))
    assert grid.learning_rates(1, 1).max() == pytest.approx(1e-6)


def test_the_grid_equals_the_containers_in_its_order():
    rows = [make_model_grid(Hyperparameters()).hyperparameters_of(model) for model in range(32)]
    steps = [row["lr_scheduler_step"] for row in rows]
    assert steps == [10, 100] * 16
    assert [row["lr_scheduler_minimum_lr"] for row in rows[:4]] == [1e-5, 1e-5, 1e-4, 1e-4]
    assert [row["learning_rate"] for row in rows[:8]] == [0.005] * 4 + [0.1] * 4
    assert [row["wd"] for row in rows[::8]] == [1e-4, 1e-2, 1, 100]
    assert len({tuple(row.items()) for row in rows}) == 32
    assert list(rows[0].items()) == [
        ("optimizer", "adam"),
        ("learning_rate", 0.005),
        ("wd", 1e-4),
        ("l1", 0.0),
        ("lr_scheduler_step", 10),
        ("lr_scheduler_factor", 0.99),
        ("lr_scheduler_minimum_lr", 1e-5),
    ]


def test_fewer_models_are_the_first_of_the_grid_and_more_models_repeat_it():
    full = make_model_grid(Hyperparameters())
    for count in (1, 16, 40):
        some = make_model_grid(Hyperparameters(num_models=count))
        assert some.model_count == count
        assert [some.hyperparameters_of(model) for model in range(count)] == [
            full.hyperparameters_of(model % 32) for model in range(count)
        ]


def test_a_value_that_is_not_in_the_grid_replaces_its_axis():
    grid = make_model_grid(Hyperparameters(wd=0.5, lr_scheduler_step=77))
    assert grid.model_count == 32
    assert {(row["wd"], row["lr_scheduler_step"]) for row in map(grid.hyperparameters_of, range(32))} == {(0.5, 77)}
    assert {row["learning_rate"] for row in map(grid.hyperparameters_of, range(32))} == {0.005, 0.1}


def test_a_value_in_the_grid_does_not_change_it_and_gives_a_warning():
    settings = Hyperparameters(learning_rate=0.1, lr_scheduler_step=100)
    assert rows_of(make_model_grid(settings)) == rows_of(make_model_grid(Hyperparameters()))
    assert [warning.split(":")[0] for warning in settings.warnings()] == [
        "lr_scheduler_step 100 does not exclude other values",
        "learning_rate 0.1 does not exclude other values",
    ]


def test_hyperparameters_outside_the_grid_have_the_given_or_the_default_value():
    grid = make_model_grid(Hyperparameters(l1=0.3, bias_lr_mult=2.0, optimizer="sgd"))
    assert set(grid.optimizers) == {"sgd"}
    assert set(grid.hyperparameters["l1"]) == {0.3}
    assert set(grid.hyperparameters["bias_lr_mult"]) == {2.0}
    assert set(make_model_grid(Hyperparameters()).hyperparameters["bias_lr_mult"]) == {10.0}


def rows_of(grid: ModelGrid) -> list[dict[str, object]]:
    return [grid.hyperparameters_of(model) for model in range(grid.model_count)]


def multiclass(**options: Any) -> ModelGrid:
    return make_model_grid(Hyperparameters(predictor_type="multiclass_classifier", num_classes=3, **options))


def test_a_multiclass_search_has_28_models_and_two_optimizers():
    grid = multiclass()
    assert len({tuple(row.items()) for row in rows_of(grid)}) == 28
    assert set(grid.optimizers) == {"adam", "rmsprop"}
    assert set(grid.hyperparameters["bias_lr_mult"]) == {1.0, 10.0}
    assert rows_of(grid)[0] == {
        "optimizer": "adam",
        "learning_rate": 0.02,
        "wd": 0.02,
        "l1": 0.02,
        "lr_scheduler_step": 10,
        "lr_scheduler_factor": 0.98,
        "lr_scheduler_minimum_lr": 1e-5,
    }


def test_given_values_are_the_centre_of_a_multiclass_search():
    plain, given = multiclass(), multiclass(learning_rate=0.1, l1=0.002)
    for name, factor in (("learning_rate", 5), ("l1", 0.1), ("wd", 1)):
        assert_allclose(given.hyperparameters[name], factor * plain.hyperparameters[name])


def test_other_given_values_apply_to_all_models_of_a_multiclass_search():
    grid = multiclass(optimizer="rmsprop", bias_lr_mult=3.0, lr_scheduler_step=7)
    assert set(grid.optimizers) == {"rmsprop"}
    assert set(grid.hyperparameters["bias_lr_mult"]) == {3.0}
    assert set(grid.hyperparameters["lr_scheduler_step"]) == {7}


def test_the_multiclass_search_equals_the_decoded_one(corpus):
    grid = multiclass()
    table = (corpus / "multiclass_models.tsv").read_text().splitlines()
    names = {"step": "lr_scheduler_step", "factor": "lr_scheduler_factor", "minimum_lr": "lr_scheduler_minimum_lr"}
    _, _, *columns = table[0].split("\t")
    for line in table[1:]:
        model, optimizer, *values = line.split("\t")
        assert grid.optimizers[int(model)] == optimizer
        for column, value in zip(columns, values, strict=True):
            assert grid.hyperparameters[names.get(column, column)][int(model)] == pytest.approx(float(value), rel=1e-14)


def test_the_best_model_of_every_real_log_is_one_of_the_models(corpus):
    found = 0
    for log in sorted(corpus.glob("**/*.log")):
        report = LogReader.read(log.read_text(encoding="utf-8").splitlines())
        given = {
            name: value for name, value in report.configuration.items() if "predictor_type" in report.configuration
        }
        if not given or not report.best_hyperparameters:
            continue
        if given["predictor_type"] != "multiclass_classifier":
            del given["num_classes"]
        given["num_models"] = str(max(len(epoch.train) for epoch in report.epochs))
        rows = rows_of(make_model_grid(Hyperparameters.from_wire(given)))
        assert report.best_hyperparameters in rows, log.name
        assert report.saved_model is None or rows[report.saved_model] == report.best_hyperparameters
        found += 1
    assert found >= 12
