"""The report has the verdict first and then its reasons, with rounded numbers and escaped names."""

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
from aws.registry import ApprovalStatus
from aws.training.submission import Submission
from linear_learner.model import PredictorType
from tasks.data.numbers import format_number, format_share
from tasks.data.profile_report import escape_markdown
from tasks.data.source import Source, TablePart
from tasks.evaluation.results import Evaluation, GateOutcome, Improvement, Metric, Verdict
from tasks.model_report.document import metrics_table, render_page, render_report
from tasks.model_report.effects import MAX_EFFECTS, ReportFigures
from tasks.parameters import Split
from tasks.register import Registered
from tasks.split import Rows
from tests.tasks.model_report.conftest import JOB, PLOTS, Case, MakeCase, finding

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
    "Metrics",
    "Plots",
    "Feature effects",
    "Training",
    "Data",
    "Split",
    "Cost",
    "How to reproduce",
]
DOT = "data:image/png;base64,iVBORw0KGgo="


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, header first, as rendered from markdown."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level == 4:  # of a cell
            found[-1][-1].append("".join(part.content for part in token.children or []))
    return found


def render_html(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sections_are_in_order_with_the_verdict_first(make_case: MakeCase, kind: PredictorType) -> None:
    text = make_case(kind).report({"effects": DOT})
    assert re.findall("^## (.*)$", text, re.MULTILINE) == TITLES
    uri, name = "s3://people-data/output/transformed\\_data.csv", kind.replace("_", " ")
    title = f"# Linear Learner predicts bonus\n\nModel {JOB}, a {name}, trained on {uri} at 2026-01-01 00:00 UTC."
    assert text.startswith(title)
    verdict = (
        "✔ **Promoted: the model passed the gate; it waits for approval before it is used.** This model: RMSE 1,843."
    )
    assert section(text, "Verdict").startswith(f"\n{verdict}")


def test_the_title_links_to_the_run(make_case: MakeCase) -> None:
    case, url = make_case(), "http://127.0.0.1:4200/runs/flow-run/5f0c"
    figures = ReportFigures(effects=case.effects(), closed_form=None, plots={})
    text = render_report(case.run, case.champion, case.workspace, figures, url)
    assert f"[This run in Prefect]({url})" in text
    parser = PageParser()
    parser.feed(render_page(text, "x", url))
    assert parser.references == [url]


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        ("first model", None, "✔ **First model: the model passed the gate; it may be used.**"),
        ("unchanged", "Approved", "✔ **Unchanged: the model passed the gate and is approved; it may be used.**"),
        (
            "promoted",
            "Rejected",
            "✘ **Promoted: the model passed the gate, but is rejected in the registry; do not use",
        ),
        ("no better than the baseline", None, "✘ **No better than the baseline: the model did not pass the gate; do"),
        (
            "no better than the champion",
            "Approved",
            "✘ **No better than the champion: the model did not pass the gate; do not use it, although",
        ),
    ],
)
def test_the_verdict_states_whether_the_model_may_be_used(
    make_case: MakeCase, outcome: GateOutcome, status: ApprovalStatus | None, expected: str
) -> None:
    registered = Registered(arn="arn", group="bonus", version=3, status=status) if status else None
    verdict = Verdict(outcome=outcome, headline="A line", reason="A reason | with a bar.")
    text = section(make_case().change(verdict=verdict, registered=registered).report(), "Verdict")
    assert text.strip().startswith(expected)
    assert f"** {escape_markdown('A reason | with a bar.')}" in text


def test_the_next_step_after_a_model_that_waits_is_its_approval(make_case: MakeCase) -> None:
    text = section(make_case().report(), "Verdict")
    assert "**Next:** Look at the worst rows and the plots, and approve version 3." in text
    assert "`python -m flows.models approve linear-learner-bonus" in text
    assert "The check of the data found 1 warning, listed under Data." in text


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_has_the_only_table_of_all_metrics_with_the_gate_metric_first(
    make_case: MakeCase, kind: PredictorType
) -> None:
    case = make_case(kind)
    evaluation = case.run.evaluation
    [[header, first, *rest]] = tables(section(case.report(), "Verdict"))
    assert header == ["metric", "this model", "95 % interval", "baseline", "champion"]
    assert "the gate metric" in first[0]
    gate, change = evaluation[evaluation.gate_metric], evaluation.over_baseline
    assert change is not None
    assert first[1:] == [
        format_number(gate.value),
        f"{format_number(gate.low)} to {format_number(gate.high)}",
        format_number(gate.baseline),
        format_number(gate.champion),
    ]
    assert ["compared with the best constant", str(change), change.interval, "", ""] == rest[0]
    assert len(rest) == len(evaluation.metrics) + 1
    assert sum(table[0] == header for table in tables(case.report())) == 1
    assert any("F1 (macro average)" in row[0] for row in rest) == (kind == "multiclass_classifier")


