"""Models of a table with a text, a number with missing cells and a date, and rows of that table."""

from typing import Any

import numpy as np
import pandas as pd

from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema

COLUMNS = (
    NumberColumn(name="age", fill=40.0, indicator=True),
    CategoryColumn(name="city", categories=("Bonn", "Ulm"), other=True, missing=True),
    NumberColumn(name="rooms"),
    DateColumn(name="since", format="%Y-%m-%d", parts=("month",), origin=1_704_067_200, fill=1_704_067_200),
)
ROWS = [
    {"age": 31, "city": "Bonn", "rooms": 2, "since": "2024-01-02"},
    {"age": None, "city": "Paris", "rooms": 5, "since": "2024-03-01"},
    {"age": 55.5, "city": "Ulm", "rooms": 1, "since": "2024-02-10"},
    {"age": 18, "city": None, "rooms": 3, "since": "2024-12-24"},
]


def schema(*classes: str) -> Schema:
    return Schema(label=LabelSchema(name="pay", classes=classes), columns=COLUMNS, missing_values=("NA",))


def model(predictor_type: Any = "regressor", loss: str = "squared_loss", outputs: int = 1) -> LinearModel:
    """A model of which every class is predicted for some rows of `random_frame`."""
    random = np.random.default_rng(outputs)
    spread = np.array([20, 1, 1, 1, 1, 1, 2, 4, 100])
    weights = (random.normal(size=(9, outputs)) / spread[:, None]).astype(np.float32)
    centre = schema().encode_columns(random_frame()).mean(axis=0)
    threshold = 0.7 if predictor_type == "binary_classifier" else 0.5
    return LinearModel(predictor_type, loss, weights, (-centre @ weights).astype(np.float32), threshold)


def random_frame(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(5)
    days = np.datetime64("2024-01-01") + random.integers(0, 400, rows)
    return pd.DataFrame(
        {
            "age": np.where(random.random(rows) < 0.1, np.nan, random.integers(18, 80, rows)),
            "city": random.choice(["Bonn", "Ulm", "Paris"], rows),
            "rooms": random.integers(1, 9, rows).astype(float),
            "since": days.astype(str),
        }
    )
