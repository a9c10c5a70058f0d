"""A Dask cluster prepares the same channels and predicts the same as one machine, and shares only the bucket."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster

from aws.storage import list_objects
from aws.workspace import Workspace, split_uri
from linear_learner.errors import DataError
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from tasks import predict
from tasks.evaluation.champion import Champion, EvaluationRows, score_champion
from tasks.format import Formatted, format_channels
from tasks.load import find, load
from tasks.parameters import Dataset, Prediction, Split
from tasks.predict import PredictedFile
from tasks.split import split_rows
from tasks.upload import Uploaded, upload
from tests.linear_learner.formats.files import write_archive

pytestmark = pytest.mark.e2e

PutObject = Callable[[str, bytes], str]
PARTS = 3


@pytest.fixture(scope="module")
def cluster(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scheduler address of two worker processes with their own disk."""
    del prefect_server
    disk = tmp_path_factory.mktemp("workers")
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        env={"XDG_CACHE_HOME": str(disk)},
        local_directory=str(disk),
    ) as local:
        yield local.scheduler_address


@pytest.fixture
def parts(put_object: PutObject) -> str:
    random = np.random.default_rng(0)
    for number in range(PARTS):
        rows = 200 + number
        frame = pd.DataFrame(
            {"age": random.integers(20, 60, rows), "pay": random.random(rows), "group": random.integers(0, 9, rows)}
        )
        uri = put_object(f"parts/{number}.csv", frame.to_csv(index=False).encode())
    return uri.rsplit("/", 1)[0] + "/"


def prepare_channels(workspace: Workspace, source: str, split: Split) -> tuple[Formatted, Uploaded]:
    """Run every step without the cache, in one flow run."""
    from prefect import flow

    @flow(persist_result=False)
    def prepare() -> tuple[Formatted, Uploaded]:
        from tests.tasks.encodings import encoding_of  # here, as the workers cannot import the tests

        steps = (step.with_options(refresh_cache=True) for step in (load, split_rows, format_channels, upload))
        load_, split_, format_, upload_ = steps
        dataset = Dataset(source=source, target="pay")
        table = load_(workspace, find(workspace, dataset), dataset)
        rows = split_(workspace, table, split)
        formatted = format_(workspace, table, rows, encoding_of(workspace, table, rows), instances=2)
        return formatted, upload_(workspace, formatted)

    return prepare()


def read_objects(workspace: Workspace, folder: str) -> dict[str, bytes]:
    s3, found = workspace.client("s3"), {}
    for one in list_objects(workspace, workspace.uri(folder) + "/"):
        bucket, key = split_uri(one.uri)
        with s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
            found[one.uri.removeprefix(workspace.uri())] = body.read()
    return found


def test_the_channels_equal_those_of_one_machine(workspace: Workspace, cluster: str, parts: str, machine: Path) -> None:
    split = Split(method="group", column="group")  # this method needs all steps
    local = workspace.model_copy(update={"prefix": workspace.prefix + "/local"})
    distributed = workspace.model_copy(update={"prefix": workspace.prefix + "/dask", "dask_scheduler": cluster})
    formatted, uploaded = prepare_channels(distributed, parts, split)
    assert not any(formatted.path(file).exists() for file in formatted.files)
    first, _ = prepare_channels(local, parts, split)
    expected = read_objects(local, "data")
    assert read_objects(distributed, "data") == expected
    assert len(expected) == 4
    assert [file.sha256 for file in formatted.files] == [file.sha256 for file in first.files]
    assert uploaded["train"].rows == sum(content.count(b"\n") for key, content in expected.items() if "/train/" in key)
    assert read_objects(distributed, "work") == {}
    del machine


def test_an_error_on_a_worker_is_raised_by_the_run(workspace: Workspace, cluster: str, put_object: PutObject) -> None:
    put_object("broken/1.csv", b"pay,age\n1,2\n3,4\n")
    uri = put_object("broken/2.csv", b"pay,age\n1,2\n3,4,5\n")
    distributed = workspace.model_copy(update={"dask_scheduler": cluster})
    with pytest.raises(DataError, match=f"{uri}, row 2: 3 values, but the header has 2"):
        prepare_channels(distributed, uri.removesuffix("2.csv"), Split())


def test_the_champions_predictions_equal_those_of_one_machine(
    workspace: Workspace, cluster: str, parts: str, machine: Path
) -> None:
    from prefect import flow

    columns = (CategoryColumn(name="group", categories=("1", "2"), other=True),)
    ours = Schema(label=LabelSchema(name="pay"), columns=())
    theirs = Schema(label=LabelSchema(name="pay"), columns=columns)
    weights, bias = np.array([[1], [2], [3]], np.float32), np.zeros(1, np.float32)
    champion = Champion(LinearModel("regressor", "squared_loss", weights, bias), theirs)
    dataset = Dataset(source=parts, target="pay")

    @flow(persist_result=False)
    def score() -> list[list[float]]:
        table = load(workspace, find(workspace, dataset), dataset)
        test = EvaluationRows(table, split_rows(workspace, table, Split()), ours, np.empty((0, 0), np.float32))
        places = (workspace, workspace.model_copy(update={"dask_scheduler": cluster}))
        found = [score_champion(place, champion, champion.model, test)[0] for place in places]
        return [one.scores.tolist() for one in found if one]

    one, other = score()
    assert one == other
    assert set(one) == {1, 2, 3}
    del machine


def test_the_predictions_of_several_files_equal_those_of_one_machine(
    workspace: Workspace, cluster: str, parts: str, machine: Path
) -> None:
    from prefect import flow

    schema = Schema(label=LabelSchema(name="pay"), columns=(NumberColumn(name="age"),))
    (machine / "model").mkdir()
    weights, bias = np.array([[2]], np.float32), np.ones(1, np.float32)
    write_archive(LinearModel("regressor", "squared_loss", weights, bias), machine / "model" / "model.tar.gz")
    (machine / "model" / "schema.json").write_text(schema.to_json())
    local = workspace.model_copy(update={"prefix": workspace.prefix + "/local"})
    distributed = workspace.model_copy(update={"prefix": workspace.prefix + "/dask", "dask_scheduler": cluster})
    options = Prediction(data=parts, output="out/", model=str(machine / "model"), keep=("group",), evaluate=True)

    @flow(persist_result=False)
    def score(place: Workspace) -> tuple[PredictedFile, ...]:
        found = predict.find(place, options)
        files, statistics = predict.predict(place, found, predict.fetch(place, found, options))
        assert statistics.rows == sum(file.statistics.rows for file in files) == 3 * 200 + 3
        return files

    first, second = score(local), score(distributed)
    assert [file.uri for file in second] == [distributed.uri("out", f"{number}.csv") for number in range(PARTS)]
    assert read_objects(distributed, "out") == read_objects(local, "out")
    assert [(file.sha256, file.statistics) for file in first] == [(file.sha256, file.statistics) for file in second]
    assert not list((machine / "cache" / "work").glob("*")), "files of the cluster on this machine"
    assert all(file.reused for file in score(distributed))