def test_no_change_of_the_error_is_negative(make_case: MakeCase) -> None:
    worse = Improvement(value=-3.64, low=-3.9, high=-3.4)
    text = make_case().change_evaluation(over_champion=worse).report()
    assert "| compared with the champion | **364 % more error** | 340 to 390 % more |" in text


def test_the_worst_rows_of_a_regressor_are_listed(make_case: MakeCase) -> None:
    case = make_case()
    [table] = [one for one in tables(case.report()) if one[0][0] == "row"]
    residuals = case.labels - case.predictions.scores
    worst = np.argsort(-np.abs(residuals), kind="stable")[:20]
    assert [row[0] for row in table[1:]] == [str(index) for index in worst]
    assert [row[3] for row in table[1:]] == [format_number(float(residuals[index])) for index in worst]


def test_a_row_of_several_files_is_named_by_its_file(make_case: MakeCase) -> None:
    parts = tuple(TablePart(uri=f"s3://b/t/{name}.csv", size=1, etag="e") for name in "ab")
    source = Source(uri="s3://b/t", parts=parts)
    table = make_case().run.table.model_copy(update={"source": source, "part_rows": (3, 2000)})
    assert [table.name_row(index) for index in (0, 2, 3, 1500)] == ["a.csv: 1", "a.csv: 3", "b.csv: 1", "b.csv: 1,498"]


@pytest.mark.parametrize("kind", ["binary_classifier", "multiclass_classifier"])
def test_the_most_confident_mistakes_of_a_classifier_are_listed(make_case: MakeCase, kind: PredictorType) -> None:
    case = make_case(kind)
    [table] = [one for one in tables(case.report()) if one[0][0] == "row"]
    labels, scores = case.predictions.labels, case.predictions.scores
    assert labels is not None
    for row, actual, predicted, score in table[1:]:
        assert (int(actual), int(predicted)) == (case.labels[int(row)], labels[int(row)])
        assert actual != predicted
        of_classes = scores[int(row)] if scores.ndim == 2 else np.array([1 - scores[int(row)], scores[int(row)]])
        assert score == format_number(float(of_classes.astype(np.float64)[int(predicted)]))
    certain = [float(row[3]) for row in table[1:]]
    assert certain == sorted(certain, reverse=True)


def test_tables_of_a_page_have_captions_scopes_and_a_box_that_scrolls(make_case: MakeCase) -> None:
    text = make_case("multiclass_classifier").report()
    html, count = render_page(text, "x"), len(tables(text))
    boxes = re.findall('<div class="table" role="region" tabindex="0" aria-label="[^"]{8,}">', html)
    assert (len(boxes), html.count("<table>"), html.count("<caption>")) == (count, count, count)
    assert html.count('<th scope="row"') == html.count("<tr>") - count
    assert "<main>" in html


def test_nominal_labels_have_no_correlation(make_case: MakeCase) -> None:
    for kind, expected in (("regressor", True), ("multiclass_classifier", False)):
        header = next(one[0] for one in tables(make_case(kind).report()) if one[0][:2] == ["column", "kind"])
        assert ("correlation" in header) == expected


def test_without_a_champion_there_is_no_column_for_it(make_case: MakeCase) -> None:
    case = make_case().change_metrics(champion=None)
    text = replace(case, champion=None).report()
    assert "There is no other champion to compare it with." in text
    assert all("champion" not in header for header, *_ in tables(text))


def test_the_reason_why_the_champion_cannot_be_compared_is_reported(make_case: MakeCase) -> None:
    case = make_case().change_evaluation(champion_objection="it uses the column 'age'", over_champion=None)
    assert "The champion cannot be compared on these rows: it uses the column 'age'" in section(
        case.report(), "Metrics"
    )


