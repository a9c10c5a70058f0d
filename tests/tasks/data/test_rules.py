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
from tasks.data.column_plan import plan_columns
from tasks.data.measurement import measure_chunks
from tasks.data.profile import Profile
from tasks.data.rules.finding import Finding
from tasks.data.rules.table import find_problems
from tasks.parameters import PlanOptions

ROWS = 1000
CHANNELS = {"train": 700, "validation": 200, "test": 100}
NUMBERS = np.random.default_rng(0)
CLEAN = {"pay": NUMBERS.normal(size=ROWS), "age": NUMBERS.integers(18, 65, ROWS), "score": NUMBERS.normal(size=ROWS)}
REGRESSOR = Hyperparameters()
BINARY = Hyperparameters(predictor_type="binary_classifier")
THREE = Hyperparameters(predictor_type="multiclass_classifier", num_classes=3)
PREDICTORS = (REGRESSOR, BINARY, THREE)


def make_profile(table: Mapping[str, ArrayLike], target: str = "pay") -> Profile:
    """The profile of a table of numbers and texts; a column of whole numbers is one of integers."""
    columns = {}
    for name, given_cells in table.items():
        cells = np.asarray(given_cells)
        if cells.dtype.kind in "iuf":
            cells = cells.astype(np.float64)
            integral = bool((np.floor(cells) == cells).all() and (np.abs(cells) < 2**63).all())
            columns[name] = pl.Series(cells).cast(pl.Int64 if integral else pl.Float64)
        else:
            columns[name] = pl.Series(cells.tolist())
    return measure_chunks([pl.DataFrame(columns)], [*table], target).profile()


def find(
    profile: Profile, rows: Mapping[str, int] = CHANNELS, hyperparameters: Hyperparameters = REGRESSOR, **options: Any
) -> tuple[Finding, ...]:
    """The findings with the plan for these options."""
    left_out, drop = options.pop("left_out", ()), options.pop("drop_unlabelled", False)
    plan = plan_columns(profile, PlanOptions(**options), left_out)
    return find_problems(profile, plan, rows, hyperparameters, drop_unlabelled=drop)


def problems_of(
    changes: Mapping[str, ArrayLike], hyperparameters: Hyperparameters = REGRESSOR, **options: Any
) -> tuple[Finding, ...]:
    """The findings for the clean table with changed or additional columns."""
    rows = options.pop("rows", CHANNELS)
    return find(make_profile({**CLEAN, **changes}), rows, hyperparameters, **options)


def check(findings: Sequence[Finding], level: str, *parts: str) -> None:
    """Assert that there is one finding, of this level, and that its message contains all parts."""
    assert [finding.level for finding in findings] == [level], findings
    assert all(part in str(findings[0]) for part in parts), str(findings[0])
    assert_complete(findings[0])


def assert_complete(finding: Finding) -> None:
    """A remedy is a sentence, or ends with an option that can be pasted."""
    assert finding.where
    assert finding.what
    assert finding.remedy.endswith(".") or re.search(r": --dataset\.\w+ [^ ].*$", finding.remedy, re.DOTALL)


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
    found = problems_of({"one": np.ones(ROWS), **changed("score", 3, np.inf)}, rows={"train": 5, "test": 3})
    assert [finding.level for finding in found] == ["error", "error", "warning", "warning"]


@pytest.mark.parametrize("hyperparameters", [REGRESSOR, THREE])
@pytest.mark.parametrize(
    ("value", "parts"),
    [(np.nan, ["missing", "Fill"]), (np.inf, ["infinite", "Replace"]), (1e39, ["3.4e38", "Rescale"])],
)
@pytest.mark.parametrize("column", ["score", "pay"])
def test_cells_that_cannot_be_trained_on_are_errors(
    value: float, parts: list[str], column: str, hyperparameters: Hyperparameters
) -> None:
    table = {**classes(0, 1, 2), **changed(column, 17, value)}
    found = problems_of(table, hyperparameters, features="numeric")
    errors = [one for one in found if "label" not in one.what and "correlation" not in one.what]
    check(errors, "error", f"column '{column}', row 17", "the first of 2 such cells", *parts)


WORDS = np.resize(["Ulm", "Bonn", "Köln"], ROWS)


