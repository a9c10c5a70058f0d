"""Compare the models of real tables with scikit-learn's on the same rows: no option but the table and the target.

`python -m benchmarks.quality [NAME ...]`; the exit code is 1 when a model is clearly worse. The tables, with text and
missing cells, ship with other packages: `pip install palmerpenguins vega-datasets statsmodels`. Each is trained by
`python -m flows.train --csv FILE --target COLUMN`; the comparison is a ColumnTransformer (medians with indicators,
one-hot categories) with Ridge or LogisticRegression, fitted on the same training rows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MAX_RATIO, MAX_DIFFERENCE = 1.05, 0.02
"""Of RMSE and of log loss; of ROC-AUC. A model may be worse than scikit-learn's by as much."""
MAX_CATEGORIES = 50
SEEDS = (42, 1, 2)
"""Of the splits whose metrics are averaged: a test set of 24 rows says little about a model. 42 is the default."""


class RealTable(NamedTuple):
    """A table as it is published, and the column to predict."""

    package: str
    path: str
    target: str
    dates: tuple[str, ...] = ()


TABLES = {
    "penguins": RealTable("palmerpenguins", "data/penguins.csv", "species"),
    "penguins-raw": RealTable("palmerpenguins", "data/penguins-raw.csv", "Body Mass (g)", ("Date Egg",)),
    "cars": RealTable("vega_datasets", "_data/cars.json", "Horsepower", ("Year",)),
    "seattle-weather": RealTable("vega_datasets", "_data/seattle-weather.csv", "temp_max", ("date",)),
    "weather-type": RealTable("vega_datasets", "_data/seattle-weather.csv", "weather", ("date",)),
    "barley": RealTable("vega_datasets", "_data/barley.json", "yield"),
    "la-riots": RealTable("vega_datasets", "_data/la-riots.csv", "age", ("death_date",)),
    "autos": RealTable("statsmodels", "gam/tests/results/autos.csv", "price"),
    "low-birth-weight": RealTable("statsmodels", "genmod/tests/results/stata_lbw_glm.csv", "low"),
    "epilepsy": RealTable("statsmodels", "genmod/tests/results/epil.csv", "y"),
    "framing": RealTable("statsmodels", "stats/tests/results/framing.csv", "cong_mesg"),
    "affairs": RealTable("statsmodels", "datasets/fair/fair.csv", "affairs"),
}


class Figures(NamedTuple):
    """The gate metric of one table: this project's and scikit-learn's."""

    metric: str
    ours: float
    theirs: float

    @property
    def is_worse(self) -> bool:
        if self.metric == "roc_auc":
            return self.ours < self.theirs - MAX_DIFFERENCE
        return self.ours > self.theirs * MAX_RATIO


def read_frame(table: RealTable) -> pd.DataFrame:
    specification = find_spec(table.package)
    if specification is None or specification.origin is None:
        raise SystemExit(f"The package {table.package} is not installed: pip install {table.package}")
    path = Path(specification.origin).parent / table.path
    return pd.read_json(path) if path.suffix == ".json" else pd.read_csv(path)


def train(path: Path, target: str, home: Path, seed: int) -> dict[str, Any]:
    """Train as a user does; returns the content of run.json."""
    command = [sys.executable, "-m", "flows.train", "--csv", str(path), "--target", target, "--model_dir", str(home)]
    command += ["--split.random_state", str(seed)]
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    newest = max(home.rglob("run.json"), key=lambda file: file.stat().st_mtime)
    record: dict[str, Any] = json.loads(newest.read_text())
    return record


def compare(frame: pd.DataFrame, table: RealTable, record: dict[str, Any], seed: int) -> Figures:
    from linear_learner.hyperparameters import Hyperparameters
    from tasks.data.row_assignment import assign_rows
    from tasks.parameters import Split

    kind = Hyperparameters.from_wire(record["request"]["HyperParameters"]).predictor_type
    metric = {"regressor": "rmse", "binary_classifier": "roc_auc", "multiclass_classifier": "log_loss"}[kind]
    rows = assign_rows(len(frame), Split(random_state=seed))
    labels = frame.pop(table.target)
    theirs = fit_and_score(kind, frame, labels, rows["train"], rows["test"])
    return Figures(metric, record["metrics"]["test"][metric]["value"], theirs)


def fit_and_score(kind: str, frame: pd.DataFrame, labels: "pd.Series[Any]", train: Any, test: Any) -> float:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = Ridge() if kind == "regressor" else LogisticRegression(max_iter=2000)
    pipeline = make_pipeline(encoder(frame.iloc[train]), StandardScaler(), model)
    pipeline.fit(frame.iloc[train], labels.iloc[train])
    features, actual = frame.iloc[test], labels.iloc[test]
    if kind == "regressor":
        return float(root_mean_squared_error(actual, pipeline.predict(features)))
    probabilities = pipeline.predict_proba(features)
    if kind == "binary_classifier":
        return float(roc_auc_score(actual, probabilities[:, 1]))
    return float(log_loss(actual, probabilities, labels=pipeline.classes_))


def encoder(frame: pd.DataFrame) -> Any:
    """Medians and indicators for numbers, one-hot categories for texts; texts that almost all differ are left out."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()]
    texts = [name for name in frame if name not in numbers and frame[name].nunique() <= 0.9 * frame[name].count()]
    one_hot = OneHotEncoder(
        max_categories=MAX_CATEGORIES + 1, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    filled: Callable[..., Any] = SimpleImputer
    return ColumnTransformer(
        [
            ("numbers", filled(strategy="median", add_indicator=True), numbers),
            ("texts", make_pipeline(filled(strategy="constant", fill_value="(missing)"), one_hot), texts),
        ]
    )


def prepare(frame: pd.DataFrame, table: RealTable) -> pd.DataFrame:
    """The frame for scikit-learn: without unlabelled rows, dates as numbers."""
    frame = frame.copy()
    for name in table.dates:
        moments = pd.to_datetime(frame.pop(name))
        frame[f"{name} year"], frame[f"{name} month"] = moments.dt.year, moments.dt.month
        frame[f"{name} weekday"], frame[f"{name} days"] = moments.dt.day_of_week, (moments - moments.min()).dt.days
    for name in map(str, frame.select_dtypes(exclude="number")):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), np.nan)
    return frame.loc[:, ~frame.columns.str.startswith("Unnamed")]


def main(names: list[str]) -> int:
    failed = []
    print(f"{'table':<18}{'rows':>7}  {'metric':<9}{'ours':>10}{'sklearn':>10}")
    with TemporaryDirectory() as home:
        for name in names or TABLES:
            table = TABLES[name]
            frame = read_frame(table).dropna(subset=[table.target]).reset_index(drop=True)
            path = Path(home, f"{name}.csv")
            frame.to_csv(path, index=False)
            found = [
                compare(prepare(frame, table), table, train(path, table.target, Path(home), seed), seed)
                for seed in SEEDS
            ]
            figures = Figures(found[0].metric, *np.mean([one[1:] for one in found], axis=0))
            note = "  worse" if figures.is_worse else ""
            print(
                f"{name:<18}{len(frame):>7}  {figures.metric:<9}{figures.ours:>10.4f}{figures.theirs:>10.4f}{note}",
                flush=True,
            )
            failed += [name] if figures.is_worse else []
    print(f"{len(failed)} of {len(names or TABLES)} models are worse" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