@pytest.mark.parametrize(("checksum", "optimistic"), [("c0ffee", False), ("other", True)])
def test_a_champion_that_may_be_trained_on_the_test_rows_is_reported(
    make_case: MakeCase, checksum: str, optimistic: bool
) -> None:
    case = make_case()
    assert case.champion is not None
    champion = case.champion.model_copy(update={"metadata": {"sha256:test": checksum}})
    text = section(replace(case, champion=champion).report(), "Metrics")
    assert "The champion is version 2, linear-learner-bonus-11d0e2b4." in text
    assert ("could then be too optimistic" in text) == optimistic


def test_undefined_metrics_are_dashes(make_case: MakeCase) -> None:
    case = make_case("binary_classifier").change_metrics(value=None, low=None, high=None, baseline=None)
    [_, first, *_] = tables(section(case.report(), "Verdict"))[0]
    assert first[1:4] == ["–", "–", "–"]  # noqa: RUF001 - a dash, not a minus


def test_every_metric_is_a_row_of_the_table_artifact(make_case: MakeCase) -> None:
    evaluation = make_case("binary_classifier").run.evaluation
    undefined = Metric(name="roc_auc", value=None, low=None, high=None, baseline=float("nan"), champion=1 / 3)
    rows = metrics_table(evaluation.model_copy(update={"metrics": (*evaluation.metrics, undefined)}))
    assert [row["metric"] for row in rows][:2] == ["accuracy", "balanced accuracy"]
    assert rows[0]["this model"] == pytest.approx(evaluation.value("accuracy"), abs=1e-5)
    assert list(rows[-1].values()) == ["ROC-AUC", None, "–", None, 0.33333]  # noqa: RUF001 - a dash, not a minus


@pytest.mark.parametrize(
    ("figure", "expected"),
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
def test_numbers_are_rounded(figure: float | None, expected: str) -> None:
    assert format_number(figure) == expected


@given(st.floats(-1e300, 1e300))
def test_a_rounded_number_is_close_to_the_number(figure: float) -> None:
    assert float(format_number(figure).replace(",", "")) == pytest.approx(figure, rel=1e-3)


def test_shares_are_in_per_cent() -> None:
    assert [format_share(part) for part in (0.409, 1.0, -12.5, None)] == ["40.9 %", "100 %", "-1,250 %", "–"]  # noqa: RUF001


def test_effects_are_sorted_by_the_change_per_standard_deviation(make_case: MakeCase) -> None:
    case = make_case()
    found = case.effects().listed
    spreads = {column.name: column.std or 0.0 for column in case.run.table.profile.columns}
    for effect in found:
        assert effect.size == pytest.approx(effect.coefficients[effect.column] * spreads[effect.column])
    sizes = [abs(one.size or 0) for one in found]
    assert sizes == sorted(sizes, reverse=True)
    coefficients = case.model.coefficients()
    assert [one.column for one in found] != sorted(coefficients, key=lambda name: -abs(coefficients[name]))


def test_effects_of_a_multiclass_model_are_sorted_by_the_class_that_changes_most(make_case: MakeCase) -> None:
    case = make_case("multiclass_classifier")
    for effect in case.effects().listed:
        assert abs(effect.size or 0) == max(abs(size or 0) for size in effect.sizes)
    strongest, by_class = tables(section(case.report(), "Feature effects"))
    assert strongest[0] == ["column", "class", "coefficient", "effect"]
    assert by_class[0] == ["column", "0", "1", "2", "3", "4"]
    assert strongest[1][3] == by_class[1][1 + int(strongest[1][1])]


def test_features_with_unknown_standard_deviation_are_last(make_case: MakeCase) -> None:
    case = make_case()
    weights = np.append(case.model.weights, [[1e6]], axis=0).astype(np.float32)
    model = replace(case.model, weights=weights, feature_names=(*(case.model.feature_names or ()), "unknown"))
    [table] = tables(section(replace(case, model=model).report(), "Feature effects"))
    assert table[-1] == ["unknown", "1,000,000", "–"]  # noqa: RUF001 - a dash, not a minus


def test_only_the_features_with_the_largest_effects_are_listed(make_case: MakeCase) -> None:
    text = section(make_case(names=tuple(f"x{index}" for index in range(70))).report(), "Feature effects")
    assert len(tables(text)[0]) == MAX_EFFECTS + 1
    assert "\n\nand 50 more columns\n\n" in text


def test_the_threshold_of_a_binary_classifier_is_reported(make_case: MakeCase) -> None:
    text = make_case("binary_classifier").report()
    assert "Threshold: 0.4000; a row with at least this score is predicted as 1." in text
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


def test_only_the_classes_with_most_rows_are_listed(make_case: MakeCase) -> None:
    case = make_case("multiclass_classifier", classes=60)
    [listed] = [one for one in tables(case.report()) if one[0][:2] == ["class", "rows"]]
    rows = sorted((one.rows for one in case.run.evaluation.classes), reverse=True)
    assert sorted((int(row[1]) for row in listed[1:]), reverse=True) == rows[:50]
    assert "and 10 more classes" in case.report()


def test_the_training_and_the_effect_of_early_stopping_are_described(make_case: MakeCase) -> None:
    text = " ".join(section(make_case().report(), "Training").split())
    assert "32 models in parallel, 15 epochs, minimising mse. Training stopped early" in text
    assert "Saved model: model 7 at epoch 10." in text
    assert "**Early stopping discarded an improvement of 0.933 %**: epoch 11 had 0.3687." in text
    assert ["learning_rate", "0.1000"] in tables(make_case().report())[-5]


def test_no_improvement_is_discarded_if_the_best_epoch_is_saved(make_case: MakeCase) -> None:
    case = make_case()
    best_saved = case.summary.model_copy(update={"best_epoch": 9, "best_value": case.summary.saved_value})
    assert "Early stopping discarded no improvement" in case.change_log(best_saved).report()
    unknown = {
        "best_value": None,
        "saved_epoch": None,
        "throughput": None,
        "objective": None,
        "best_hyperparameters": {},
    }
    assert "discarded" not in case.change_log(case.summary.model_copy(update=unknown)).report()


def test_the_reason_for_a_missing_log_is_reported(make_case: MakeCase) -> None:
    reused = Submission(name="job", arn="arn", how="reused")
    text = make_case().change_log(None, "it was deleted").change(submission=reused).report()
    assert "had been completed before and was reused. There is no summary of its log: it was deleted" in text
    assert "0 USD; reuse saved" in section(text, "Cost")


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (Split(), "At random; seed 42."),
        (Split(method="stratified"), "the same shares of every value of bonus in each set; seed 42."),
        (
            Split(method="time", column="day"),
            "the earliest rows by day are for training, the latest for the test; seed 42.",
        ),
        (Split(method="group", column="customer"), "rows with the same customer are in the same set; seed 42."),
    ],
)
def test_the_split_is_described(make_case: MakeCase, split: Split, expected: str) -> None:
    rows = Rows(train=28_000, validation=8_040, test=3_960, parameters=split)
    text = section(make_case().change(rows=rows).report(), "Split")
    assert expected in " ".join(text.split())
    assert tables(text)[0][1:] == [
        ["train", "28,000", "70.0 %"],
        ["validation", "8,040", "20.1 %"],
        ["test", "3,960", "9.90 %"],
    ]


