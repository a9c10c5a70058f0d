"""A report says first whether the model may be used, then why, in figures for people; no name can break it."""

import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import tasks
from aws.training.submission import Submission
from linear_learner.model import PredictorType
from tasks.data.profile_report import escape_markdown
from tasks.data.source import Source
from tasks.evaluation.numbers import format_number, format_share
from tasks.evaluation.results import Evaluation, GateOutcome, Metric, Verdict
from tasks.model_report.document import MAX_FEATURES, metrics_table, render_page
from tasks.model_report.effects import compute_effects
from tasks.parameters import Split
from tasks.record import Recorded
from tasks.split import Rows
from tests.linear_learner.formats.files import write_archive
from tests.tasks.model_report.conftest import Case, MakeCase, finding

KINDS: tuple[PredictorType, ...] = ("regressor", "binary_classifier", "multiclass_classifier")
HOSTILE = (
    "a|b",
    "# a",
    "- a",
    "`code`",
    "<script>alert(1)</script>",
    "$x$",
    "a\nb",
    "🦆🦆",
    "راتب",
    "[a](http://x.y)",
    "x" * 999,
    " ",
    "",
)
TITLES = [
    "Verdict",
    "How good it is",
    "Plots",
    "What decides",
    "What was trained",
    "Data",
    "Split",
    "Cost",
    "How to reproduce",
]
DOT = "data:image/png;base64,iVBORw0KGgo="


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows of cells, its header first, as a reader of markdown sees them."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level == 4:  # of a cell
            found[-1][-1].append("".join(part.content for part in token.children or []))
    return found


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


@pytest.mark.parametrize("kind", KINDS)
def test_sections_stand_in_order_the_verdict_first(make_case: MakeCase, kind: PredictorType) -> None:
    text = make_case(kind).report({"effects": DOT})
    assert re.findall("^## (.*)$", text, re.MULTILINE) == TITLES
    assert text.startswith("## Verdict\n\n✔ **Promoted: may be used.** RMSE 1,843 is 8.7 % below")


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ("first model", "✔ **First model: may be used.**"),
        ("no better than the baseline", "✘ **No better than the baseline: not to be used.**"),
        ("no better than the champion", "✘ **No better than the champion: not to be used.**"),
    ],
)
def test_the_verdict_says_whether_the_model_may_be_used(make_case: MakeCase, outcome: GateOutcome, shown: str) -> None:
    text = make_case().change(verdict=Verdict(outcome=outcome, reason="Because | so.")).report()
    assert f"{shown} {escape_markdown('Because | so.')}" in section(text, "Verdict")


@pytest.mark.parametrize("kind", KINDS)
def test_what_matters_is_three_to_five_rows_under_the_verdict(make_case: MakeCase, kind: PredictorType) -> None:
    case = make_case(kind)
    evaluation = case.run.evaluation
    [[header, first, *rest]] = tables(section(case.report(), "Verdict"))
    assert header == ["", "this model", "95 % interval", "baseline", "champion"]
    assert "which decides" in first[0]
    gate, gain = evaluation[evaluation.gate_metric], evaluation.over_baseline
    assert gain is not None
    assert first[1:] == [
        format_number(gate.value),
        f"{format_number(gate.low)} to {format_number(gate.high)}",
        format_number(gate.baseline),
        format_number(gate.champion),
    ]
    assert 3 <= 1 + len(rest) <= 5
    interval = f"{format_share(gain.low)} to {format_share(gain.high)}"
    assert ["Share of the baseline's error that is gone", format_share(gain.value), interval, "", ""] in rest


def test_without_a_champion_there_is_no_column_for_it(make_case: MakeCase) -> None:
    case = make_case().change_metrics(champion=None)
    text = replace(case, champion=None).report()
    assert "There is no other champion to compare it with." in text
    assert all("champion" not in header for header, *_ in tables(text))


def test_why_the_champion_cannot_be_compared_is_said(make_case: MakeCase) -> None:
    case = make_case().change_evaluation(champion_objection="it wants the column 'age'", over_champion=None)
    assert "It cannot be compared on these rows: it wants the column 'age'" in section(case.report(), "How good it is")


@pytest.mark.parametrize(("checksum", "flattered"), [("c0ffee", False), ("other", True)])
def test_a_champion_that_may_know_the_test_rows_is_said_to_be_flattered(
    make_case: MakeCase, checksum: str, flattered: bool
) -> None:
    case = make_case()
    assert case.champion is not None
    champion = case.champion.model_copy(update={"metadata": {"sha256:test": checksum}})
    text = section(replace(case, champion=champion).report(), "How good it is")
    assert "The champion is version 2, linear-learner-bonus-11d0e2b4." in text
    assert ("would flatter it" in text) == flattered


