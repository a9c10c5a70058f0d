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
from tasks.data.profile_report import escape_markdown
from tasks.evaluation.results import Evaluation, GateOutcome, Metric, Verdict
from tasks.model_report.context import ReportContext, compute_effects
from tasks.model_report.markdown import MAX_LISTED_FEATURES, metrics_table, render_report
from tasks.model_report.page import render_page
from tasks.model_report.style import CAPTIONS, format_number, format_share
from tasks.parameters import Split

MakeContext = Callable[..., ReportContext]
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


def with_figures(context: ReportContext, **figures: float | None) -> ReportContext:
    metrics = tuple(metric.model_copy(update=figures) for metric in context.evaluation.metrics)
    return replace(context, evaluation=context.evaluation.model_copy(update={"metrics": metrics}))


@pytest.mark.parametrize("kind", KINDS)
def test_sections_stand_in_order_the_verdict_first(context_of: MakeContext, kind: PredictorType) -> None:
    text = render_report(context_of(kind), {"effects": DOT})
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
def test_the_verdict_says_whether_the_model_may_be_used(
    context_of: MakeContext, outcome: GateOutcome, said: str
) -> None:
    text = render_report(context_of(verdict=Verdict(outcome=outcome, reason="Because | so.")), {})
    assert f"{said} {escape_markdown('Because | so.')}" in section(text, "Verdict")


@pytest.mark.parametrize("kind", KINDS)
def test_what_matters_is_three_to_five_rows_under_the_verdict(context_of: MakeContext, kind: PredictorType) -> None:
    context = context_of(kind)
    [[header, first, *rest]] = tables(section(render_report(context, {}), "Verdict"))
    assert header == ["", "this model", "95 % interval", "baseline", "champion"]
    assert "which decides" in first[0]
    gate = context.evaluation[context.evaluation.gate_metric]
    assert first[1:] == [
        format_number(gate.value),
        f"{format_number(gate.low)} to {format_number(gate.high)}",
        format_number(gate.baseline),
        format_number(gate.champion),
    ]
    assert 3 <= 1 + len(rest) <= 5
    assert ["Share of the baseline's error that is gone", "40.9 %", "38.1 % to 43.2 %", "", ""] in rest


def test_without_a_champion_there_is_no_column_for_it(context_of: MakeContext) -> None:
    context = replace(with_figures(context_of(), champion=None), champion=None)
    text = render_report(context, {})
    assert "There is no other champion to compare it with." in text
    assert all("champion" not in header for header, *_ in tables(text))


def test_why_the_champion_cannot_be_compared_is_said(context_of: MakeContext) -> None:
    context = context_of()
    objection = {"champion_objection": "it wants the column 'age'", "over_champion": None}
    text = render_report(replace(context, evaluation=context.evaluation.model_copy(update=objection)), {})
    assert "It cannot be compared on these rows: it wants the column 'age'" in section(text, "How good it is")


def test_figures_that_are_not_defined_are_dashes(context_of: MakeContext) -> None:
    context = with_figures(context_of("binary_classifier"), value=None, low=None, high=None, baseline=None)
    [_, first, *_] = tables(section(render_report(context, {}), "How good it is"))[0]
    assert first[1:4] == ["–", "–", "–"]  # noqa: RUF001 - a dash, not a minus


def test_every_metric_is_a_row_of_the_table_artifact(context_of: MakeContext) -> None:
    evaluation = context_of("binary_classifier").evaluation
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
    assert format_number(figure) == shown


@given(st.floats(-1e300, 1e300))
def test_a_rounded_figure_is_near_the_figure(figure: float) -> None:
    assert float(format_number(figure).replace(",", "")) == pytest.approx(figure, rel=1e-3)


def test_shares_are_in_per_cent() -> None:
    assert [format_share(part) for part in (0.409, 1.0, -12.5, None)] == ["40.9 %", "100 %", "-1,250 %", "–"]  # noqa: RUF001


def test_the_largest_effect_is_that_of_a_standard_deviation_not_of_a_unit(context_of: MakeContext) -> None:
    context = context_of()
    found = compute_effects(context)
    spreads = {column.name: column.std or 0.0 for column in context.profile.columns}
    for effect in found:
        assert effect.sizes == pytest.approx([effect.coefficients[0] * spreads[effect.feature]])
    assert [one.largest for one in found] == sorted((one.largest for one in found), reverse=True)
    coefficients = context.model.coefficients()
    assert found[0].feature != max(coefficients, key=lambda name: abs(coefficients[name]))


def test_of_a_multiclass_the_class_that_changes_most_decides_the_order(context_of: MakeContext) -> None:
    context = context_of("multiclass_classifier")
    for effect in compute_effects(context):
        assert effect.sizes is not None
        assert effect.largest == max(abs(size) for size in effect.sizes) == abs(effect.sizes[effect.strongest])
    strongest, by_class = tables(section(render_report(context, {}), "What decides"))
    assert strongest[0] == ["feature", "class", "coefficient", "effect"]
    assert by_class[0] == ["feature", "0", "1", "2", "3", "4"]
    assert strongest[1][3] == by_class[1][1 + int(strongest[1][1])]


