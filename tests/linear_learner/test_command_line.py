import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from linear_learner.__main__ import main
from linear_learner.formats.artifact import write_model
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from tests.linear_learner.formats.files import records, write_archive

REGRESSOR = LinearModel("regressor", "squared_loss", np.array([[0.5], [-2.0]], np.float32), np.array([1.0], np.float32))
BINARY = LinearModel(
    "binary_classifier", "logistic", np.array([[1.0]], np.float32), np.array([0.0], np.float32), threshold=0.75
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tar.gz"
    write_archive(REGRESSOR, path)
    return str(path)


@pytest.fixture
def table_model(tmp_path):
    """A model with a schema.json beside it: years + 10 if the city is Ulm."""
    weights = np.array([[1.0], [0.0], [10.0]], np.float32)
    write_archive(LinearModel("regressor", "squared_loss", weights, np.zeros(1, np.float32)), tmp_path / "model.tar.gz")
    columns = (NumberColumn(name="years"), CategoryColumn(name="city", categories=("Bonn", "Ulm")))
    (tmp_path / "schema.json").write_text(Schema(label=LabelSchema(name="pay"), columns=columns).to_json())
    return str(tmp_path / "model.tar.gz")


@pytest.fixture
def stdin(monkeypatch):
    def feed(body: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))

    return feed


def responses(capsys: pytest.CaptureFixture[str]) -> list[dict[str, float]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "body",
    [
        b"2,1\n4,0\n",
        b'{"features": [2, 1]}\n{"features": [4, 0]}\n',
        b'{"instances": [{"features": [2, 1]}, {"features": [4, 0]}]}',
        b'\n { "instances" : [{"features": [2, 1]}, {"features": [4, 0]}]}',
    ],
)
def test_rows_in_any_format_are_scored_as_json_lines(model, stdin, capsys, body):
    stdin(body)
    assert main(["predict", model]) == 0
    assert responses(capsys) == [{"score": 0.0}, {"score": 3.0}]


def test_records_in_a_file_are_scored(model, tmp_path, capsys):
    file = tmp_path / "rows"
    file.write_bytes(records(np.array([[2, 1], [4, 0]]), np.zeros(2)))
    assert main(["predict", model, str(file)]) == 0
    assert responses(capsys) == [{"score": 0.0}, {"score": 3.0}]


def test_a_classifier_predicts_labels_with_its_threshold(tmp_path, stdin, capsys):
    model = write_model(BINARY, tmp_path)
    stdin(b"0\n3\n")
    assert main(["predict", str(model)]) == 0
    assert [response["predicted_label"] for response in responses(capsys)] == [0, 1]


