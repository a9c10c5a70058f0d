"""All problems of a table are reported at once, with location and remedy; a valid table has no findings."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from linear_learner.hyperparameters import Hyperparameters
from tasks.data.measurement import measure_chunks
from tasks.data.profile import Profile, TextCells
from tasks.data.reader import Chunk
from tasks.data.rules.finding import Finding
from tasks.data.rules.table import find_problems

ROWS = 1000
CHANNELS = {"train": 700, "validation": 200, "test": 100}
NUMBERS = np.random.default_rng(0)
CLEAN = {"pay": NUMBERS.normal(size=ROWS), "age": NUMBERS.integers(18, 65, ROWS), "score": NUMBERS.normal(size=ROWS)}
REGRESSOR = Hyperparameters()
BINARY = Hyperparameters(predictor_type="binary_classifier")
THREE = Hyperparameters(predictor_type="multiclass_classifier", num_classes=3)
PREDICTORS = (REGRESSOR, BINARY, THREE)


def make_profile(
    table: Mapping[str, ArrayLike], target: str = "pay", text: Mapping[str, Sequence[int]] | None = None
) -> Profile:
    """The profile of a table; the cells in the rows `text` of a column are the text Ulm."""
    texts = {name: TextCells(np.array(rows), "Ulm") for name, rows in (text or {}).items()}
    columns = []
    for name, numbers in table.items():
        cells = np.array(numbers, np.float64)
        if name in texts:
            cells[texts[name].rows] = np.nan
        integral = (np.floor(cells) == cells).all() and (np.abs(cells) < 2**63).all()
        columns.append(pl.Series(name, cells).cast(pl.Int64 if integral else pl.Float64))
    return measure_chunks(
        [Chunk(pl.DataFrame(dict(zip(table, columns, strict=True))), texts)], [*table], target
    ).profile()


def problems_of(
    changes: Mapping[str, ArrayLike], hyperparameters: Hyperparameters = REGRESSOR, **options: Any
) -> tuple[Finding, ...]:
    """The findings for the clean table with changed or additional columns."""
    rows, ignored = options.pop("rows", CHANNELS), options.pop("ignored", ())
    return find_problems(make_profile({**CLEAN, **changes}, **options), rows, hyperparameters, ignored)


def check(findings: Sequence[Finding], level: str, *parts: str) -> None:
    """Assert that there is one finding, of this level, and that its message contains all parts."""
    assert [finding.level for finding in findings] == [level], findings
    assert all(part in str(findings[0]) for part in parts), str(findings[0])
    assert str(findings[0]).endswith(".")


def changed(column: str, row: int, value: float) -> dict[str, ArrayLike]:
    """The clean column with another value in `row`, counted from 1, and in `row` + 2."""
    cells = np.array(CLEAN[column], np.float64)
    cells[[row - 1, row + 1]] = value
    return {column: cells}


def classes(*values: float) -> dict[str, ArrayLike]:
    """A target that repeats these labels."""
    return {"pay": np.resize(values, ROWS)}


def test_a_valid_table_has_no_findings() -> None:
    assert problems_of({}) == ()
    assert problems_of(classes(0, 1, 1), BINARY) == ()
    assert problems_of(classes(0, 1, 2, 1), THREE) == ()
    assert problems_of({}, Hyperparameters(feature_dim=2)) == ()


def test_errors_come_first() -> None:
    found = problems_of({"one": np.ones(ROWS), **changed("score", 3, np.nan)}, rows={"train": 5, "test": 3})
    assert [finding.level for finding in found] == ["error", "error", "warning", "warning"]


@pytest.mark.parametrize("hyperparameters", [REGRESSOR, THREE])
@pytest.mark.parametrize(
    ("value", "parts"),
    [(np.nan, ["missing", "Fill it in"]), (np.inf, ["infinite", "Replace"]), (1e39, ["3.4e38", "Rescale"])],
)
@pytest.mark.parametrize("column", ["score", "pay"])
def test_cells_that_cannot_be_trained_on_are_errors(
    value: float, parts: list[str], column: str, hyperparameters: Hyperparameters
) -> None:
    found = problems_of({**classes(0, 1, 2), **changed(column, 17, value)}, hyperparameters)
    errors = [one for one in found if "label" not in one.what and "correlation" not in one.what]
    check(errors, "error", f"column '{column}', row 17", "the first of 2 such cells", *parts)


@pytest.mark.parametrize(
    ("column", "hyperparameters", "parts"),
    [
        ("score", REGRESSOR, ["one-hot", "ignore"]),
        ("pay", REGRESSOR, ["numeric target", "classifier", "from 0"]),
        ("pay", BINARY, ["Encode the classes", "from 0"]),
    ],
)
def test_text_is_an_error(column: str, hyperparameters: Hyperparameters, parts: list[str]) -> None:
    found = problems_of(classes(0, 1, 1), hyperparameters, text={column: [4]})
    errors = [one for one in found if one.level == "error"]
    check(errors, "error", f"column '{column}', row 5", "'Ulm' is not a number", *parts)


def test_the_same_problem_in_many_columns_is_one_finding() -> None:
    holes = {f"x{index}": changed("score", index + 2, np.nan)["score"] for index in range(300)}
    numbers = {
        name: np.asarray(cells) + np.random.default_rng(len(name)).normal(size=ROWS) for name, cells in holes.items()
    }
    errors = [finding for finding in problems_of(numbers) if finding.level == "error"]
    check(errors, "error", "300 columns, such as 'x0', 'x1'", "600 values are missing, the first in row 2")
    assert str(errors[0]).count("'x") == 12
    constant = {f"x{index}": np.full(ROWS, float(index)) for index in range(300)}
    check(problems_of(constant), "warning", "300 columns, such as 'x0'", "the same value")


def test_ignored_columns_are_not_checked() -> None:
    unusual = {
        "name": np.zeros(ROWS),
        "gap": np.full(ROWS, np.nan),
        "Unnamed: 0": np.arange(ROWS),
        "copy": CLEAN["pay"],
    }
    assert problems_of(unusual, text={"name": [*range(ROWS)]}, ignored=[*unusual]) == ()


def test_a_header_of_numbers_is_an_error() -> None:
    for names in (["0.5", "17", "-1e3"], ["1", "3", "2"], ["1", "40", "3000"], ["5", "+1", "nan"]):
        profile = make_profile(dict(zip(names, CLEAN.values(), strict=True)), names[0])
        parts = "the table", "looks like data", f"'{names[1]}'", "names"
        check(find_problems(profile, CHANNELS, REGRESSOR), "error", *parts)


@pytest.mark.parametrize("names", [["0", "1", "2"], ["1", "2", "3"], ["0", "2", "3"]])
def test_column_numbers_of_pandas_are_a_valid_header(names: list[str]) -> None:
    table = dict(zip(names, CLEAN.values(), strict=True))
    assert find_problems(make_profile(table, names[0]), CHANNELS, REGRESSOR) == ()


@pytest.mark.parametrize(
    ("labels", "hyperparameters", "parts"),
    [
        ((1, -1), BINARY, ["row 2", "label is -1", "requires 0 or 1", "Map the 2 labels -1 and 1 to 0 and 1."]),
        ((1, -1), THREE, ["row 2", "-1", "-1 and 1 to 0 and 1. Set predictor_type to binary_classifier."]),
        ((1, 2, 3, 4), THREE, ["row 3", "label is 3", "requires 0 to 2", "Map the 4 labels", "num_classes to 4."]),
        ((0, 1, 2, 3, 4), THREE, ["row 4", "label is 3", "(num_classes - 1). Set", "and num_classes to 5."]),
        ((0, 1, 2), BINARY, ["row 3", "is 2", "Set predictor_type to multiclass_classifier and num_classes to 3."]),
        ((3, 30, 300), THREE, ["row 1", "label is 3", "Map the 3 labels 3, 30 and 300 to 0, 1 and 2."]),
        ((0, 0.5), BINARY, ["row 2", "label is 0.5", "Map the 2 labels 0 and 0.5 to 0 and 1."]),
    ],
)  # fmt: skip
def test_labels_that_a_classifier_does_not_accept_are_errors_with_a_remedy(
    labels: tuple[float, ...], hyperparameters: Hyperparameters, parts: list[str]
) -> None:
    found = problems_of(classes(*labels), hyperparameters)
    check(found, "error", "column 'pay'", *parts)


@given(
    st.lists(st.sampled_from([-1, 0, 0.5, 1, 2, 3, 5, 7, 30]), min_size=2, max_size=7, unique=True),
    st.sampled_from([BINARY, THREE]),
)
def test_a_table_is_valid_after_the_suggested_remedy(labels: list[float], hyperparameters: Hyperparameters) -> None:
    found = [one for one in problems_of(classes(*labels), hyperparameters) if one.level == "error"]
    if not found:
        return
    remedy = re.fullmatch(
        r"(?:Map the (\d+) labels (.*) to (.*)\. )?"
        r"Set predictor_type to (?:(binary_classifier)|multiclass_classifier and num_classes to (\d+))\.",
        found[0].remedy,
    )
    assert remedy is not None, found[0].remedy
    if remedy[2]:
        old, new = ([float(label) for label in re.split(", | and ", listed)] for listed in (remedy[2], remedy[3]))
        labels = [dict(zip(old, new, strict=True))[label] for label in labels]
    advised = BINARY if remedy[4] else Hyperparameters(predictor_type="multiclass_classifier", num_classes=remedy[5])
    assert problems_of(classes(*labels), advised) == ()


@pytest.mark.parametrize("hyperparameters", [BINARY, THREE])
@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (np.arange(100) + 1, ["one of 100 distinct labels", "If the labels are classes, number them from 0"]),
        (CLEAN["pay"][:500], ["label is", "one of 500 distinct labels"]),
        (NUMBERS.integers(1000, 90_000, ROWS), ["row 1", "one of"]),
    ],
)
def test_a_numeric_target_for_a_classifier_is_an_error(
    labels: ArrayLike, parts: list[str], hyperparameters: Hyperparameters
) -> None:
    found = problems_of({"pay": np.resize(np.asarray(labels), ROWS)}, hyperparameters)
    check(found, "error", "column 'pay', row", "set predictor_type to regressor", *parts)


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (np.arange(3000) / 7, ["row 2", "has a fraction", "more than 1000", "set predictor_type to regressor"]),
        (np.arange(3000) % 1500, ["more than 1000 labels occur, from 0 to 1499", "to regressor", "num_classes"]),
        (np.arange(3000) % 1500 - 7, ["more than 1000 labels occur, from -7 to 1492", "from 0"]),
    ],
)
@pytest.mark.parametrize("hyperparameters", [BINARY, THREE])
def test_more_labels_than_can_be_listed_are_reported_by_their_range(
    labels: ArrayLike, parts: list[str], hyperparameters: Hyperparameters
) -> None:
    table = {"pay": labels, "score": np.random.default_rng(0).normal(size=3000)}
    check(find_problems(make_profile(table), CHANNELS, hyperparameters), "error", "column 'pay'", *parts)


def test_more_than_1000_classes_are_accepted() -> None:
    table = {"pay": np.arange(3000) % 1500, "score": np.random.default_rng(0).normal(size=3000)}
    many = Hyperparameters(predictor_type="multiclass_classifier", num_classes=1500)
    assert find_problems(make_profile(table), CHANNELS, many) == ()


@pytest.mark.parametrize("hyperparameters", PREDICTORS)
def test_a_constant_target_is_an_error(hyperparameters: Hyperparameters) -> None:
    check(problems_of(classes(7), hyperparameters), "error", "column 'pay'", "7 in every row", "another column")


def test_a_regressor_with_labels_0_and_1_is_a_warning() -> None:
    check(problems_of(classes(0, 1, 1)), "warning", "column 'pay'", "0 or 1", "binary_classifier")


def test_a_multiclass_classifier_with_two_classes_is_a_warning() -> None:
    check(
        problems_of(classes(0, 1, 1), THREE),
        "warning",
        "column 'pay'",
        "only the two classes 0 and 1",
        "binary_classifier",
    )


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        ((0, 1, 3, 3), ["the label 2", "Check that the table has all classes"]),
        ((0, 1, 2), ["the label 3", "Set num_classes to 3"]),
    ],
)
def test_an_absent_class_is_a_warning(labels: tuple[float, ...], parts: list[str]) -> None:
    four = Hyperparameters(predictor_type="multiclass_classifier", num_classes=4)
    check(problems_of(classes(*labels), four), "warning", "column 'pay'", *parts)


def test_only_some_of_many_absent_classes_are_listed() -> None:
    many = Hyperparameters(predictor_type="multiclass_classifier", num_classes=1_000_000)
    check(problems_of(classes(0, 1, 2), many), "warning", "the label 3, 4, 5", "14 and 999985 more", "num_classes to 3")


@pytest.mark.parametrize(
    ("rows", "hyperparameters", "level", "parts"),
    [
        (
            2,
            BINARY,
            "error",
            ["row 1:", "label 1 occurs in only 2 of the rows", "train, validation and test", "Add rows"],
        ),
        (3, BINARY, "warning", ["fewer than 10 rows have the label 1", "merge"]),
        (10, BINARY, None, []),
        (1, THREE, "warning", ["fewer than 10 rows have the label 1"]),
    ],
)
def test_a_class_with_few_rows(
    rows: int, hyperparameters: Hyperparameters, level: str | None, parts: list[str]
) -> None:
    target = np.where(np.arange(ROWS) < rows, 1.0, 2.0 * (np.arange(ROWS) % 2) * (hyperparameters is THREE))
    found = problems_of({"pay": target}, hyperparameters)
    if level is None:
        assert found == ()
    else:
        check(found, level, "column 'pay'", *parts)


def test_a_constant_feature_is_a_warning() -> None:
    check(
        problems_of({"one": np.ones(ROWS), "age": np.zeros(ROWS)}),
        "warning",
        "columns 'age' and 'one'",
        "same value",
        "ignore",
    )


def test_duplicate_features_are_a_warning_that_names_both() -> None:
    parts = "column 'years': the same values in every row as column 'age'", "Keep one of each", "ignore"
    check(problems_of({"years": CLEAN["age"]}), "warning", *parts)


def test_many_duplicate_features_are_one_warning() -> None:
    columns = {f"x{index}": np.random.default_rng(100 + index % 20).normal(size=ROWS) for index in range(1, 41)}
    check(problems_of(columns), "warning", "20 columns, such as 'x21'", "20 columns, such as 'x1'", "Keep one of each")


def test_a_feature_equal_to_the_target_is_an_error() -> None:
    check(problems_of({"age": CLEAN["pay"]}), "error", "column 'age'", "target 'pay'", "leaks the label", "ignore")


@pytest.mark.parametrize("factor", [2.5, -1.0])
def test_a_feature_proportional_to_the_target_is_a_warning(factor: float) -> None:
    check(problems_of({"age": factor * CLEAN["pay"]}), "warning", "column 'age'", "0.9999", "may leak", "ignore")


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index"])
def test_an_index_is_a_warning(name: str) -> None:
    values = NUMBERS.normal(size=ROWS) if name.startswith("Unnamed") else np.arange(ROWS)
    check(problems_of({name: values}), "warning", f"column '{name}'", "row number", "to_csv(index=False)", "ignore")


@pytest.mark.parametrize("name", ["id", "customer_id", "customerId", "order-key", "UUID", "row.id"])
def test_a_column_named_like_an_id_is_a_warning(name: str) -> None:
    check(problems_of({name: NUMBERS.integers(0, 50, ROWS)}), "warning", f"column '{name}'", "id", "one-hot", "ignore")


@pytest.mark.parametrize("name", ["paid", "humid", "monkey", "Grid", "idle"])
def test_words_that_end_like_an_id_have_no_finding(name: str) -> None:
    assert problems_of({name: NUMBERS.integers(0, 50, ROWS)}) == ()


def test_flags_and_fractions_are_not_ids() -> None:
    assert problems_of({"has_key": np.arange(ROWS) % 2, "valence_id": NUMBERS.normal(size=ROWS)}) == ()


def test_whole_numbers_without_repeats_are_ids() -> None:
    for values in (NUMBERS.permutation(ROWS) * 3 + 70_000, np.arange(1, ROWS + 1)):
        check(problems_of({"ticket": values}), "warning", "column 'ticket'", "looks like an id or a row number")
    assert problems_of({"income": np.unique(NUMBERS.integers(0, 10**7, 2 * ROWS))[:ROWS][::-1]}) == ()


def test_digits_beyond_float32_are_a_warning() -> None:
    cents = NUMBERS.integers(0, 2**26, ROWS)
    check(problems_of({"cents": cents}), "warning", "column 'cents'", "16777216", "rescale")
    check(problems_of({"pay": cents}), "warning", "column 'pay'", "16777216", "rescale")


def test_a_wrong_feature_dim_is_an_error() -> None:
    found = problems_of({"extra": NUMBERS.normal(size=ROWS)}, Hyperparameters(feature_dim=2))
    check(found, "error", "hyperparameter feature_dim", "it is 2", "3 feature columns", "Set it to 3")
    assert problems_of({"extra": CLEAN["score"]}, Hyperparameters(feature_dim=2), ignored=["extra"]) == ()


def test_a_table_without_features_is_an_error() -> None:
    check(problems_of({}, ignored=["age", "score"]), "error", "the table", "no feature", "'pay'", "ignore fewer")


@pytest.mark.parametrize(
    ("rows", "level", "parts"),
    [
        ({"train": 9}, "error", ["channel train", "9 rows", "at least 10"]),
        ({"train": 0}, "error", ["channel train", "no rows"]),
        ({"train": 100, "test": 0}, "error", ["channel test", "no rows", "larger share"]),
        ({"train": 100, "validation": 29}, "warning", ["channel validation", "29 rows", "fewer than 30"]),
    ],
)
def test_a_channel_with_few_rows(rows: dict[str, int], level: str, parts: list[str]) -> None:
    check(problems_of({}, rows=rows), level, *parts)


def test_problems_of_the_hyperparameters_alone_are_not_reported() -> None:
    assert problems_of({}, Hyperparameters(mini_batch_size=10**6, margin=3.0)) == ()


CELLS = st.one_of(st.integers(-3, 3).map(float), st.floats(), st.sampled_from([1e39, 2.0**25]))
NAMES = st.one_of(st.text(max_size=8), st.sampled_from(["", "id", "1", "2.5", "Unnamed: 0", "a{b}", "%s"]))


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    rows = draw(st.integers(0, 30))
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    columns = {name: draw(st.lists(CELLS, min_size=rows, max_size=rows)) for name in names}
    if draw(st.booleans()):
        columns[names[-1]] = [*map(float, range(rows))]
    texts = {names[0]: [0, rows - 1][: min(rows, 2)]} if rows and draw(st.booleans()) else {}
    return make_profile(columns, draw(st.sampled_from(names)), texts)


@given(profiles(), st.dictionaries(st.sampled_from([*CHANNELS]), st.integers(0, 50)), st.sampled_from(PREDICTORS))
def test_every_table_can_be_checked(profile: Profile, rows: dict[str, int], hyperparameters: Hyperparameters) -> None:
    for ignored in ((), tuple(column.name for column in profile.columns[:2])):
        findings = find_problems(profile, rows, hyperparameters, ignored)
        assert all(finding.where and finding.what and finding.remedy.endswith(".") for finding in findings)
        assert [finding.level for finding in findings] == sorted(finding.level for finding in findings)