def test_figures_that_are_not_defined_are_dashes(make_case: MakeCase) -> None:
    case = make_case("binary_classifier").change_metrics(value=None, low=None, high=None, baseline=None)
    [_, first, *_] = tables(section(case.report(), "How good it is"))[0]
    assert first[1:4] == ["–", "–", "–"]  # noqa: RUF001 - a dash, not a minus


def test_every_metric_is_a_row_of_the_table_artifact(make_case: MakeCase) -> None:
    evaluation = make_case("binary_classifier").run.evaluation
    odd = Metric(name="roc_auc", value=None, low=None, high=None, baseline=float("nan"), champion=1 / 3)
    rows = metrics_table(evaluation.model_copy(update={"metrics": (*evaluation.metrics, odd)}))
    assert [row["metric"] for row in rows][:2] == ["accuracy", "balanced accuracy"]
    assert rows[0]["this model"] == pytest.approx(evaluation.value("accuracy"), abs=1e-5)
    assert list(rows[-1].values()) == ["ROC-AUC", None, "–", None, 0.33333]  # noqa: RUF001 - a dash, not a minus


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (None, "–"),  # noqa: RUF001 - a dash, not a minus
        (float("nan"), "–"),  # noqa: RUF001 - a dash, not a minus
        (0.0, "0"),
        (0.91374, "0.9137"),
        (0.9, "0.9000"),
        (12.3456, "12.35"),
        (-1843.27, "-1,843"),
        (1_234_567.0, "1,234,567"),
        (1_234_567.8, "1,234,568"),
        (5.0, "5.000"),
        (2.5e-7, "2.500e-07"),
        (3e30, "3.000e+30"),
    ],
)
def test_figures_are_rounded_for_people(figure: float | None, shown: str) -> None:
    assert format_number(figure) == shown


@given(st.floats(-1e300, 1e300))
def test_a_rounded_figure_is_near_the_figure(figure: float) -> None:
    assert float(format_number(figure).replace(",", "")) == pytest.approx(figure, rel=1e-3)


def test_shares_are_in_per_cent() -> None:
    assert [format_share(part) for part in (0.409, 1.0, -12.5, None)] == ["40.9 %", "100 %", "-1,250 %", "–"]  # noqa: RUF001


def test_the_largest_effect_is_that_of_a_standard_deviation_not_of_a_unit(make_case: MakeCase) -> None:
    case = make_case()
    found = compute_effects(case.model, case.run.table.profile)
    spreads = {column.name: column.std or 0.0 for column in case.run.table.profile.columns}
    for effect in found:
        assert effect.size == pytest.approx(effect.coefficients[0] * spreads[effect.feature])
    assert [abs(one.size) for one in found] == sorted((abs(one.size) for one in found), reverse=True)
    coefficients = case.model.coefficients()
    assert [one.feature for one in found] != sorted(coefficients, key=lambda name: -abs(coefficients[name]))


def test_of_a_multiclass_the_class_that_changes_most_decides_the_order(make_case: MakeCase) -> None:
    case = make_case("multiclass_classifier")
    for effect in compute_effects(case.model, case.run.table.profile):
        assert abs(effect.size) == max(abs(size) for size in effect.sizes)
    strongest, by_class = tables(section(case.report(), "What decides"))
    assert strongest[0] == ["feature", "class", "coefficient", "effect"]
    assert by_class[0] == ["feature", "0", "1", "2", "3", "4"]
    assert strongest[1][3] == by_class[1][1 + int(strongest[1][1])]


def test_features_without_a_known_spread_come_last_without_an_effect(make_case: MakeCase) -> None:
    case = make_case()
    weights = np.append(case.model.weights, [[1e6]], axis=0).astype(np.float32)
    model = replace(case.model, weights=weights, feature_names=(*(case.model.feature_names or ()), "stranger"))
    write_archive(model, case.run.model.path)
    uploaded = case.run.uploaded.model_copy(update={"features": model.feature_names})
    [table] = tables(section(case.change(uploaded=uploaded).report(), "What decides"))
    assert table[-1] == ["stranger", "1,000,000", "–"]  # noqa: RUF001 - a dash, not a minus


def test_of_very_many_features_those_with_the_largest_effects_are_listed(make_case: MakeCase) -> None:
    text = section(make_case(names=tuple(f"x{index}" for index in range(70))).report(), "What decides")
    assert len(tables(text)[0]) == MAX_FEATURES + 1
    assert "\n\nand 50 more\n\n" in text