@pytest.mark.parametrize(
    "body",
    [
        b"city,id,years\nUlm,a,1\nBonn,b,2.5\n",
        b'\xef\xbb\xbfyears , city\r\n1,Ulm\r\n\r\n 2.5 ,"Bonn"\r\n',
        b'{"city": "Ulm", "years": 1}\n\n{"years": "2.5", "city": "Bonn", "id": []}\n',
        b'{"instances": [{"city": "Ulm", "years": 1}, {"city": "Bonn", "years": 2.5}]}',
        b'\n{\n  "instances": [\n{"city": "Ulm", "years": 1}, {"city": "Bonn", "years": 2.5}]}',
    ],
)
def test_rows_are_predicted_by_column_name_with_the_schema_beside_the_model(table_model, stdin, capsys, body):
    stdin(body)
    assert main(["predict", table_model]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == [{"prediction": 11.0}, {"prediction": 2.5}]
    assert captured.err == ""


def test_a_classifiers_lines_have_the_class_and_the_probability_of_each(tmp_path, capsys):
    write_archive(BINARY, tmp_path / "model.tar.gz")
    label = LabelSchema(name="left", classes=("stays", "leaves"))
    (tmp_path / "schema.json").write_text(Schema(label=label, columns=(NumberColumn(name="age"),)).to_json())
    rows = tmp_path / "rows.csv"
    rows.write_text("age\n0\n3\n")
    assert main(["predict", str(tmp_path), str(rows)]) == 0
    first, second = responses(capsys)
    assert first == {"prediction": "stays", "probability.stays": 0.5, "probability.leaves": 0.5}
    assert second["prediction"] == "leaves"
    assert list(first) == list(second)


def test_features_are_scored_by_position_on_request(table_model, stdin, capsys):
    stdin(b"1,0,1\n2.5,1,0\n")
    assert main(["predict", "--by-position", table_model]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == [{"score": 11.0}, {"score": 2.5}]
    assert captured.err == "The rows are read by position, as requested: features in the order of training.\n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"1,Ulm\n2,Bonn\n", "the first line, '1,Ulm', has none of the model's columns, such as 'years': put a line"),
        (b"Years,town\n1,Ulm\n", "the header has no columns 'years' (did you mean 'Years'?), 'city', which"),
        (b"years,city,city\n1,Ulm,Ulm\n", "the header has the column 'city' 2 times; rename the others"),
        (b"years,city\n1,Ulm\n2\n", "row 2 has 1 values, but the header has 2 names"),
        (b"years,city\n1,Ulm\nmany,Ulm\n", "row 2, column 'years': 'many' is not a number"),
        (b"years,city\n\n,Ulm\n", "row 1, column 'years': the cell is missing"),
        (b'years,city\n1,"Ulm\n', "row 1 is not valid CSV: unexpected end of data; check its quotes"),
        (b'years,"city\n1,Ulm\n', "the header is not valid CSV: unexpected end of data"),
        ("years,city\n1,Köln\n".encode("latin-1"), "line 2 is not text in UTF-8; save the file in UTF-8"),
        (b"years,city\n" + b"1,Ulm\n" * 5000 + b"x,Ulm\n", "row 5001, column 'years'"),
        (b"", "the input is empty"),
        (b'{"years": 1, "City": "Ulm"}\n', "row 1 has no column 'city' (did you mean 'City'?), which"),
        (b'{"years": 1, "city": "Ulm"}\n[1, 2]\n', "row 2 is [1, 2], not an object with the names of the columns"),
        (b'{"years": 1, "city": "Ulm"}\n{"years": \n', "row 2 is not JSON"),
        (
            b'{"instances": [{"features": [1, 0, 1]}]}',
            "row 1 has no columns 'years' (did you mean 'features'?), 'city'",
        ),
        (b'{"instances": 3}', 'the input is not {"instances": [{'),
        (records(np.ones((1, 3)), np.zeros(1)), "RecordIO has no names of columns"),
    ],
)
def test_rows_that_do_not_fit_the_schema_are_refused_in_one_sentence(table_model, stdin, capsys, body, problem):
    stdin(body)
    assert main(["predict", table_model]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_a_schema_of_another_model_is_refused(model, tmp_path, stdin, capsys):
    schema = Schema(label=LabelSchema(name="pay"), columns=(NumberColumn(name="a"),))
    (tmp_path / "schema.json").write_text(schema.to_json())
    stdin(b"a\n1\n")
    assert main(["predict", model]) == 2
    assert_one_sentence(capsys, "it belongs to another model")


def test_a_model_is_described_with_its_largest_coefficients_first(model, capsys):
    assert main(["inspect", model]) == 0
    out = capsys.readouterr().out
    assert "regressor" in out
    assert out.index("feature_1") < out.index("feature_0")


def test_a_model_is_described_as_json(model, capsys):
    assert main(["inspect", "--json", model]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["predictor_type"] == "regressor"
    assert (described["features"], described["outputs"], described["bias"]) == (2, 1, [1.0])
    assert list(described["coefficients"].items()) == [("feature_1", -2.0), ("feature_0", 0.5)]


def test_coefficients_have_the_names_in_run_json_beside_the_model(model, tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "features": ["age", "größe, m²"]}), encoding="utf-8")
    assert main(["inspect", "--json", model]) == 0
    assert list(json.loads(capsys.readouterr().out)["coefficients"].items()) == [("größe, m²", -2.0), ("age", 0.5)]
    assert main(["inspect", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["größe,", "age"]
    assert any(line.split() == ["threshold", "0.5"] for line in lines)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[1]",
        b'{"format": 1}',
        b'{"features": "ab"}',
        b'{"features": ["age"]}',
        b'{"features": ["age", 3]}',
        b'{"features": ["age", "age"]}',
        b'{"features": ["age", ["pay"]]}',
        b'{"features": ["age", "pay", "area"]}',
    ],
)
def test_an_invalid_run_json_is_ignored(model, tmp_path, capsys, record):
    (tmp_path / "run.json").write_bytes(record)
    assert main(["inspect", "--json", model]) == 0
    assert list(json.loads(capsys.readouterr().out)["coefficients"]) == ["feature_1", "feature_0"]


def test_the_features_of_an_encoded_column_are_together(model, tmp_path, capsys):
    city = CategoryColumn(name="city", categories=("Bonn", "Ulm"))
    schema = Schema(label=LabelSchema(name="pay"), columns=(city,))
    (tmp_path / "schema.json").write_text(schema.to_json(), encoding="utf-8")
    assert main(["inspect", "--json", model]) == 0
    coefficients = json.loads(capsys.readouterr().out)["coefficients"]
    assert coefficients == {"city": {"city=Ulm": -2.0, "city=Bonn": 0.5}}
    assert main(["inspect", model]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[-3:]] == [
        ["city"],
        ["city=Ulm", "-2"],
        ["city=Bonn", "0.5"],
    ]


