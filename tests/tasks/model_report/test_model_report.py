"""A report says first whether the model may be used, then why, in figures for people; no name can break it."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from linear_learner.model import PredictorType
from tasks.data.profile_report import escaped
from tasks.evaluation.results import Evaluation, Metric, Outcome, Verdict
from tasks.model_report.context import ReportContext, effects
from tasks.model_report.markdown import CAPTIONS, MAX_FEATURES, report
from tasks.model_report.page import page
from tasks.model_report.tables import metrics_table, number, share
from tasks.parameters import Split

MakeSubject = Callable[..., ReportContext]
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


def with_figures(subject: ReportContext, **figures: float | None) -> ReportContext:
    metrics = tuple(metric.model_copy(update=figures) for metric in subject.evaluation.metrics)
    return replace(subject, evaluation=subject.evaluation.model_copy(update={"metrics": metrics}))


@pytest.mark.parametrize("kind", KINDS)
def test_sections_stand_in_order_the_verdict_first(subject_of: MakeSubject, kind: PredictorType) -> None:
    text = report(subject_of(kind), {"effects": DOT})
    assert re.findall("^## (.*)$", text, re.MULTILINE) == TITLES
    assert text.startswith("## Verdict\n\n✔ **Promoted: may be used.** RMSE 1,843 is 8.7 % below")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("first model", "✔ **First model: may be used.**"),
        ("no better than the baseline", "✘ **No better than the baseline: not to be used.**"),
        ("no better than the champion", "✘ **No better than the champion: not to be used.**"),
    ],
)
def test_the_verdict_says_whether_the_model_may_be_used(subject_of: MakeSubject, outcome: Outcome, said: str) -> None:
    text = report(subject_of(verdict=Verdict(outcome=outcome, reason="Because | so.")), {})
    assert f"{said} {escaped('Because | so.')}" in section(text, "Verdict")


@pytest.mark.parametrize("kind", KINDS)
def test_what_matters_is_three_to_five_rows_under_the_verdict(subject_of: MakeSubject, kind: PredictorType) -> None:
    subject = subject_of(kind)
    [[header, first, *rest]] = tables(section(report(subject, {}), "Verdict"))
    assert header == ["", "this model", "95 % interval", "baseline", "champion"]
    assert "which decides" in first[0]
    gate = subject.evaluation[subject.evaluation.gate_metric]
    assert first[1:] == [
        number(gate.value),
        f"{number(gate.low)} to {number(gate.high)}",
        number(gate.baseline),
        number(gate.champion),
    ]
    assert 3 <= 1 + len(rest) <= 5
    assert ["Share of the baseline's error that is gone", "40.9 %", "38.1 % to 43.2 %", "", ""] in rest


def test_without_a_champion_there_is_no_column_for_it(subject_of: MakeSubject) -> None:
    subject = replace(with_figures(subject_of(), champion=None), champion=None)
    text = report(subject, {})
    assert "There is no other champion to compare it with." in text
    assert all("champion" not in header for header, *_ in tables(text))


def test_why_the_champion_cannot_be_compared_is_said(subject_of: MakeSubject) -> None:
    subject = subject_of()
    objection = {"champion_objection": "it wants the column 'age'", "over_champion": None}
    text = report(replace(subject, evaluation=subject.evaluation.model_copy(update=objection)), {})
    assert "It cannot be compared on these rows: it wants the column 'age'" in section(text, "How good it is")


def test_figures_that_are_not_defined_are_dashes(subject_of: MakeSubject) -> None:
    subject = with_figures(subject_of("binary_classifier"), value=None, low=None, high=None, baseline=None)
    [_, first, *_] = tables(section(report(subject, {}), "How good it is"))[0]
    assert first[1:4] == ["–", "–", "–"]  # noqa: RUF001 - a dash, not a minus


def test_every_metric_is_a_row_of_the_table_artifact(subject_of: MakeSubject) -> None:
    evaluation = subject_of("binary_classifier").evaluation
    odd = Metric(name="roc_auc", value=None, low=None, high=None, baseline=float("nan"), champion=1 / 3)
    rows = metrics_table(evaluation.model_copy(update={"metrics": (*evaluation.metrics, odd)}))
    assert [row["metric"] for row in rows][:2] == ["accuracy", "balanced accuracy"]
    assert rows[0]["this model"] == 0.8712
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
    assert number(figure) == shown


@given(st.floats(-1e300, 1e300))
def test_a_rounded_figure_is_near_the_figure(figure: float) -> None:
    assert float(number(figure).replace(",", "")) == pytest.approx(figure, rel=1e-3)


def test_shares_are_in_per_cent() -> None:
    assert [share(part) for part in (0.409, 1.0, -12.5, None)] == ["40.9 %", "100 %", "-1,250 %", "–"]  # noqa: RUF001


def test_the_largest_effect_is_that_of_a_standard_deviation_not_of_a_unit(subject_of: MakeSubject) -> None:
    subject = subject_of()
    found = effects(subject)
    spreads = {column.name: column.std or 0.0 for column in subject.profile.columns}
    for effect in found:
        assert effect.sizes == pytest.approx([effect.coefficients[0] * spreads[effect.feature]])
    assert [one.largest for one in found] == sorted((one.largest for one in found), reverse=True)
    coefficients = subject.model.coefficients()
    assert found[0].feature != max(coefficients, key=lambda name: abs(coefficients[name]))


def test_of_a_multiclass_the_class_that_changes_most_decides_the_order(subject_of: MakeSubject) -> None:
    subject = subject_of("multiclass_classifier")
    for effect in effects(subject):
        assert effect.sizes is not None
        assert effect.largest == max(abs(size) for size in effect.sizes) == abs(effect.sizes[effect.strongest])
    strongest, by_class = tables(section(report(subject, {}), "What decides"))
    assert strongest[0] == ["feature", "class", "coefficient", "effect"]
    assert by_class[0] == ["feature", "0", "1", "2", "3", "4"]
    assert strongest[1][3] == by_class[1][1 + int(strongest[1][1])]


def test_features_without_a_known_spread_come_last_without_an_effect(subject_of: MakeSubject) -> None:
    subject = subject_of()
    weights = np.append(subject.model.weights, [[1e6]], axis=0).astype(np.float32)
    model = replace(subject.model, weights=weights, feature_names=(*(subject.model.feature_names or ()), "stranger"))
    [table] = tables(section(report(replace(subject, model=model), {}), "What decides"))
    assert table[-1] == ["stranger", "1,000,000", "–"]  # noqa: RUF001 - a dash, not a minus


def test_of_very_many_features_those_with_the_largest_effects_are_listed(subject_of: MakeSubject) -> None:
    text = section(report(subject_of(names=tuple(f"x{index}" for index in range(70))), {}), "What decides")
    assert len(tables(text)[0]) == MAX_FEATURES + 1
    assert "and 50 more" in text


def test_a_binary_classifier_s_threshold_is_reported(subject_of: MakeSubject) -> None:
    text = report(subject_of("binary_classifier"), {})
    assert "Threshold: 0.4000; a row whose score is at least that is labelled 1." in text
    assert "Threshold" not in report(subject_of("regressor"), {})


def test_what_was_trained_and_what_was_discarded_is_reported_in_words(subject_of: MakeSubject) -> None:
    text = section(report(subject_of(), {}), "What was trained")
    assert "32 models side by side, 15 epochs, minimising mse. Training stopped early" in text
    assert "Kept: model 7 as it was at epoch 9, the first being 0" in text
    assert "**Early stopping threw away 0.933 %**: epoch 10 had 0.3687." in text
    assert ["learning_rate", "0.1"] in tables(text)[0]


def test_where_the_best_epoch_was_retained_nothing_was_discarded(subject_of: MakeSubject) -> None:
    summary = subject_of().summary
    assert summary is not None
    retained = summary.model_copy(update={"best_epoch": 9, "best_value": summary.saved_value})
    assert "threw nothing away" in report(subject_of(summary=retained), {})
    unknown = summary.model_copy(
        update={"best_value": None, "saved_epoch": None, "throughput": None, "objective": None}
    )
    assert "threw" not in report(subject_of(summary=unknown), {})


def test_without_a_log_the_report_says_why(subject_of: MakeSubject) -> None:
    text = report(subject_of(summary=None, summary_error="it was deleted", submission="reused"), {})
    assert "had been done before and was reused. Its log tells no more: it was deleted." in text


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Split(), "At random; seed 42."),
        (Split(method="stratified"), "the same shares of every value of bonus in each set; seed 42."),
        (Split(method="time", column="day"), "the earliest rows by day train, the latest test; seed 42."),
        (Split(method="group", column="customer"), "rows with the same customer stay together; seed 42."),
    ],
)
def test_the_split_is_described(subject_of: MakeSubject, split: Split, said: str) -> None:
    text = section(report(subject_of(split=split), {}), "Split")
    assert said in text
    assert tables(text)[0][1:] == [
        ["train", "28,000", "70.0 %"],
        ["validation", "8,040", "20.1 %"],
        ["test", "3,960", "9.90 %"],
    ]


def test_a_slice_that_is_no_better_than_the_baseline_stands_out(subject_of: MakeSubject) -> None:
    subject = subject_of()
    slices = subject.evaluation.slices
    poor = slices[0].model_copy(update={"metrics": {"rmse": 4_000.0}})
    evaluation = subject.evaluation.model_copy(update={"slices": (poor, *slices[1:])})
    text = section(report(replace(subject, evaluation=evaluation, slice_by="town"), {}), "How good it is")
    assert "Slices, by town;" in text
    assert "| **Zürich** |" in text
    assert "| Bern |" in text


def test_warnings_of_the_data_are_listed_and_none_is_said(subject_of: MakeSubject) -> None:
    assert "**1 warning** of the data's check:\n\n- column 'age'" in report(subject_of(), {})
    assert "No warnings." in report(subject_of(warnings=()), {})


def test_plots_stand_in_order_each_with_what_to_look_for(subject_of: MakeSubject) -> None:
    text = section(report(subject_of(), {"effects": DOT, "learning-curve": DOT, "unknown": DOT}), "Plots")
    assert re.findall(r"!\[(.*)\]", text) == ["Learning curve", "Largest effects"]
    assert f"![Largest effects]({DOT})\n\n*{CAPTIONS['effects'][1]}*" in text
    assert "## Plots" not in report(subject_of(), {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_break_the_report(subject_of: MakeSubject, kind: PredictorType, name: str) -> None:
    plain = subject_of(kind)
    slices = tuple(one.model_copy(update={"value": name}) for one in plain.evaluation.slices)
    subject = replace(
        plain,
        target=name,
        source=name,
        registered=name,
        champion=name,
        slice_by=name,
        cost=f"0 USD, {name}",
        warnings=(f"column {name}: odd",),
        job=name,
        model=replace(plain.model, feature_names=(name, *(plain.model.feature_names or ())[1:])),
        evaluation=plain.evaluation.model_copy(update={"slices": slices}),
    )
    text, of_plain = report(subject, {}), report(plain, {})
    html = rendered(text)
    assert "<script" not in html
    assert "<a " not in html
    assert [[len(row) for row in table] for table in tables(text)] == [
        [len(row) for row in table] for table in tables(of_plain)
    ]
    assert html.count("<h2>") == rendered(of_plain).count("<h2>")


@pytest.mark.parametrize("command", ["run --x 'a```b'", "run ````` \n```", "run | x"])
def test_the_command_is_one_block_whatever_it_holds(subject_of: MakeSubject, command: str) -> None:
    text = section(report(subject_of(reproduce=command), {}), "How to reproduce")
    [block] = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
    assert block.content == f"{command}\n"


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
def test_the_page_is_whole_by_itself(subject_of: MakeSubject, kind: PredictorType) -> None:
    reader = Strict()
    html = page(report(subject_of(kind), {"effects": DOT}), "Model <of> bonus")
    reader.feed(html)
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
    reader.feed(page(link, "x"))
    assert reader.references == []
    assert not reader.names & {"a", "img", "b"}


def test_an_evaluation_survives_json_and_reports_the_same(subject_of: MakeSubject) -> None:
    subject = subject_of("multiclass_classifier")
    again = Evaluation.model_validate_json(subject.evaluation.model_dump_json())
    assert report(replace(subject, evaluation=again), {}) == report(subject, {})
