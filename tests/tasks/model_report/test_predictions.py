"""The result of a run predicts frames of the table's columns, and becomes a scikit-learn estimator."""

import numpy as np
import pandas as pd
import pytest

from linear_learner.errors import DataError
from linear_learner.model import PredictorType
from tests.tasks.model_report.conftest import NAMES, MakeCase

KINDS: tuple[PredictorType, ...] = ("regressor", "binary_classifier", "multiclass_classifier")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_predicts_a_frame_by_column_name(make_case: MakeCase, kind: PredictorType) -> None:
    case = make_case(kind)
    spread = np.logspace(-1, 4, len(NAMES))
    features = np.random.default_rng(0).normal(0, spread, (20, len(NAMES))).astype(np.float32)
    frame = pd.DataFrame(features, columns=NAMES, index=range(100, 120))
    shuffled = frame[list(reversed(NAMES))].assign(id="x")
    predicted, estimator = case.run.predict(shuffled), case.run.estimator()
    expected = case.model.predict(features)
    assert predicted.index.tolist() == frame.index.tolist()
    if expected.labels is None:
        np.testing.assert_array_equal(predicted["prediction"], expected.scores)
        np.testing.assert_allclose(estimator.predict(shuffled), expected.scores, rtol=1e-4, atol=1e-4)
    else:
        assert predicted["prediction"].tolist() == [str(int(label)) for label in expected.labels]
        assert estimator.predict(shuffled).tolist() == expected.labels.tolist()
    assert estimator.feature_names_in_.tolist() == list(NAMES)


def test_a_missing_column_is_named(make_case: MakeCase) -> None:
    frame = pd.DataFrame(np.ones((2, len(NAMES))), columns=NAMES).rename(columns={"age": "Age"})
    with pytest.raises(DataError, match=r"the table has no column 'age' \(did you mean 'Age'\?\)"):
        make_case().run.predict(frame)