def test_a_text_target_of_a_regressor_is_an_error() -> None:
    parts = "column 'pay', row 1", "'Ulm' is not a number", "binary_classifier or multiclass_classifier"
    check(problems_of({"pay": WORDS}), "error", *parts)
    with_words = np.where(np.arange(ROWS) == 4, "Ulm", np.char.mod("%f", CLEAN["pay"]))
    check(problems_of({"pay": with_words}), "error", "column 'pay', row 5", "text among other values ('Ulm'")


@pytest.mark.parametrize("hyperparameters", PREDICTORS)
def test_a_target_of_numbers_in_another_notation_is_an_error_with_its_own_remedy(
    hyperparameters: Hyperparameters,
) -> None:
    for pattern, parts in (
        ("{},25", ["decimal comma", "with a decimal point"]),
        ("{}%", ["percentages"]),
        ("${}", ["currency"]),
    ):
        pay = [pattern.format(row % 50) for row in range(ROWS)]
        check(problems_of({"pay": pay}, hyperparameters), "error", "column 'pay', row 1", *parts)


@pytest.mark.parametrize("hyperparameters", PREDICTORS)
def test_a_marker_among_the_labels_is_an_error(hyperparameters: Hyperparameters) -> None:
    labels = np.where(np.arange(ROWS) == 6, "-", np.resize(["0", "1", "2"], ROWS))
    parts = "column 'pay', row 7", "seems to mark missing values", "--dataset.missing"
    check([one for one in problems_of({"pay": labels}, hyperparameters) if "num" not in one.what], "error", *parts)


def test_rows_without_a_label_are_an_error_unless_they_are_dropped() -> None:
    holes = changed("pay", 9, np.nan)
    check(
        problems_of(holes), "error", "column 'pay', row 9", "missing, the first of 2", "--dataset.drop_unlabelled true"
    )
    check(problems_of(holes, drop_unlabelled=True), "warning", "2 rows without a label", "row 9", "not used")


def test_missing_cells_and_text_of_features_have_no_finding() -> None:
    assert problems_of({**changed("score", 3, np.nan), "city": WORDS}) == ()


def test_refused_columns_are_errors_each_kind_with_all_its_columns_and_its_own_remedy() -> None:
    numbers = range(1000, 1000 + ROWS)
    table: dict[str, ArrayLike] = {
        "a": [f"{number},5" for number in numbers],
        "b": [f"{number}%" for number in numbers],
        "the c": [f"{number},25" for number in numbers],
        "d": ["n.d." if number % 7 == 1 else str(number) for number in numbers],
        "e": [f"{number % 999 + 1},000" for number in numbers],
        "f": [
            f"1,{number % 900 + 100},000" if number % 2 else f"{number % 900 + 1},000"
            for number in range(100, 100 + ROWS)
        ],
    }
    found = {one.where: str(one) for one in problems_of(table)}
    assert len(found) == 5
    commas = found["columns 'a' and 'the c'"]
    assert "decimal comma, such as '1000,5' in row 1 of column 'a'" in commas
    assert "with a decimal point" in commas
    assert commas.endswith("""leave the columns out: --dataset.ignore 'a,"the c"'""")
    assert "percentages ('1000%' in row 1 and 999 more)" in found["column 'b', row 1"]
    [marker] = [text for where, text in found.items() if "'d'" in where]
    assert "say so: --dataset.missing n.d." in marker
    assert "1234 if the comma separates thousands, or 1.234" in found["column 'e', row 1"]
    assert "numbers with a thousands separator" in next(text for where, text in found.items() if "'f'" in where)


def test_numeric_features_refuse_all_other_columns_and_list_them() -> None:
    many = {f"x{index}": WORDS for index in range(43)}
    found = problems_of({**many, **changed("score", 3, np.nan)}, features="numeric")
    assert [one.level for one in found] == ["error", "error"]
    assert "column 'score', row 3: the value is missing, the first of 2" in str(found[0])
    assert found[1].where == f"columns {', '.join(repr(name) for name in [*many][:-1])} and 'x42'"
    assert found[1].remedy.endswith(f"--dataset.ignore {','.join(many)}")