def test_a_binary_classifier_s_threshold_is_reported(make_case: MakeCase) -> None:
    text = make_case("binary_classifier").report()
    assert "Threshold: 0.4000; a row whose score is at least that is labelled 1." in text
    assert "Threshold" not in make_case("regressor").report()


def test_residuals_and_confusion_are_tables(make_case: MakeCase) -> None:
    regressor, multiclass = make_case(), make_case("multiclass_classifier")
    quantiles = regressor.run.evaluation.residual_quantiles
    [residuals] = [one for one in tables(regressor.report()) if one[0][0] == "share of rows"]
    assert residuals[0][1:] == ["1 %", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %"]
    assert residuals[1][1:] == [format_number(residual) for residual in quantiles.values()]
    [confusion] = [one for one in tables(multiclass.report()) if one[0][0] == "actual"]
    assert [row[1:] for row in confusion[1:]] == [
        [f"{rows:,}" for rows in counts] for counts in multiclass.run.evaluation.confusion
    ]


def test_of_very_many_classes_those_with_most_rows_are_listed(make_case: MakeCase) -> None:
    case = make_case("multiclass_classifier", classes=60)
    [listed] = [one for one in tables(case.report()) if one[0][:2] == ["class", "rows"]]
    rows = sorted((one.rows for one in case.run.evaluation.classes), reverse=True)
    assert sorted((int(row[1]) for row in listed[1:]), reverse=True) == rows[:50]
    assert "and 10 more" in case.report()


def test_what_was_trained_and_what_was_discarded_is_reported_in_words(make_case: MakeCase) -> None:
    text = " ".join(section(make_case().report(), "What was trained").split())
    assert "32 models side by side, 15 epochs, minimising mse. Training stopped early" in text
    assert "Kept: model 7 as it was at epoch 9, the first being 0" in text
    assert "**Early stopping threw away 0.933 %**: epoch 10 had 0.3687." in text
    assert ["learning_rate", "0.1"] in tables(make_case().report())[-4]


def test_where_the_best_epoch_was_retained_nothing_was_discarded(make_case: MakeCase) -> None:
    case = make_case()
    retained = case.summary.model_copy(update={"best_epoch": 9, "best_value": case.summary.saved_value})
    assert "threw nothing away" in case.change_log(retained).report()
    none = {"best_value": None, "saved_epoch": None, "throughput": None, "objective": None, "best_hyperparameters": {}}
    assert "threw" not in case.change_log(case.summary.model_copy(update=none)).report()


def test_without_a_log_the_report_says_why(make_case: MakeCase) -> None:
    reused = Submission(name="job", arn="arn", how="reused")
    text = make_case().change_log(None, "it was deleted").change(submission=reused).report()
    assert "had been done before and was reused. Its log tells no more: it was deleted." in text
    assert "0 USD; reuse saved" in section(text, "Cost")


@pytest.mark.parametrize(
    ("split", "shown"),
    [
        (Split(), "At random; seed 42."),
        (Split(method="stratified"), "the same shares of every value of bonus in each set; seed 42."),
        (Split(method="time", column="day"), "the earliest rows by day train, the latest test; seed 42."),
        (Split(method="group", column="customer"), "rows with the same customer stay together; seed 42."),
    ],
)
def test_the_split_is_described(make_case: MakeCase, split: Split, shown: str) -> None:
    rows = Rows(train=28_000, validation=8_040, test=3_960, parameters=split)
    text = section(make_case().change(rows=rows).report(), "Split")
    assert shown in " ".join(text.split())
    assert tables(text)[0][1:] == [
        ["train", "28,000", "70.0 %"],
        ["validation", "8,040", "20.1 %"],
        ["test", "3,960", "9.90 %"],
    ]


def test_a_slice_that_is_no_better_than_the_baseline_stands_out(make_case: MakeCase) -> None:
    case = make_case()
    slices = case.run.evaluation.slices
    poor = slices[0].model_copy(update={"metrics": {**slices[0].metrics, "rmse": 4_000.0}})
    text = section(case.change_evaluation(slices=(poor, *slices[1:])).report(), "How good it is")
    assert "Slices, by town;" in text
    assert "| **Zürich** |" in text
    assert "| Bern |" in text


def test_warnings_of_the_data_are_listed_and_none_is_said(make_case: MakeCase) -> None:
    assert "**1 warning** of the data's check:\n\n- column 'age'" in make_case().report()
    assert "No warnings." in replace(make_case(), warnings=()).report()


def test_plots_stand_in_order_each_with_what_to_look_for(make_case: MakeCase) -> None:
    text = section(make_case().report({"effects": DOT, "learning-curve": DOT}), "Plots")
    assert re.findall(r"!\[(.*)\]", text) == ["Learning curve", "Largest effects"]
    assert f"![Largest effects]({DOT})\n\n*What one standard deviation more" in text
    assert "## Plots" not in make_case().report()


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_is_shown(make_case: MakeCase, kind: PredictorType) -> None:
    case = make_case(kind)
    plots = case.plots()
    shown = re.findall(r"!\[.*\]\((.*)\)", case.report(plots))
    assert shown == list(plots.values())


def hostile(case: Case, name: str) -> Case:
    """The case with somebody's name wherever there is one."""
    run = case.run
    slices = tuple(one.model_copy(update={"value": name}) for one in run.evaluation.slices)
    columns = tuple(one.model_copy(update={"name": name or "-"}) for one in run.table.profile.columns[1:])
    target = run.table.profile.columns[0].model_copy(update={"name": name})
    profile = run.table.profile.model_copy(update={"target": name, "columns": (target, *columns)})
    hostile_log = case.summary.model_copy(
        update={"objective": name or "o", "criterion": name, "best_hyperparameters": {"optimizer": name}}
    )
    renamed = case.change_evaluation(slices=slices, slice_by=name).change_log(hostile_log)
    return replace(
        renamed.change(
            table=run.table.model_copy(update={"source": Source(uri=name, parts=()), "profile": profile}),
            job=renamed.run.job.model_copy(
                update={"name": name, "bill": run.job.bill.model_copy(update={"instance_type": name})}
            ),
            uploaded=run.uploaded.model_copy(update={"features": (name, *run.uploaded.features[1:])}),
            verdict=run.verdict.model_copy(update={"reason": name}),
            registered=run.registered and run.registered.model_copy(update={"group": name}),
        ),
        champion=case.champion and case.champion.model_copy(update={"training_job": name or "job"}),
        warnings=(finding(f"column {name}"),),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_break_the_report(make_case: MakeCase, kind: PredictorType, name: str) -> None:
    case = make_case(kind)
    text, plain = hostile(case, name).report(), hostile(case, "plain").report()
    html = rendered(text)
    assert "<script" not in html
    assert "<a " not in html
    assert "<img" not in html
    assert [[len(row) for row in table] for table in tables(text)] == [
        [len(row) for row in table] for table in tables(plain)
    ]
    assert html.count("<h2>") == rendered(plain).count("<h2>")
    reader = Strict()
    reader.feed(render_page(text, name))
    assert (reader.open, reader.references) == ([], [])
    assert "script" not in reader.names


@pytest.mark.parametrize("place", ["s3://b/a```b", "s3://b/`````\n```\n# x", "s3://b/x | <script>"])
def test_the_command_is_one_block_whatever_it_holds(make_case: MakeCase, place: str) -> None:
    case = make_case().change(recorded=Recorded(uri=place, path=Path("run.json"), sha256="x"))
    [block] = list(MarkdownIt().parse(section(case.report(), "How to reproduce")))
    shown = place.replace("\n", " ")
    assert block.content == f"python -m flows.train --from-run {shown} --workspace aws\n"


class Strict(HTMLParser):
    """Notes every reference to something outside, and every element that is not closed where it was opened."""

    EMPTY = frozenset({"meta", "img", "br", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_whole_by_itself(make_case: MakeCase, kind: PredictorType) -> None:
    reader = Strict()
    html = render_page(make_case(kind).report({"effects": DOT}), "Model <of> bonus")
    reader.feed(html)
    assert html.startswith("<!doctype html>")
    assert reader.open == []
    assert reader.references == [DOT]
    assert reader.names >= {"table", "h2", "img", "pre", "style"}
    assert "script" not in reader.names
    assert "url(" not in html
    assert "@import" not in html
    assert "<title>Model &lt;of&gt; bonus</title>" in html
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("link", ["![x](http://a.b/c.png)", "[x](javascript:alert(1))", "<http://a.b>", "<b>x</b>"])
def test_the_page_neither_links_nor_fetches(link: str) -> None:
    reader = Strict()
    reader.feed(render_page(link, "x"))
    assert reader.references == []
    assert not reader.names & {"a", "img", "b"}


def test_the_templates_are_installed_with_the_package() -> None:
    root = Path(tasks.__path__[0]).parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    templates = [path.relative_to(root) for path in (root / "tasks").rglob("*.j2")]
    assert len(templates) == 2
    for path in templates:
        assert any(path.match(pattern) for pattern in patterns[".".join(path.parent.parts)])


def test_an_evaluation_survives_json_and_reports_the_same(make_case: MakeCase) -> None:
    for case in (make_case(), make_case("multiclass_classifier")):
        again = Evaluation.model_validate_json(case.run.evaluation.model_dump_json())
        assert case.change(evaluation=again).report() == case.report()
