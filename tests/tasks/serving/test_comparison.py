"""Comparison of the answers of two models, and the requests made of test rows."""

import json
from typing import Any

import numpy as np
import pytest

from linear_learner.errors import DataError
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from linear_learner.serving.inference_container import Answer, InferenceContainer
from tasks.serving.comparison import are_equal, compare
from tasks.serving.requests import Request, Row, make_request, make_rows
from tasks.serving.served_model import LocalContainer

pytestmark = pytest.mark.unit

NUMBERS = Schema(label=LabelSchema(name="y"), columns=(NumberColumn(name="a"), NumberColumn(name="b")))
NAMED = Schema(
    label=LabelSchema(name="y"),
    columns=(NumberColumn(name="b"), CategoryColumn(name="city", categories=("Bonn", "Ulm"), other=True)),
)


def regressor(*weights: float, bias: float = 0.0) -> LinearModel:
    return LinearModel(
        "regressor", "squared_loss", np.array(weights, np.float32)[:, None], np.array([bias], np.float32)
    )


def classifier(*weights: float) -> LinearModel:
    return LinearModel("binary_classifier", "logistic", np.array(weights, np.float32)[:, None], np.zeros(1, np.float32))


def by_position(model: LinearModel, schema: Schema | None = NUMBERS) -> LocalContainer:
    return LocalContainer(InferenceContainer(model), schema, by_name=False)


def request(*rows: tuple[float, ...]) -> Request:
    return Request(json.dumps({"instances": [{"features": list(row)} for row in rows]}).encode(), "application/json")


def answer(document: Any, status: int = 200) -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode())


def compare_models(before: LinearModel, after: LinearModel, *rows: tuple[float, ...]) -> Any:
    both = request(*rows)
    return compare("the rows", [(both, both)], by_position(before), by_position(after))


def test_equal_models_change_nothing() -> None:
    found = compare_models(regressor(1, 2), regressor(1, 2), (1, 2), (3, 4))
    assert (found.rows, found.changed, found.share, found.mean_shift, found.largest) == (2, 0, 0, 0, ())


def test_a_number_that_moves_by_a_tenth_of_the_deviation_is_another_decision() -> None:
    # The present predictions are 0, 10 and 20, with a standard deviation of 8.2.
    rows = ((0.0, 0.0), (10.0, 0.0), (20.0, 0.0))
    assert compare_models(regressor(1, 0), regressor(1, 0, bias=0.8), *rows).changed == 0
    found = compare_models(regressor(1, 0), regressor(1, 0, bias=0.9), *rows)
    assert found.share == 1
    assert found.mean_shift == pytest.approx(0.9)
    assert [one.row for one in found.largest] == [2, 3, 1] or len(found.largest) == 3


def test_another_class_is_another_decision() -> None:
    found = compare_models(classifier(1, 0), classifier(0, 1), (1, 1), (1, -1), (-1, 1), (-2, -1))
    assert (found.changed, found.share) == (2, 0.5)
    assert {one.row for one in found.largest} >= {2, 3}
    assert found.largest[0].before.startswith("class ")


def test_a_model_that_does_not_answer_changes_every_decision() -> None:
    found = compare_models(regressor(1, 2), regressor(1, 2, 3), (1, 2), (3, 4))
    assert (found.rows, found.unanswered, found.share) == (2, 2, 1)
    assert "2 rows not answered" in str(found)


def test_models_of_another_type_are_not_compared() -> None:
    two = np.zeros((2, 3), np.float32)
    several = LinearModel("multiclass_classifier", "softmax_loss", two, np.zeros(3, np.float32))
    assert "another number of classes" in compare_models(regressor(1, 2), several, (1, 2)).objection


def test_requests_that_the_present_model_does_not_answer_are_left_out() -> None:
    wrong, right = request((1, 2, 3)), request((1, 2))
    pairs = [(wrong, wrong), (right, right)]
    assert compare("requests", pairs, by_position(regressor(1, 2)), by_position(regressor(1, 2))).rows == 1
    found = compare("requests", pairs[:1], by_position(regressor(1, 2)), by_position(regressor(1, 2)))
    assert "answers none of requests" in found.objection


def test_each_container_gets_rows_in_its_own_form() -> None:
    features = NAMED.encode([{"b": 1.5, "city": "Ulm"}, {"b": 2, "city": "Rom"}])
    rows = make_rows(features, NAMED)
    named = LocalContainer(InferenceContainer(regressor(1, 2, 3, 4), NAMED), NAMED, by_name=True)
    assert json.loads(make_request(rows, named).body)["instances"][0] == {"b": 1.5, "city": "Ulm"}
    only_b = Schema(label=LabelSchema(name="y"), columns=(NumberColumn(name="b"),))
    assert json.loads(make_request(rows, by_position(regressor(1), only_b)).body)["instances"] == [
        {"features": [1.5]},
        {"features": [2.0]},
    ]
    with pytest.raises(DataError, match="'a'"):
        make_request(rows, by_position(regressor(1, 2)))
    assert make_request([Row([1.0], None)], by_position(regressor(1), None)) == request((1.0,))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (answer({"predictions": [{"score": 1.0}]}), answer({"predictions": [{"score": 1.000009}]}), True),
        (answer({"predictions": [{"score": 1.0}]}), answer({"predictions": [{"score": 1.00002}]}), False),
        (answer({"predictions": [{"score": 1.0}]}), answer({"predictions": [{"score": 1.0}] * 2}), False),
        (
            answer({"predictions": [{"score": 0.5, "predicted_label": 1}]}),
            answer({"predictions": [{"score": 0.5, "predicted_label": 0}]}),
            False,
        ),
        (answer({"predictions": [{"score": [0.5, 0.5]}]}), answer({"predictions": [{"score": [0.5, 0.6]}]}), False),
        (answer({"predictions": [{"score": 1.0}]}), answer({"other": 1}), False),
        (answer({"predictions": [{"score": 1.0}]}), answer({}, 500), False),
        (answer({}, 400), answer({"message": "text"}, 400), True),
        (answer({}, 400), answer({}, 500), False),
    ],
)
def test_answers_are_equal_within_the_tolerance(one: Answer, other: Answer, equal: bool) -> None:
    assert are_equal(one, other) is equal
