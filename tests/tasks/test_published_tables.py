"""Tables as people publish them are planned and encoded as they are, or refused with the remedy."""

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.preparation import Prepared, prepare_table
from linear_learner.errors import DataError, LinearLearnerError
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples
from linear_learner.schedule import choose_batch_size
from linear_learner.training.engine import train

Prepare = Callable[..., Prepared]
MakeRow = Callable[[random.Random, int], Sequence[object]]


def prepare_in(folder: Path, content: bytes | dict[str, bytes], target: str = "y", **options: object) -> Prepared:
    """Run the steps until encode for `content`: of a file, or of files by their names in a folder."""
    files = content if isinstance(content, dict) else {"t.csv": content}
    for name, one in files.items():
        (folder / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "t" / name).write_bytes(one)
    source = f"file://{folder}/t/" + ("" if isinstance(content, dict) else "t.csv")
    return prepare_table(source, target, **options)


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return partial(prepare_in, tmp_path)


def csv_text(
    header: str, rows: int, row: Callable[[random.Random, int], Sequence[object]], separator: str = ","
) -> str:
    numbers = random.Random(0)  # noqa: S311 - a table, not a secret
    lines = [header.replace(",", separator), *(separator.join(map(str, row(numbers, one))) for one in range(rows))]
    return "\n".join(lines) + "\n"


def numeric(rows: int = 60, header: str = "a,b,y", separator: str = ",") -> str:
    width = header.count(",") + 1
    return csv_text(header, rows, lambda numbers, _: [f"{numbers.gauss(0, 1):.3f}" for _ in range(width)], separator)


def test_an_unnamed_first_column_that_counts_the_rows_is_left_out(prepare: Prepare) -> None:
    content = csv_text(",tv,y", 60, lambda numbers, row: [row + 1, numbers.random(), numbers.random()])
    found = prepare(content.encode())
    assert found.treatments == {"Unnamed: 0": "leave out", "tv": "number", "y": "target"}
    assert "counts the rows" in found.checked.plan[0].reason
    named = prepare(content.encode(), ignore=["Unnamed: 0"])
    assert named.table_schema.features == ("tv",)


@pytest.mark.parametrize(
    ("header", "columns"),
    [("1,2,1", ["a", "b", "y"]), ("0.5,M,3", ["a", "b", "y"])],
    ids=["a number twice", "a text that is a class"],
)
def test_a_first_line_of_data_is_refused_with_the_option_that_gives_names(
    header: str, columns: list[str], prepare: Prepare
) -> None:
    text = header.split(",")[1].isalpha()
    content = csv_text(header, 60, lambda numbers, row: [row % 7, "MB"[row % 2] if text else 2, numbers.randint(0, 9)])
    with pytest.raises(DataError, match=r"first line looks like data, not like a header.*--dataset.columns c1,c2,c3"):
        prepare(content.encode(), "c3")
    assert [*prepare(content.encode(), columns=columns).treatments] == columns


def test_a_folder_of_hive_partitions_has_their_column(prepare: Prepare) -> None:
    found = prepare({f"b={value}/part.csv": numeric(40, "a,y").encode() for value in (0, 1)})
    assert found.treatments == {"a": "number", "y": "target", "b": "number"}


def test_features_that_determine_the_target_together_are_named(prepare: Prepare) -> None:
    def row(numbers: random.Random, _: int) -> list[object]:
        casual, registered = numbers.randint(0, 50), numbers.randint(0, 300)
        return [f"{numbers.random():.2f}", casual, registered, casual + registered]

    [warning] = prepare(csv_text("temp,casual,registered,count", 300, row).encode(), "count").warnings
    assert "casual" in warning
    assert "registered" in warning
    assert "temp" not in warning


def test_each_kind_of_text_in_numbers_is_named_with_its_own_remedy(prepare: Prepare) -> None:
    cells = '"{:,}","{},5",${},{}%,2021-01-{:02},{},{}\n'
    lines = [cells.format(1000 + row, row, row, row, row % 28 + 1, "-" if row == 7 else row, row) for row in range(60)]
    content = "thousands,comma,money,percent,day,dash,y\n" + "".join(lines)
    with pytest.raises(DataError) as caught:
        prepare(content.encode())
    message = str(caught.value)
    described = {line.split(":")[0].strip(" -'"): line for line in message.splitlines()}
    for column, words in {
        "thousands": "thousands separator",
        "comma": "decimal comma",
        "money": "currency",
        "percent": "percent",
        "dash": "dataset.missing",
    }.items():
        assert any(column in key and words in line for key, line in described.items()), (column, message)
    assert "day" not in message
    accepted = prepare(content.encode(), missing=["-"], ignore=["thousands", "comma", "money", "percent"])
    assert accepted.treatments["dash"] == "fill"
    assert accepted.treatments["day"] == "date"


def test_all_offending_columns_are_listed_ready_to_paste(prepare: Prepare) -> None:
    header = ",".join([*(f"c{number}" for number in range(20)), "y"])
    content = csv_text(header, 60, lambda numbers, row: [*[f"{row}%"] * 20, numbers.random()])
    with pytest.raises(DataError) as caught:
        prepare(content.encode())
    assert "--dataset.ignore " + ",".join(f"c{number}" for number in range(20)) in str(caught.value)


