import json
import re

import pytest

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS


def test_metric_definitions_equal_those_of_aws(corpus):
    registered = json.loads((corpus / "metric_definitions.json").read_text())
    assert dict(METRIC_DEFINITIONS) == registered


def test_all_37_definitions_capture_one_value():
    assert len(METRIC_DEFINITIONS) == 37
    assert {re.compile(pattern).groups for pattern in METRIC_DEFINITIONS.values()} == {1}


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        ("train:objective_loss", "epoch=3, train mse_objective <loss>=0.25"),
        ("train:objective_loss:final", "train mse_objective <loss>=0.25"),
        ("validation:objective_loss", "epoch=3, validation absolute_loss_objective <loss>=0.25"),
        ("validation:binary_f_beta", "validation binary_f_1.000 <score>=0.25"),
        ("test:multiclass_top_k_accuracy", "test multiclass_top_k_accuracy_3 <score>=0.25"),
        ("test:objective_loss", "test mse_objective <loss>=0.25"),
    ],
)
def test_a_line_is_matched_by_exactly_one_metric(metric, line):
    text = f"[01/01/2024 00:00:00 INFO 1] #quality_metric: host=algo-1, {line}"
    found = {name: match[1] for name, pattern in METRIC_DEFINITIONS.items() if (match := re.search(pattern, text))}
    assert found == {metric: "0.25"}