def test_the_same_problem_in_many_columns_is_one_finding() -> None:
    holes = {f"x{index}": changed("score", index + 2, np.inf)["score"] for index in range(300)}
    numbers = {
        name: np.asarray(cells) + np.random.default_rng(len(name)).normal(size=ROWS) for name, cells in holes.items()
    }
    errors = [finding for finding in problems_of(numbers) if finding.level == "error"]
    check(errors, "error", "'x0', 'x1'", "600 values are infinite, the first in row 2 of column 'x0'")
    assert errors[0].remedy.endswith(f"--dataset.ignore {','.join(numbers)}")
    constant = {f"x{index}": np.full(ROWS, float(index)) for index in range(300)}
    check(
        problems_of(constant),
        "warning",
        "columns 'x0', 'x1'",
        "the same value",
        f"--dataset.ignore {','.join(constant)}",
    )


def test_columns_of_the_split_are_not_checked() -> None:
    unusual = {"name": WORDS, "gap": np.full(ROWS, np.nan), "Unnamed: 0": np.arange(ROWS), "copy": CLEAN["pay"]}
    assert problems_of(unusual, left_out=[*unusual]) == ()


def test_columns_that_are_left_out_are_one_warning_with_the_reasons() -> None:
    table = {"name": [f"Person {row}" for row in range(ROWS)], "gap": np.full(ROWS, np.nan)}
    parts = "columns 'name' and 'gap'", "an identifier", "no value in any row", "--dataset.ignore name,gap"
    check(problems_of(table), "warning", *parts)


def test_columns_that_determine_the_target_are_a_warning() -> None:
    rest = CLEAN["pay"] - CLEAN["age"]
    parts = "columns 'age' and 'rest'", "together they determine the target 'pay'", "--dataset.ignore age,rest"
    check(problems_of({"rest": rest}), "warning", *parts)
    check(
        problems_of({"rest": rest, "age": CLEAN["age"], "score": np.ones(ROWS)}, left_out=["rest"]),
        "warning",
        "'score'",
    )


def test_duplicate_rows_are_a_warning() -> None:
    table = {name: np.resize(cells[:800], ROWS) for name, cells in CLEAN.items()}
    check(problems_of(table), "warning", "the table", "about 20% of the rows", "both the training and the test set")


@pytest.mark.parametrize("names", [["0", "1", "2"], ["1", "2", "3"], ["0", "2", "3"]])
def test_column_numbers_of_pandas_are_a_valid_header(names: list[str]) -> None:
    table = dict(zip(names, CLEAN.values(), strict=True))
    assert find(make_profile(table, names[0])) == ()


@pytest.mark.parametrize(
    ("labels", "hyperparameters"),
    [((1, -1), BINARY), ((1, 2), BINARY), ((0.5, 7), BINARY), (("B", "M"), BINARY), ((True, False), BINARY),
     ((3, 30, 300), THREE), (("a", "b", "c"), THREE), ((0, 0.5, 1), THREE), (("1", "2", "3+"), THREE)],
)  # fmt: skip
def test_classes_may_be_any_values(labels: tuple[Any, ...], hyperparameters: Hyperparameters) -> None:
    assert problems_of(classes(*labels), hyperparameters) == ()


@pytest.mark.parametrize(
    ("labels", "hyperparameters", "parts"),
    [
        ((1, 2, 3, 4), THREE, ["4 distinct labels, 1, 2, 3 and 4, but num_classes is 3", "Set num_classes to 4."]),
        (("a", "b", "c"), BINARY, ["'a', 'b' and 'c'", "requires two", "Set predictor_type to multiclass_classifier."]),
        ((0, 1, 2), BINARY, ["0, 1 and 2", "Set predictor_type to multiclass_classifier."]),
    ],
)
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
    found = problems_of(classes(*labels), hyperparameters)
    if not found:
        return
    remedy = re.match(
        r"Set (?:predictor_type to (?:(binary_classifier)|multiclass_classifier)|num_classes to \d+)\b",
        found[0].remedy,
    )
    assert remedy is not None, found[0].remedy
    # The flow counts the classes when num_classes is not given.
    counted = Hyperparameters(predictor_type="multiclass_classifier", num_classes=max(3, len(labels)))
    advised = BINARY if remedy[1] else counted
    assert problems_of(classes(*labels), advised) == ()