def test_a_slice_that_is_no_better_than_the_baseline_is_bold(make_case: MakeCase) -> None:
    case = make_case()
    slices = case.run.evaluation.slices
    poor = slices[0].model_copy(update={"metrics": {**slices[0].metrics, "rmse": 4_000.0}})
    text = section(case.change_evaluation(slices=(poor, *slices[1:])).report(), "Metrics")
    assert "Metrics by town;" in text
    assert "| **Zürich** |" in text
    assert "| Bern |" in text


def test_warnings_of_the_data_are_listed(make_case: MakeCase) -> None:
    assert "The check of the data found **1 warning**:\n\n- column 'age'" in make_case().report()
    assert "found no warnings." in make_case().with_warnings().report()


def test_plots_are_in_order_with_captions(make_case: MakeCase) -> None:
    text = section(make_case().report({"effects": DOT, "learning-curve": DOT}), "Plots")
    assert re.findall(r"!\[(.*)\]", text) == [
        "Largest effects: What effects shows",
        "Learning curve: What learning-curve shows",
    ]
    assert f"![Largest effects: What effects shows]({DOT})\n\n*The change of the prediction when" in text
    assert "## Plots" not in make_case().report()


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_is_shown(make_case: MakeCase, kind: PredictorType) -> None:
    plots = {name: f"{DOT}#{name}" for name in PLOTS[kind]}
    images = re.findall(r"!\[.*\]\((.*)\)", make_case(kind).report(plots))
    assert sorted(images) == sorted(plots.values())


