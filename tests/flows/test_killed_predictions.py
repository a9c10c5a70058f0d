"""A run of predictions that is killed at any moment and repeated has complete output and leaves nothing else."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aws.storage import list_objects
from aws.workspace import Workspace, split_uri
from flows.predict import predict_batch
from linear_learner.model import LinearModel
from linear_learner.schema import LabelSchema, NumberColumn, Schema
from sandbox.client import call_counts
from tasks.parameters import Prediction
from tests.linear_learner.formats.files import write_archive

pytestmark = pytest.mark.e2e

FILES, ROWS = 2, 300_000
RUN = """
import sys
from flows.predict import predict_batch
from tasks.parameters import Prediction

predict_batch(Prediction.model_validate_json(sys.argv[1]), "flows")
"""
MOMENTS = [random.Random(third).uniform(third / 3, (third + 1) / 3) for third in range(3)]  # noqa: S311
"""When a run is killed: the share of its output that it has written."""


@pytest.fixture
def options(machine: Path) -> Prediction:
    """Two files of rows, and a binary classifier; the predictions of one file are larger than a part of an upload."""
    features = ("x0", "x1")
    schema = Schema(
        label=LabelSchema(name="y", classes=("no", "yes")), columns=tuple(NumberColumn(name=name) for name in features)
    )
    weights, bias = np.array([[1], [-2]], np.float32), np.ones(1, np.float32)
    (machine / "model").mkdir()
    write_archive(LinearModel("binary_classifier", "logistic", weights, bias), machine / "model" / "model.tar.gz")
    (machine / "model" / "schema.json").write_text(schema.to_json())
    (machine / "rows").mkdir()
    for number in range(FILES):
        values = np.random.default_rng(number).normal(size=(len(features), ROWS)).round(4)
        frame = pl.DataFrame({"id": range(ROWS), **dict(zip(features, values, strict=True))})
        frame.write_csv(machine / "rows" / f"{number}.csv")
    return Prediction(
        data=f"file://{machine}/rows/", output=f"file://{machine}/out/", model=str(machine / "model"), keep=("id",)
    )


@contextmanager
def start(options: Prediction, api_url: str, machine: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the flow in another process, with the same caches as this one; kill it and its children at the end."""
    (machine / "tmp").mkdir(exist_ok=True)
    line = [sys.executable, "-c", RUN, options.model_dump_json()]
    variables = {"PREFECT_API_URL": api_url, "TMPDIR": str(machine / "tmp"), "HOME": str(machine)}
    with subprocess.Popen(line, env={**os.environ, **variables}, start_new_session=True) as process:
        yield process
        assert process.poll() is None, "the run ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)


def files_below(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*")}


def written_bytes(folder: Path) -> int:
    """The size of all files in a folder, in which another process renames and removes some."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(parent, name).stat().st_size
    return size


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_killed_run_is_completed_by_the_next_one_and_leaves_nothing(
    workspace: Workspace, options: Prediction, api_url: str, machine: Path, ending: str
) -> None:
    """Each kill is followed by the next run; the last one completes."""
    if ending == ".parquet":
        for path in (machine / "rows").iterdir():
            pl.read_csv(path).write_parquet(path.with_suffix(ending))
            path.unlink()
    predict_batch(options, "flows")
    out, cache = machine / "out", machine / "cache"
    complete = {name: path.read_bytes() for name, path in files_below(out).items()}
    assert sorted(complete) == [f"{number}{ending}" for number in range(FILES)]
    remaining = sorted(files_below(cache))
    options = options.model_copy(update={"refresh": True})
    for moment in MOMENTS[::2] if ending == ".csv" else MOMENTS[1:2]:
        for name in complete:
            (out / name).unlink(missing_ok=True)
        with start(options, api_url, machine) as run:
            while run.poll() is None and written_bytes(out) < moment * sum(map(len, complete.values())):
                pass
    others = options.model_copy(
        update={"data": f"file://{machine}/model/few.csv", "output": f"file://{machine}/few.csv"}
    )
    (machine / "model" / "few.csv").write_text("id,x0,x1\n1,0.5,0.5\n")
    predict_batch(others, "flows")
    assert not any(path.name.startswith(".") for path in out.iterdir())
    predict_batch(options, "flows")
    assert {name: path.read_bytes() for name, path in files_below(out).items()} == complete
    assert sorted(files_below(cache)) == remaining
    assert not list((machine / "tmp").iterdir())
    del workspace


def test_a_run_killed_while_it_uploads_is_completed_by_the_next_one_and_leaves_no_incomplete_upload(
    workspace: Workspace,
    options: Prediction,
    api_url: str,
    machine: Path,
    sandbox_url: str,
    inject: Callable[..., None],
) -> None:
    actions = ("s3:PutObject", "s3:UploadPart")
    for action in actions:
        inject(kind="slow-answer", action=action.removeprefix("s3:"), seconds=5)
    output = workspace.uri("killed") + "/"
    options, before = options.model_copy(update={"output": output}), call_counts(sandbox_url)
    with start(options, api_url, machine) as run:
        while run.poll() is None and all(call_counts(sandbox_url).get(one) == before.get(one) for one in actions):
            pass
    found = predict_batch(options, "flows")
    assert [file.uri for file in found.files] == [f"{output}{number}.csv" for number in range(FILES)]
    objects = {one.uri: one.size for one in list_objects(workspace, output)}
    assert objects == {file.uri: file.size for file in found.files}
    assert all(file.statistics.rows == ROWS for file in found.files)
    assert min(objects.values()) > 8 << 20, "smaller than a part of an upload"
    bucket, key = split_uri(output)
    assert not workspace.client("s3").list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads")
    assert not list((machine / "cache" / "work").glob("*"))