def test_features_without_a_known_spread_come_last_without_an_effect(context_of: MakeContext) -> None:
    context = context_of()
    weights = np.append(context.model.weights, [[1e6]], axis=0).astype(np.float32)
    model = replace(context.model, weights=weights, feature_names=(*(context.model.feature_names or ()), "stranger"))
    [table] = tables(section(render_report(replace(context, model=model), {}), "What decides"))
    assert table[-1] == ["stranger", "1,000,000", "–"]  # noqa: RUF001 - a dash, not a minus


def test_of_very_many_features_those_with_the_largest_effects_are_listed(context_of: MakeContext) -> None:
    text = section(render_report(context_of(names=tuple(f"x{index}" for index in range(70))), {}), "What decides")
    assert len(tables(text)[0]) == MAX_LISTED_FEATURES + 1
    assert "and 50 more" in text


def test_a_binary_classifier_s_threshold_is_reported(context_of: MakeContext) -> None:
    text = render_report(context_of("binary_classifier"), {})
    assert "Threshold: 0.4000; a row whose score is at least that is labelled 1." in text
    assert "Threshold" not in render_report(context_of("regressor"), {})


def test_what_was_trained_and_what_was_discarded_is_reported_in_words(context_of: MakeContext) -> None:
    text = section(render_report(context_of(), {}), "What was trained")
    assert "32 models side by side, 15 epochs, minimising mse. Training stopped early" in text
    assert "Kept: model 7 as it was at epoch 9, the first being 0" in text
    assert "**Early stopping threw away 0.933 %**: epoch 10 had 0.3687." in text
    assert ["learning_rate", "0.1"] in tables(text)[0]


def test_where_the_best_epoch_was_retained_nothing_was_discarded(context_of: MakeContext) -> None:
    summary = context_of().summary
    assert summary is not None
    retained = summary.model_copy(update={"best_epoch": 9, "best_value": summary.saved_value})
    assert "threw nothing away" in render_report(context_of(summary=retained), {})
    unknown = summary.model_copy(
        update={"best_value": None, "saved_epoch": None, "throughput": None, "objective": None}
    )
    assert "threw" not in render_report(context_of(summary=unknown), {})


def test_without_a_log_the_report_says_why(context_of: MakeContext) -> None:
    text = render_report(context_of(summary=None, summary_error="it was deleted", submission="reused"), {})
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
def test_the_split_is_described(context_of: MakeContext, split: Split, said: str) -> None:
    text = section(render_report(context_of(split=split), {}), "Split")
    assert said in text
    assert tables(text)[0][1:] == [
        ["train", "28,000", "70.0 %"],
        ["validation", "8,040", "20.1 %"],
        ["test", "3,960", "9.90 %"],
    ]


def test_a_slice_that_is_no_better_than_the_baseline_stands_out(context_of: MakeContext) -> None:
    context = context_of()
    slices = context.evaluation.slices
    poor = slices[0].model_copy(update={"metrics": {"rmse": 4_000.0}})
    evaluation = context.evaluation.model_copy(update={"slices": (poor, *slices[1:])})
    text = section(render_report(replace(context, evaluation=evaluation, slice_by="town"), {}), "How good it is")
    assert "Slices, by town;" in text
    assert "| **Zürich** |" in text
    assert "| Bern |" in text


def test_warnings_of_the_data_are_listed_and_none_is_said(context_of: MakeContext) -> None:
    assert "**1 warning** of the data's check:\n\n- column 'age'" in render_report(context_of(), {})
    assert "No warnings." in render_report(context_of(warnings=()), {})


def test_plots_stand_in_order_each_with_what_to_look_for(context_of: MakeContext) -> None:
    text = section(render_report(context_of(), {"effects": DOT, "learning-curve": DOT, "unknown": DOT}), "Plots")
    assert re.findall(r"!\[(.*)\]", text) == ["Learning curve", "Largest effects"]
    assert f"![Largest effects]({DOT})\n\n*{CAPTIONS['effects'][1]}*" in text
    assert "## Plots" not in render_report(context_of(), {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_break_the_report(context_of: MakeContext, kind: PredictorType, name: str) -> None:
    plain = context_of(kind)
    slices = tuple(one.model_copy(update={"value": name}) for one in plain.evaluation.slices)
    context = replace(
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
    text, of_plain = render_report(context, {}), render_report(plain, {})
    html = rendered(text)
    assert "<script" not in html
    assert "<a " not in html
    assert [[len(row) for row in table] for table in tables(text)] == [
        [len(row) for row in table] for table in tables(of_plain)
    ]
    assert html.count("<h2>") == rendered(of_plain).count("<h2>")


@pytest.mark.parametrize("command", ["run --x 'a```b'", "run ````` \n```", "run | x"])
def test_the_command_is_one_block_whatever_it_holds(context_of: MakeContext, command: str) -> None:
    text = section(render_report(context_of(reproduce=command), {}), "How to reproduce")
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
def test_the_page_is_whole_by_itself(context_of: MakeContext, kind: PredictorType) -> None:
    reader = Strict()
    html = render_page(render_report(context_of(kind), {"effects": DOT}), "Model <of> bonus")
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
    reader.feed(render_page(link, "x"))
    assert reader.references == []
    assert not reader.names & {"a", "img", "b"}


def test_an_evaluation_survives_json_and_reports_the_same(context_of: MakeContext) -> None:
    context = context_of("multiclass_classifier")
    again = Evaluation.model_validate_json(context.evaluation.model_dump_json())
    assert render_report(replace(context, evaluation=again), {}) == render_report(context, {})