def rename_everything(case: Case, name: str) -> Case:
    """The case with `name` in place of every name."""
    run = case.run
    slices = tuple(one.model_copy(update={"value": name}) for one in run.evaluation.slices)
    columns = tuple(one.model_copy(update={"name": name or "-"}) for one in run.table.profile.columns[1:])
    target = run.table.profile.columns[0].model_copy(update={"name": name})
    profile = run.table.profile.model_copy(update={"target": name, "columns": (target, *columns)})
    log = case.summary.model_copy(
        update={"objective": name or "o", "criterion": name, "best_hyperparameters": {"optimizer": name}}
    )
    renamed = case.change_evaluation(slices=slices, slice_by=name).change_log(log)
    return replace(
        renamed.change(
            table=run.table.model_copy(update={"source": Source(uri=name, parts=()), "profile": profile}),
            job=renamed.run.job.model_copy(
                update={"name": name, "bill": run.job.bill.model_copy(update={"instance_type": name})}
            ),
            uploaded=run.uploaded.model_copy(update={"features": (name, *run.uploaded.features[1:])}),
            checked=run.checked.model_copy(update={"findings": (finding(f"column {name}"),)}),
            verdict=run.verdict.model_copy(update={"reason": name}),
            registered=run.registered and run.registered.model_copy(update={"group": name}),
        ),
        champion=case.champion and case.champion.model_copy(update={"training_job": name or "job"}),
        model=replace(case.model, feature_names=(name, *(case.model.feature_names or ())[1:])),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_escaped_in_the_report_and_the_page(make_case: MakeCase, kind: PredictorType, name: str) -> None:
    case = make_case(kind)
    text, plain = rename_everything(case, name).report(), rename_everything(case, "plain").report()
    html = render_html(text)
    assert "<script" not in html
    assert "<a " not in html
    assert "<img" not in html
    assert [[len(row) for row in table] for table in tables(text)] == [
        [len(row) for row in table] for table in tables(plain)
    ]
    assert html.count("<h2>") == render_html(plain).count("<h2>")
    parser = PageParser()
    parser.feed(render_page(text, name))
    assert (parser.open, parser.references) == ([], [])
    assert "script" not in parser.names


@pytest.mark.parametrize("uri", ["s3://b/a```b", "s3://b/`````\n```\n# x", "s3://b/x | <script>"])
def test_the_command_is_one_code_block(make_case: MakeCase, uri: str) -> None:
    case = make_case()
    case = case.change(recorded=case.run.recorded.model_copy(update={"uri": uri}))
    [block] = list(MarkdownIt().parse(section(case.report(), "How to reproduce")))
    expected = uri.replace("\n", " ")
    assert block.content == f"python -m flows.train --from-run {expected} --workspace aws\n"


class PageParser(HTMLParser):
    """Collect the elements, references and unclosed elements of a page; reject wrongly nested elements."""

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
def test_the_page_is_self_contained(make_case: MakeCase, kind: PredictorType) -> None:
    parser = PageParser()
    html = render_page(make_case(kind).report({"effects": DOT}), "Model <of> bonus")
    parser.feed(html)
    assert html.startswith("<!doctype html>")
    assert parser.open == []
    assert parser.references == [DOT]
    assert parser.names >= {"table", "h2", "img", "pre", "style"}
    assert "script" not in parser.names
    assert "url(" not in html
    assert "@import" not in html
    assert "<title>Model &lt;of&gt; bonus</title>" in html
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("link", ["![x](http://a.b/c.png)", "[x](javascript:alert(1))", "<http://a.b>", "<b>x</b>"])
def test_the_page_has_no_links_and_no_external_images(link: str) -> None:
    parser = PageParser()
    parser.feed(render_page(link, "x"))
    assert parser.references == []
    assert not parser.names & {"a", "img", "b"}


def test_the_templates_are_installed_with_the_package() -> None:
    root = Path(tasks.__path__[0]).parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    templates = [path.relative_to(root) for path in (root / "tasks").rglob("*.j2")]
    assert len(templates) == 2
    for path in templates:
        assert any(path.match(pattern) for pattern in patterns[".".join(path.parent.parts)])


def test_an_evaluation_stored_as_json_gives_the_same_report(make_case: MakeCase) -> None:
    for case in (make_case(), make_case("multiclass_classifier")):
        restored = Evaluation.model_validate_json(case.run.evaluation.model_dump_json())
        assert case.change(evaluation=restored).report() == case.report()