def test_a_target_of_different_texts_is_refused_as_too_many_classes(prepare: Prepare) -> None:
    content = csv_text("code,y", 1200, lambda numbers, row: [f"code {row}", numbers.random()])
    with pytest.raises(DataError, match=r"column 'code': there are more than 1000 distinct labels\. Choose another"):
        prepare(content.encode(), "code")


def test_codes_with_one_letter_may_be_categories_or_missing(prepare: Prepare) -> None:
    content = csv_text("code,y", 60, lambda numbers, row: ["X" if row % 10 == 0 else row % 10, numbers.random()])
    with pytest.raises(DataError, match=r"--dataset\.missing X\. For categories.*--dataset\.categorical code"):
        prepare(content.encode())
    assert prepare(content.encode(), categorical=["code"]).treatments["code"] == "category"


def test_a_target_without_any_value_is_refused(prepare: Prepare) -> None:
    content = csv_text("a,y", 60, lambda numbers, _: [numbers.random(), ""])
    with pytest.raises(DataError, match="Column 'y' has no value in any row"):
        prepare(content.encode(), drop_unlabelled=True)


@pytest.mark.parametrize("ends", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "  "])
def test_line_ends_and_separators_are_recognised(ends: str, separator: str, prepare: Prepare) -> None:
    found = prepare(numeric(separator=separator).replace("\n", ends).encode())
    assert found.treatments == {"a": "number", "b": "number", "y": "target"}
    assert ("CR line ends" in found.table.description) == (ends == "\r")


def test_integers_of_128_bits_and_decimals_are_numbers(prepare: Prepare, tmp_path: Path) -> None:
    columns = {
        "big": pl.Series(range(60), dtype=pl.Int128),
        "price": pl.Series([Decimal(row) / 4 for row in range(60)], dtype=pl.Decimal(10, 2)),
        "y": pl.Series(np.arange(60) / 7),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    found = prepare({"t.parquet": (tmp_path / "t.parquet").read_bytes()})
    assert found.treatments == {"big": "number", "price": "number", "y": "target"}


ODD_CELLS = st.sampled_from(
    ["", "1", "1.5", "-", "NA", "x", "1,5", "1e400", "nan", "2021-01-01", '"', "5%", "\0", "é", " "]
)


@st.composite
def odd_tables(draw: st.DrawFn) -> bytes:
    """A valid table in which a few cells, a few bytes, or the separators are others."""
    rows = [[str(row), str(row % 3), "xyz"[row % 3], str(row % 4)] for row in range(draw(st.integers(1, 24)))]
    for _ in range(draw(st.integers(0, 4))):
        rows[draw(st.integers(0, len(rows) - 1))][draw(st.integers(0, 3))] = draw(ODD_CELLS)
    text = "\n".join(draw(st.sampled_from(",;\t| ")).join(row) for row in [["a", "b", "c", "y"], *rows])
    content = bytearray(text, draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])))
    for _ in range(draw(st.integers(0, 2))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(odd_tables() | st.binary(max_size=100) | st.text('ay1,;\n"', max_size=60).map(str.encode))
@example(b"a,y\n" + b"1,2\n" * 30)
@example(b"a,y\n" + b"".join(b"%d,%d\n" % (row, row % 2) for row in range(30)))
def test_any_bytes_are_trained_on_or_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    try:
        prepared = prepare_in(tmp_path, content, max_categories=2)
        settings = prepared.checked.hyperparameters.model_copy(update={"epochs": 1, "num_models": 1})
        channels = prepared.write_channels(tmp_path)
        assert len(channels["train"].labels) == prepared.rows.train
        train(settings, channels["train"], channels.get("validation"))
        event("trained")
    except LinearLearnerError as error:
        event(f"refused: {str(error).split(':', 2)[-1][:60]}")


@pytest.mark.parametrize("rows", [1428, 1429])
def test_one_more_row_does_not_change_the_error_of_a_model(rows: int) -> None:
    """With the algorithm's default of 1000, so few rows were 15 updates, and the error twice that of least squares."""
    random_state = np.random.default_rng(0)
    features = random_state.normal([5, 0], [2, 1], (rows, 2))
    labels = features @ [2.0, -1.5] + 3 + random_state.normal(0, 0.5, rows)
    used = rows * 7 // 10
    examples = [
        Examples(features[part].astype("f4"), labels[part].astype("f4")) for part in (np.s_[:used], np.s_[used:])
    ]
    settings = Hyperparameters(predictor_type="regressor", mini_batch_size=choose_batch_size(used))
    design = np.column_stack([features, np.ones(rows)])
    least_squares = design[used:] @ np.linalg.lstsq(design[:used], labels[:used], rcond=None)[0]
    predictions = train(settings, *examples).model.predict(examples[1].features).scores
    assert rmse(predictions, labels[used:]) < 1.05 * rmse(least_squares, labels[used:])


def rmse(predictions: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean((predictions.ravel() - labels) ** 2)))
