"""Tables to train on: three that ship with scikit-learn, and one of employees, generated."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

EMPLOYEES_KEY = "output/transformed_data.csv"
EMPLOYEES_ROWS = 45_000

DEPARTMENTS = {"engineering": 1.25, "finance": 1.15, "marketing": 0.95, "operations": 0.85, "sales": 1.40}
"""Each department's factor on the bonus."""
AGE_GROUPS = {"18_29": 18, "30_39": 30, "40_49": 40, "50_plus": 50}
SALARY_BANDS = {"low": 0, "medium": 45_000, "high": 75_000, "top": 110_000}
"""Lower bound of each group or band, the last one open."""


@dataclass(frozen=True)
class Sample:
    """A table that can be trained on at once: where it comes from, what to predict, and as what."""

    table: Callable[[], "pd.DataFrame"]
    target: str
    predictor_type: str
    num_classes: int | None = None

    def csv(self) -> bytes:
        """The table as a CSV file with a header."""
        return self.table().to_csv(index=False).encode()


def employees(rows: int = EMPLOYEES_ROWS, seed: int = 0) -> "pd.DataFrame":
    """`rows` invented employees, 17 columns; `bonus` depends on salary, tenure, age and department, plus noise.

    The bonus is four per cent of the salary times the department's factor, 1.20 per day of tenure, an extra for those
    of fifty and more, and normal noise of standard deviation 600; roughly nine tenths of its variance is explained.
    """
    import numpy as np  # this module is imported to read names as well
    import pandas as pd

    random = np.random.default_rng(seed)
    age = random.integers(21, 66, rows)
    department = random.choice(list(DEPARTMENTS), rows, p=[0.30, 0.12, 0.13, 0.25, 0.20])
    tenure = (random.beta(1.2, 3.0, rows) * (age - 20) * 365).astype(int)
    salary = np.round(28_000 + 900 * (age - 21) + random.gamma(2.2, 16_000, rows), 2)
    factor = pd.Series(department).map(DEPARTMENTS).to_numpy()
    bonus = 0.04 * salary * factor + 1.2 * tenure + 500 * (age >= 50) + random.normal(0, 600, rows)
    frame = pd.DataFrame({"age": age, "salary": salary, "bonus": np.round(bonus, 2)})
    for name in DEPARTMENTS:
        frame[f"department_{name}"] = (department == name).astype(int)
    for prefix, bounds, values in (("age", AGE_GROUPS, age), ("salary", SALARY_BANDS, salary)):
        group = np.searchsorted(list(bounds.values()), values, side="right") - 1
        for index, name in enumerate(bounds):
            frame[f"{prefix}_{name}"] = (group == index).astype(int)
    frame["tenure_days"] = tenure
    return frame


def _from_scikit_learn(loader: str) -> "pd.DataFrame":
    from sklearn import datasets  # takes a second

    frame: pd.DataFrame = getattr(datasets, loader)(as_frame=True).frame
    return frame.rename(columns=lambda name: name.replace(" ", "_"))


SAMPLES = {
    "employees": Sample(employees, "bonus", "regressor"),
    "diabetes": Sample(partial(_from_scikit_learn, "load_diabetes"), "target", "regressor"),
    "breast_cancer": Sample(partial(_from_scikit_learn, "load_breast_cancer"), "target", "binary_classifier"),
    "digits": Sample(partial(_from_scikit_learn, "load_digits"), "target", "multiclass_classifier", num_classes=10),
}
