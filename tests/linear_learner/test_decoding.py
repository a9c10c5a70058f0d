"""Rows that a schema encodes to given features."""

import numpy as np
import pytest

from linear_learner.decoding import decode
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema

pytestmark = pytest.mark.unit

SCHEMA = Schema(
    label=LabelSchema(name="price"),
    columns=(
        NumberColumn(name="area"),
        NumberColumn(name="rooms", fill=3.0, indicator=True),
        CategoryColumn(name="city", categories=("Bonn", "1"), other=True, missing=True),
        CategoryColumn(name="heating", categories=("gas", "oil")),
        DateColumn(name="sold", format=None, parts=("year", "month"), origin=1_600_000_000, fill=0, indicator=True),
        DateColumn(name="built", format="%d.%m.%Y", parts=("year",), origin=0, fill=0),
    ),
)
ROWS = [
    {"area": 81.5, "rooms": 4, "city": "Bonn", "heating": "gas", "sold": "2024-02-29 13:30", "built": "01.03.1999"},
    {"area": "70", "rooms": None, "city": None, "heating": None, "sold": None, "built": "24.12.2001"},
    {"area": -1, "rooms": "2", "city": "Köln", "heating": "oil", "sold": "2024-03-01", "built": "01.01.1970"},
    {"area": 0, "rooms": 0, "city": 1, "heating": "coal", "sold": "2020-01-01", "built": "02.01.1970"},
]


def test_decoded_rows_have_the_same_features() -> None:
    features = SCHEMA.encode(ROWS)
    decoded = decode(SCHEMA, features)
    np.testing.assert_allclose(SCHEMA.encode(decoded), features, rtol=1e-6, atol=0.01)


def test_decoded_cells_are_those_of_the_table() -> None:
    rows = decode(SCHEMA, SCHEMA.encode(ROWS))
    assert rows[0] == ROWS[0] | {"sold": "2024-02-29 13:30:00"}
    assert rows[1] == {
        "area": 70,
        "rooms": None,
        "city": None,
        "heating": None,
        "sold": None,
        "built": "24.12.2001",
    }
    assert [rows[2]["city"], rows[3]["city"]] == ["(other)", "1"]


def test_no_rows_are_decoded_to_no_rows() -> None:
    assert decode(SCHEMA, np.empty((0, len(SCHEMA.features)), np.float32)) == []