@pytest.mark.parametrize("columns", [(), (NumberColumn(name="a"),)])
def test_a_schema_that_does_not_match_the_model_is_ignored(model, tmp_path, capsys, columns):
    schema = Schema(label=LabelSchema(name="pay"), columns=columns)
    (tmp_path / "schema.json").write_text(schema.to_json() if columns else "{", encoding="utf-8")
    assert main(["inspect", "--json", model]) == 0
    assert list(json.loads(capsys.readouterr().out)["coefficients"]) == ["feature_1", "feature_0"]


def test_a_log_is_summarised_as_json(tmp_path, capsys):
    log = tmp_path / "job.log"
    log.write_bytes(b"\xff noise\n#progress_metric: host=algo-1, completed 20.0 % of epochs\n")
    assert main(["metrics", str(log)]) == 0
    assert json.loads(capsys.readouterr().out)["progress"] == 20


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"1,2,3\n", "3 features"), (b"1,x\n", "x"), (b"{nonsense\n", "row 1"), (b'{"instances": 3}', "instances")],
)
def test_invalid_rows_are_refused_in_one_sentence(model, stdin, capsys, body, words):
    stdin(body)
    assert main(["predict", model]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    notice, error = captured.err.splitlines()
    assert "by position, as there is no schema.json" in notice
    assert words in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "/does/not/exist"], "/does/not/exist"),
        (["predict", "MODEL", "/does/not/exist"], "/does/not/exist: No such file"),
        (["predict", str(Path(__file__).parent)], "contains no model.tar.gz"),
        (["inspect", __file__], "neither a model.tar.gz nor a model_algo-1"),
        (["metrics", "/does/not/exist"], "/does/not/exist"),
        (["metrics", "/"], "/"),
        (["train", "/does/not/exist"], "/does/not/exist is not a folder"),
    ],
)
def test_an_unusable_file_is_reported_in_one_sentence(model, capsys, arguments, words):
    assert main([model if argument == "MODEL" else argument for argument in arguments]) == 2
    assert_one_sentence(capsys, words)


def assert_one_sentence(capsys: pytest.CaptureFixture[str], words: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words.lower() in captured.err.lower()
    assert captured.err.count("\n") == 1


def test_a_command_is_required(capsys):
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "linear_learner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def test_train_predict_and_metrics_work_together(tmp_path):
    (tmp_path / "input" / "config").mkdir(parents=True)
    (tmp_path / "input" / "data" / "train").mkdir(parents=True)
    config = tmp_path / "input" / "config"
    (config / "hyperparameters.json").write_text('{"predictor_type": "regressor", "mini_batch_size": "10"}')
    (config / "inputdataconfig.json").write_text('{"train": {"ContentType": "text/csv"}}')
    rows = "".join(f"{3 * x + 1},{x}\n" for x in range(100))
    (tmp_path / "input" / "data" / "train" / "data.csv").write_text(rows)

    trained = run("train", str(tmp_path))
    assert (trained.returncode, trained.stderr) == (0, "")
    (tmp_path / "job.log").write_text(trained.stdout)
    assert json.loads(run("metrics", str(tmp_path / "job.log")).stdout)["scores"]["train"]["mse"] < 500
    predicted = run("predict", str(tmp_path / "model" / "model_algo-1"), input="50\n")
    assert json.loads(predicted.stdout)["score"] == pytest.approx(151, abs=40)


def test_a_closed_stdout_ends_the_command_without_an_error_message(model, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("2,1\n" * 30_000)
    command = [sys.executable, "-m", "linear_learner", "predict", model, str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == '{"score": 0.0}\n'
        process.stdout.close()
        assert process.stderr.read().count("\n") == 1  # that the rows are read by position
        assert process.wait(timeout=60) == 141


def test_help_imports_neither_numpy_nor_pydantic():
    program = "import linear_learner.__main__, sys; assert not {'numpy', 'pydantic'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, env=os.environ).returncode == 0


def test_training_fails_when_stdout_is_closed(tmp_path):
    (tmp_path / "input" / "config").mkdir(parents=True)
    command = [sys.executable, "-m", "linear_learner", "train", str(tmp_path)]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        finished = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60)
    finally:
        os.close(writing)
    assert finished.returncode == 141
    assert finished.stderr == b""
    assert (tmp_path / "output" / "failure").exists()
