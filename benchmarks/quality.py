"""Compare the models of real tables with scikit-learn's on the same rows: no option but the table and the target.

`python -m benchmarks.quality [NAME ...]`; the exit code is 1 when a model is clearly worse. The tables, with text and
missing cells, ship with packages that `make` installs. Each is prepared by the steps of the flow with their defaults
and trained by the sandbox's engine; the comparison is a ColumnTransformer (medians with indicators, one-hot categories)
with Ridge or LogisticRegression, fitted on the same training rows. The metrics are means over ten splits.
"""

import os
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MAX_RATIO, MAX_DIFFERENCE = 1.05, 0.02
"""Of RMSE and of log loss; of ROC-AUC. A model may be worse than scikit-learn's by as much."""
MAX_CATEGORIES = 50
SEEDS = (42, *range(1, 10))
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
    "birth-weight": RealTable("statsmodels", "treatment/tests/results/cataneo2.csv", "bweight"),
    "smoking": RealTable("statsmodels", "treatment/tests/results/cataneo2.csv", "mbsmoke"),
    "stocks": RealTable("vega_datasets", "_data/stocks.csv", "price", ("date",)),
    "affairs": RealTable("statsmodels", "datasets/fair/fair.csv", "affairs"),
}


METRICS = {"regressor": "rmse", "binary_classifier": "roc_auc", "multiclass_classifier": "log_loss"}


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


def compare(table: RealTable, seeds: Iterable[int], folder: Path) -> Figures:
    """Train on the splits of `seeds`, and return the mean metrics of both models; `folder` is for files."""
    from benchmarks.preparation import prepare_table
    from linear_learner.training.engine import train
    from tasks.data.row_assignment import assign_rows
    from tasks.parameters import Split

    frame = read_frame(table).dropna(subset=[table.target]).reset_index(drop=True)
    frame.to_csv(folder / "t.csv", index=False)
    features, found, kind = prepare(frame, table), [], ""
    labels = features.pop(table.target)
    for seed in seeds:
        split = Split(random_state=seed)
        prepared = prepare_table(f"file://{folder}/t.csv", table.target, split)
        channels, hyperparameters = prepared.write_channels(folder), prepared.checked.hyperparameters
        model, test = train(hyperparameters, channels["train"], channels["validation"]).model, channels["test"]
        kind, rows = hyperparameters.predictor_type, assign_rows(len(frame), split)
        theirs = fit_and_score(kind, features, labels, rows["train"], rows["test"])
        found.append((score(kind, test.labels, model.predict(test.features).scores), theirs))
    return Figures(METRICS[kind], *np.mean(found, axis=0))


def fit_and_score(kind: str, frame: pd.DataFrame, labels: "pd.Series[Any]", train: Any, test: Any) -> float:
    """Return the metric of scikit-learn's model on the test rows."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = Ridge() if kind == "regressor" else LogisticRegression(max_iter=2000)
    pipeline = make_pipeline(encoder(frame.iloc[train]), StandardScaler(), model)
    pipeline.fit(frame.iloc[train], labels.iloc[train])
    features, actual = frame.iloc[test], labels.iloc[test]
    if kind == "regressor":
        return score(kind, actual, pipeline.predict(features))
    probabilities = pipeline.predict_proba(features)
    return score(kind, actual, probabilities[:, 1] if kind == "binary_classifier" else probabilities, pipeline.classes_)


def score(kind: str, actual: Any, predicted: Any, classes: Any = None) -> float:
    """Return the metric that decides; `classes` are those of the columns of probabilities, by default 0, 1, 2, …"""
    from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error

    if kind == "regressor":
        return float(root_mean_squared_error(actual, predicted))
    if kind == "binary_classifier":
        return float(roc_auc_score(actual, predicted))
    return float(log_loss(actual, predicted, labels=range(predicted.shape[1]) if classes is None else classes))


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
    print(f"{'table':<18}{'metric':<9}{'ours':>10}{'sklearn':>10}")
    for name in names or TABLES:
        with TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder
            figures = compare(TABLES[name], SEEDS, Path(folder))
        note = "  worse" if figures.is_worse else ""
        print(f"{name:<18}{figures.metric:<9}{figures.ours:>10.4f}{figures.theirs:>10.4f}{note}", flush=True)
        failed += [name] if figures.is_worse else []
    print(f"{len(failed)} of {len(names or TABLES)} models are worse" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