@pytest.mark.parametrize("hyperparameters", [BINARY, THREE])
@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (CLEAN["pay"][:500], ["500 distinct labels in 1000 rows"]),
        (CLEAN["pay"][:100], ["100 distinct labels, with a fraction in row 1"]),
        (NUMBERS.integers(1000, 90_000, ROWS), ["distinct labels in 1000 rows"]),
    ],
)
def test_a_numeric_target_for_a_classifier_is_an_error(
    labels: ArrayLike, parts: list[str], hyperparameters: Hyperparameters
) -> None:
    found = problems_of({"pay": np.resize(np.asarray(labels), ROWS)}, hyperparameters)
    check(found, "error", "column 'pay'", "set predictor_type to regressor", *parts)


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (np.arange(3000) / 7, ["row 2", "with a fraction", "more than 1000", "set predictor_type to regressor"]),
        (np.arange(3000) % 1500, ["more than 1000 distinct labels, from 0 to 1499", "to regressor", "num_classes"]),
        (np.arange(3000) % 1500 - 7, ["more than 1000 distinct labels, from -7 to 1492", "from 0"]),
        ([f"class {row % 1500}" for row in range(3000)], ["more than 1000 distinct labels", "merge"]),
    ],
)
@pytest.mark.parametrize("hyperparameters", [BINARY, THREE])
def test_more_labels_than_can_be_listed_are_an_error(
    labels: ArrayLike, parts: list[str], hyperparameters: Hyperparameters
) -> None:
    table = {"pay": labels, "score": np.random.default_rng(0).normal(size=3000)}
    check(find(make_profile(table), hyperparameters=hyperparameters), "error", "column 'pay'", *parts)


def test_more_than_1000_classes_are_accepted() -> None:
    table = {"pay": np.arange(3000) % 1500, "score": np.random.default_rng(0).normal(size=3000)}
    many = Hyperparameters(predictor_type="multiclass_classifier", num_classes=1500)
    assert find(make_profile(table), hyperparameters=many) == ()


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


def test_more_classes_than_the_table_has_are_a_warning() -> None:
    many = Hyperparameters(predictor_type="multiclass_classifier", num_classes=1_000_000)
    parts = "only 3 distinct labels, 0, 1 and 3", "num_classes is 1000000", "Set num_classes to 3"
    check(problems_of(classes(0, 1, 3), many), "warning", *parts)


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
    repeated = ",".join(f"x{index}" for index in range(21, 41))
    check(problems_of(columns), "warning", "columns 'x21', 'x22'", "columns 'x1', 'x2'", "Keep one", repeated)


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
    check(
        problems_of({name: NUMBERS.integers(0, 50, ROWS)}),
        "warning",
        f"column '{name}'",
        "id",
        f"--dataset.categorical {name}.",
        f"--dataset.ignore {name}",
    )


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
    assert problems_of({"extra": CLEAN["score"]}, Hyperparameters(feature_dim=2), left_out=["extra"]) == ()


def test_a_table_without_features_is_an_error() -> None:
    check(problems_of({}, left_out=["age", "score"]), "error", "the table", "no feature", "'pay'", "ignore fewer")


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


TEXTS = st.sampled_from(["Ulm", "1", "$5", "0,5", "-", "2024-01-31", "true", "a" * 80])
OPTIONS = st.fixed_dictionaries(
    {"features": st.sampled_from(["auto", "numeric"]), "categorical": st.lists(NAMES, max_size=2).map(tuple)}
)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    rows = draw(st.integers(0, 30))
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    columns: dict[str, ArrayLike] = {
        name: draw(st.lists(draw(st.sampled_from([CELLS, CELLS, TEXTS])), min_size=rows, max_size=rows))
        for name in names
    }
    if draw(st.booleans()):
        columns[names[-1]] = [*map(float, range(rows))]
    return make_profile(columns, draw(st.sampled_from(names)))


@given(
    profiles(), st.dictionaries(st.sampled_from([*CHANNELS]), st.integers(0, 50)), st.sampled_from(PREDICTORS), OPTIONS
)
def test_every_table_can_be_checked(
    profile: Profile, rows: dict[str, int], hyperparameters: Hyperparameters, options: dict[str, Any]
) -> None:
    for left_out in ((), tuple(column.name for column in profile.columns[:2])):
        findings = find(profile, rows, hyperparameters, left_out=left_out, **options)
        for finding in findings:
            assert_complete(finding)
        assert [finding.level for finding in findings] == sorted(finding.level for finding in findings)
