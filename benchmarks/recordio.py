"""Measure the speed of writing and reading RecordIO-protobuf and of reading CSV, and compare with a row-wise writer.

    python benchmarks/recordio.py [rows] [features]

The row-wise writer builds the message of each record field by field, like `write_numpy_to_dense_tensor` of the
SageMaker SDK v2; both writers must give the same bytes. Times are processor times, the fastest of three runs.
"""

import io
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_learner.formats.channels import CSV, RECORDIO, read_channel
from linear_learner.formats.recordio import read_records, write_columns
from linear_learner.formats.recordio_wire import MAGIC, encode_varint


def write_row_by_row(stream: io.BytesIO, features: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
    for row, label in zip(features, labels, strict=True):
        message = entry(1, struct.pack(f"<{len(row)}f", *row)) + entry(2, struct.pack("<f", label))
        stream.write(struct.pack("<II", MAGIC, len(message)))
        stream.write(message)
        stream.write(b"\0" * (-len(message) % 4))


def entry(number: int, floats: bytes) -> bytes:
    tensor = field(1, floats)
    return field(number, field(1, b"values") + field(2, field(2, tensor)))


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encode_varint(len(content)) + content


def seconds(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def main(rows: int = 500_000, features: int = 16) -> None:
    table = np.random.default_rng(0).normal(size=(rows, features)).astype(np.float32)
    labels = (table[:, 0] > 0).astype(np.float32)
    few = max(1, rows // 20)
    written, expected = io.BytesIO(), io.BytesIO()
    write_columns(written, labels[:few], list(table[:few].T))
    write_row_by_row(expected, table[:few], labels[:few])
    assert written.getvalue() == expected.getvalue(), "the two writers give different bytes"

    fast = rows / seconds(lambda: write_columns(io.BytesIO(), labels, list(table.T)))
    slow = few / seconds(lambda: write_row_by_row(io.BytesIO(), table[:few], labels[:few]))
    print(f"{rows} rows of {features} features; rows per second")
    print(f"write RecordIO       {fast:>12,.0f}   {fast / slow:,.0f} x row by row ({slow:,.0f})")
    buffer = io.BytesIO()
    write_columns(buffer, labels, list(table.T))
    records = buffer.getvalue()
    read = rows / seconds(lambda: read_records(records))
    print(f"read RecordIO        {read:>12,.0f}   {len(records) / rows * read / 1e6:,.0f} MB/s")
    with tempfile.TemporaryDirectory() as folder:
        report_channels(Path(folder), table, labels, records)


def report_channels(folder: Path, table: NDArray[np.float32], labels: NDArray[np.float32], records: bytes) -> None:
    for name in ("csv", "recordio"):
        (folder / name).mkdir()
    (folder / "recordio" / "part").write_bytes(records)
    lines = np.column_stack([labels, np.round(table, 4)]).astype(str)
    text = "\n".join(map(",".join, lines.tolist())).encode()
    (folder / "csv" / "part").write_bytes(text)
    for name, kind, size in [("csv", CSV, len(text)), ("recordio", RECORDIO, len(records))]:
        speed = len(table) / seconds(lambda: read_channel(folder / name, kind, folder / "spool"))  # noqa: B023
        print(f"read channel {name:<8}{speed:>12,.0f}   {size / len(table) * speed / 1e6:,.0f} MB/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
