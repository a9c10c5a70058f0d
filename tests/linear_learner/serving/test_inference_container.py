"""The container answers encoded rows as the built-in one, and with a schema also rows by column name."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.artifact import write_model
from linear_learner.formats.channels import CSV, RECORDIO
from linear_learner.formats.inference import JSON, JSONLINES, parse_request, render_response
from linear_learner.model import LinearModel
from linear_learner.predictor import Predictor
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from linear_learner.serving.inference_container import Answer, InferenceContainer
from tests.linear_learner.formats.files import records, write_archive
from tests.linear_learner.tables import ROWS, model, random_frame, schema

REGRESSOR, BINARY = model(), model("binary_classifier", "logistic")
MULTICLASS = model("multiclass_classifier", "softmax_loss", 3)
MODELS = [(REGRESSOR, ()), (BINARY, ("stays", "leaves")), (MULTICLASS, ("c", "a", "b"))]
FEATURES = schema().encode_columns(random_frame(20))
NAMES = [*ROWS[0]]
LISTS = FEATURES.tolist()
ENCODED = [
    (CSV, "\n".join(",".join(map(str, row)) for row in LISTS).encode()),
    (JSON, json.dumps({"instances": [{"features": row} for row in LISTS]}).encode()),
    (JSON, json.dumps({"instances": [{"data": {"features": {"values": row}}} for row in LISTS]}).encode()),
    (JSONLINES, "\n".join(json.dumps({"features": row}) for row in LISTS).encode()),
    (RECORDIO, records(FEATURES)),
]


def scores(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    return list(json.loads(answer.body)["predictions"])


def message(answer: Answer, status: int = 400) -> str:
    assert (answer.status, answer.content_type) == (status, JSON), answer
    return str(json.loads(answer.body)["error"])


def write_csv(header: list[str], rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([row.get(name, "x") for name in header] for row in rows)
    return text.getvalue().encode()


@pytest.mark.parametrize(("kind", "body"), ENCODED)
@pytest.mark.parametrize(("trained", "_classes"), MODELS)
@pytest.mark.parametrize("accept", [JSON, JSONLINES, RECORDIO])
def test_encoded_rows_are_answered_as_by_the_built_in_container(
    kind: str, body: bytes, trained: LinearModel, _classes: object, accept: str
) -> None:
    expected = render_response(trained.predict(parse_request(body, kind)), accept)
    assert InferenceContainer(trained).invoke(body, kind, accept) == Answer(200, accept, expected)


@pytest.mark.parametrize(("kind", "body"), ENCODED)
@pytest.mark.parametrize(("trained", "classes"), MODELS)
def test_with_a_schema_encoded_rows_also_have_the_names_of_classes(
    kind: str, body: bytes, trained: LinearModel, classes: tuple[str, ...]
) -> None:
    rows = scores(InferenceContainer(trained, schema(*classes)).invoke(body, kind))
    plain = scores(InferenceContainer(trained).invoke(body, kind))
    assert [{name: value for name, value in row.items() if name != "predicted_class"} for row in rows] == plain
    assert [row.get("predicted_class") for row in rows] == [
        classes[row["predicted_label"]] if classes else None for row in plain
    ]


@pytest.mark.parametrize(("trained", "classes"), MODELS)
def test_rows_by_column_name_are_answered_as_by_the_predictor(trained: LinearModel, classes: tuple[str, ...]) -> None:
    container = InferenceContainer(trained, schema(*classes))
    predictor = Predictor(trained, schema(*classes))
    outputs = [column.tolist() for column in predictor.predict(ROWS).values()]
    others = ["id", *reversed(NAMES)]
    bodies = [
        (JSON, json.dumps({"instances": [{"id": 7, **row} for row in ROWS]}).encode()),
        (JSONLINES, "\n".join(map(json.dumps, ROWS)).encode()),
        (CSV, write_csv(NAMES, ROWS)),
        (CSV, b"\xef\xbb\xbf" + write_csv(others, ROWS)),
        (CSV, write_csv(NAMES, ROWS).partition(b"\n")[2]),
    ]
    for kind, body in bodies:
        rows = scores(container.invoke(body, kind))
        assert [row["score"] for row in rows] == trained.predict(predictor.schema.encode(ROWS)).scores.tolist()
        assert [row.get("predicted_class", row["score"]) for row in rows] == outputs[0]
        assert container.invoke(body, kind, JSONLINES).body.count(b"\n") == len(ROWS)


def test_answers_are_equal_to_the_offline_ones_for_all_rows_of_a_table() -> None:
    frame = random_frame(200)
    body = json.dumps({"instances": json.loads(frame.to_json(orient="records"))}).encode()
    answered = scores(InferenceContainer(REGRESSOR, schema()).invoke(body, JSON))
    expected = Predictor(REGRESSOR, schema()).predict_columns(frame)["prediction"]
    np.testing.assert_array_equal(np.array([row["score"] for row in answered], np.float32), expected)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        *(("", JSON), ("*/*", JSON), ("text/csv", JSON), ("Application/JSON; charset=utf-8", JSON)),
        *((JSONLINES, JSONLINES), (RECORDIO, RECORDIO), ("text/html, application/jsonlines;q=0.5", JSONLINES)),
    ],
)
def test_the_answers_media_type_is_the_first_possible_one(accept: str, kind: str) -> None:
    answer = InferenceContainer(REGRESSOR).invoke(ENCODED[0][1], "text/csv; charset=utf-8", accept)
    assert (answer.status, answer.content_type) == (200, kind)


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        (CSV, "1,2,3", "the rows have 3 features, but the model was trained on 9"),
        (CSV, "1,2\n1,x", "the request, row 2, column 2: found 'x'"),
        (CSV, "", "the request, row 1 is empty"),
        (JSON, "{", "the request is not JSON"),
        (JSON, '{"instances": [1]}', 'row 1: "features": [...] is missing or empty'),
        (JSON, '{"instances": []}', "the request has no rows"),
        (JSONLINES, "[" * 999, "row 1 is not JSON"),
        (RECORDIO, "abcdefgh", "record 1"),
    ],
)
def test_an_invalid_request_is_answered_with_the_row_and_its_problem(kind: str, body: str, problem: str) -> None:
    assert problem in message(InferenceContainer(REGRESSOR).invoke(body.encode(), kind))


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        (CSV, "31,Bonn,2", "row 1 has 3 values, but the model needs 4 columns"),
        (CSV, "31,Bonn,2,2024-01-02\n31,Bonn,many,2024-01-02", "row 2, column 'rooms': 'many' is not a number"),
        (CSV, "Age,city,since\n1,Bonn,2024-01-02", "the header has no columns 'age' (did you mean 'Age'?), 'rooms'"),
        (CSV, "age,city,rooms,since\n1,Ulm", "row 1 has 2 values, but the header has 4 names"),
        (CSV, "age,city,rooms,since\n", "the request has no rows"),
        (CSV, "\n\n", "the request has no rows"),
        (CSV, 'age,city,rooms,since\n1,"Ulm,2', "row 1 is not valid CSV"),
        (JSON, '{"instances": [{"age": 1}]}', "row 1 has no columns 'city', 'rooms', 'since'"),
        (JSON, '{"instances": [{"age": 1}, 2]}', "row 2 is 2, not an object with the names of the columns"),
        (JSONLINES, "{}\n1", "row 2 is 1, not an object"),
        (JSON, '{"instances": [' + "1" * 4500 + "]}", "the request is not JSON"),
        (JSON, '{"instances": [' + "[" * 900 + "]" * 900 + "]}", "row 1 is [[["),
    ],
)
def test_an_invalid_row_by_column_name_is_answered_with_row_and_column(kind: str, body: str, problem: str) -> None:
    assert problem in message(InferenceContainer(REGRESSOR, schema()).invoke(body.encode(), kind))


def test_unknown_media_types_are_refused_with_the_possible_ones() -> None:
    container = InferenceContainer(REGRESSOR)
    assert "'image/png' is unknown; use text/csv, application/json" in message(container.invoke(b"", "image/png"), 415)
    assert "application/json" in message(container.invoke(ENCODED[0][1], CSV, "image/png"), 406)


def test_a_wide_sparse_row_is_refused_before_it_is_expanded() -> None:
    wide = {"data": {"features": {"keys": [0], "shape": [10_000_000], "values": [1]}}}
    body = json.dumps({"instances": [wide] * 10_000}).encode()
    expected = "row 1: its sparse tensor has shape [10000000], but the model was trained on 9 features"
    assert message(InferenceContainer(REGRESSOR).invoke(body, JSON)) == expected


def test_a_prediction_that_is_not_finite_is_refused_with_its_row() -> None:
    rows = [[0.0] * 9, [3e38] * 9]
    body = json.dumps({"instances": [{"features": row} for row in rows]}).encode()
    large = LinearModel("regressor", "squared_loss", np.full((9, 1), 10, np.float32), np.zeros(1, np.float32))
    assert message(InferenceContainer(large).invoke(body, JSON)).startswith("row 2: the prediction is not a finite")


def test_columns_named_like_the_keys_of_encoded_rows_are_columns() -> None:
    columns = (NumberColumn(name="features"), CategoryColumn(name="data", categories=("a", "b"), other=True))
    named = Schema(label=LabelSchema(name="y"), columns=columns)
    weights = np.array([[1], [10], [100], [1000]], np.float32)
    container = InferenceContainer(LinearModel("regressor", "squared_loss", weights, np.zeros(1, np.float32)), named)
    raw, encoded = {"features": 3, "data": "b"}, {"features": [3, 0, 1, 0]}
    for row in (raw, encoded):
        assert scores(container.invoke(json.dumps({"instances": [row]}).encode(), JSON)) == [{"score": 103}]
    assert scores(container.invoke(b"3,b\n4,c", CSV)) == [{"score": 103}, {"score": 1004}]
    assert scores(container.invoke(b"3,0,1,0", CSV)) == [{"score": 103}]


def test_csv_of_numbers_only_may_have_missing_cells() -> None:
    columns = (NumberColumn(name="a", fill=5), NumberColumn(name="b", fill=7))
    weights = np.array([[1], [10]], np.float32)
    trained = LinearModel("regressor", "squared_loss", weights, np.zeros(1, np.float32))
    container = InferenceContainer(trained, Schema(label=LabelSchema(name="y"), columns=columns))
    assert scores(container.invoke(b"1,\n,2", CSV)) == [{"score": 71}, {"score": 25}]


@pytest.mark.parametrize("archive", [True, False])
def test_a_model_is_loaded_with_the_schema_beside_it(tmp_path: Path, archive: bool) -> None:
    if archive:
        write_archive(BINARY, tmp_path / "model.tar.gz")
    else:
        write_model(BINARY, tmp_path)
    body = json.dumps({"instances": [{"features": LISTS[0]}]}).encode()
    assert "predicted_class" not in scores(InferenceContainer.load(tmp_path).invoke(body, JSON))[0]
    (tmp_path / "schema.json").write_text(schema("no", "yes").to_json())
    assert scores(InferenceContainer.load(tmp_path).invoke(body, JSON))[0]["predicted_class"] in {"no", "yes"}
    (tmp_path / "schema.json").write_text(schema("a", "b", "c").to_json())
    with pytest.raises(ArtifactError, match="it belongs to another model"):
        InferenceContainer.load(tmp_path)
    with pytest.raises(ArtifactError, match="does not exist"):
        InferenceContainer.load(tmp_path / "missing")


KINDS = st.sampled_from([CSV, JSON, JSONLINES, RECORDIO, "", "a"])
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just([1]) | st.just({})
INSTANCES = st.lists(st.dictionaries(st.sampled_from([*NAMES, "features", "data"]), CELLS, max_size=6) | CELLS)


@given(st.binary(max_size=80) | INSTANCES.map(lambda rows: json.dumps({"instances": rows}).encode()), KINDS, KINDS)
def test_arbitrary_requests_are_answered_or_refused(body: bytes, content_type: str, accept: str) -> None:
    for container in (InferenceContainer(BINARY), InferenceContainer(BINARY, schema("no", "yes"))):
        answer = container.invoke(body, content_type, accept)
        assert answer.status in {200, 400, 406, 415}, answer.body
        if answer.content_type == JSON:
            json.loads(answer.body, parse_constant=pytest.fail)


NUMBERS = st.sampled_from(["0", "-0", "1.5", "1e3", "1e39", "NaN", "true", "null", '"a"', "[1]"])


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_plain_and_nested_instances_have_the_same_features_and_errors(cells: list[str]) -> None:
    plain = f'{{"features": [{",".join(cells)}]}}'
    results = []
    for instance in (plain, f'{{"data": {plain}}}'):
        try:
            results.append(parse_request(f'{{"instances": [{instance}]}}'.encode(), JSON).tolist())
        except DataError as error:
            results.append([str(error)])
    assert results[0] == results[1]
