"""The commands and the examples of the page on the serving container give what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from linear_learner.formats.artifact import write_model
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from linear_learner.serving.inference_container import InferenceContainer
from tests.docs.pages import ROOT, shell_lines

pytestmark = pytest.mark.sandbox

PAGE = "docs/serving-container.md"
TEXT = (ROOT / PAGE).read_text()
ANSWER = TEXT.partition("gets `")[2].partition("`:")[0]
COLUMNS = (NumberColumn(name="age"), CategoryColumn(name="city", categories=("Bonn", "Ulm")))
SCHEMA = Schema(label=LabelSchema(name="rich", classes=("no", "yes")), columns=COLUMNS)
WEIGHTS = np.array([[0], [1.0986121], [0]], np.float32)  # 75 % for Bonn
MODEL = LinearModel("binary_classifier", "logistic", WEIGHTS, np.zeros(1, np.float32))


def test_the_newest_model_is_served_and_answers(tmp_path: Path) -> None:
    (tmp_path / "models" / "run").mkdir(parents=True)
    write_model(MODEL, tmp_path / "models" / "run")
    (tmp_path / "models" / "run" / "schema.json").write_text(SCHEMA.to_json())
    serve, ask = shell_lines(PAGE, "## Run it here")
    line = serve.replace(".venv/bin/python", f"exec {sys.executable}").replace("8080", "0")
    with subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().partition(" at ")[2].partition(" ")[0]
            line = ask.replace("http://127.0.0.1:8080/invocations", f"--silent {url}")
            answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
            assert answer.stdout == ANSWER
        finally:
            server.terminate()


def test_every_example_of_a_request_is_answered() -> None:
    container = InferenceContainer(MODEL, SCHEMA)
    named, encoded = json.loads(ANSWER), container.invoke(b"31,1,0", "text/csv").body
    assert json.loads(encoded) == named
    rows = re.findall(r"^\| `(application/json\w*|text/csv)` \| (.*) \| (.*) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 3
    for kind, *cells in rows:
        for cell in cells:
            body = "\n".join(re.findall("`(.*?)`", cell))
            answer = container.invoke(body.encode(), kind)
            assert (answer.status, json.loads(answer.body)) == (200, named), body


def test_the_example_of_an_error_is_an_error() -> None:
    expected = json.loads(re.findall("An error is `(.*?)`", TEXT)[0])
    rows = [{"age": age, "city": "Ulm"} for age in (31, "old")]
    body = json.dumps({"instances": rows}).encode()
    assert json.loads(InferenceContainer(MODEL, SCHEMA).invoke(body, "application/json").body) == expected
