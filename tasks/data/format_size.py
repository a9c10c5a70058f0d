"""Which format of a channel is smallest: estimates from the schema, without a look at the rows."""

from collections.abc import Iterator
from typing import Literal

from linear_learner.formats.recordio_wire import encode_varint
from linear_learner.schema import CategoryColumn, DateColumn, Schema

ChannelEncoding = Literal["csv", "recordio", "sparse recordio"]

_DENSE_BYTES, _SPARSE_BYTES = 46, 60
"""Bytes of a record besides its values and keys: header, names, lengths and label."""
_NUMBER_CHARACTERS = 8  # of a number in a CSV file, with the comma
_PART_CHARACTERS = {"year": 5, "month": 3, "weekday": 2, "hour": 3}


def channel_sizes(schema: Schema, rows: int) -> dict[ChannelEncoding, int]:
    """The approximate size in bytes of `rows` rows in each format."""
    csv = _NUMBER_CHARACTERS + sum(_characters(schema))
    sparse = _SPARSE_BYTES + sum(4 + key for key in _key_bytes(schema))
    dense = _DENSE_BYTES + 4 * len(schema.features)
    return {"csv": rows * csv, "recordio": rows * dense, "sparse recordio": rows * sparse}


def smallest_format(schema: Schema, rows: int) -> ChannelEncoding:
    """The format with the smallest files; CSV, which is the simplest, when the sizes are equal."""
    sizes = channel_sizes(schema, rows)
    return min(sizes, key=lambda name: sizes[name])


def _characters(schema: Schema) -> Iterator[int]:
    for column in schema.columns:
        if isinstance(column, CategoryColumn):
            yield 2 * column.size
            continue
        parts = sum(_PART_CHARACTERS[part] for part in column.parts) if isinstance(column, DateColumn) else 0
        yield parts + _NUMBER_CHARACTERS + 2 * column.indicator


def _key_bytes(schema: Schema) -> Iterator[int]:
    """The bytes of the key of each stored value of a row, if every category is one of those of the schema."""
    start = 0
    for column in schema.columns:
        end = start + len(column.feature_names)
        if isinstance(column, CategoryColumn):
            yield len(encode_varint(max(start, end - 1)))
        else:
            yield from (len(encode_varint(key)) for key in range(start, end))
        start = end
