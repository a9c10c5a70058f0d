"""The report on a model, as markdown: the verdict first, then what it rests on, then how to do it again."""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from linear_learner.logs.training_summary import TrainingSummary
from tasks.data.profile_report import MAX_NAME_LENGTH, columns_table, escape_markdown, labels_table, markdown_table
from tasks.evaluation.results import METRICS, Confusion, Evaluation, Improvement, Metric, MetricName, Slice
from tasks.model_report.context import Effect, ReportContext, compute_effects
from tasks.model_report.style import CAPTIONS, NO_VALUE, format_count, format_number, format_share

MAX_LISTED_FEATURES = 20
"""Features that are listed; of more, those with the largest effects."""
MAX_CLASS_COLUMNS = 10
"""Classes for which effects are shown one by one."""
_SUBMISSIONS = {
    "started": "was started by this run",
    "followed": "was already running and was followed",
    "reused": "had been done before and was reused",
}
MAX_LISTED_CLASSES = 50
"""Classes that are listed; of more, those with most rows."""
MAX_LISTED_SLICES = 50
_SUMMARY_METRICS: dict[str, tuple[MetricName, ...]] = {
    "regressor": ("r2", "mae"),
    "binary_classifier": ("precision", "recall"),
    "multiclass_classifier": ("accuracy", "balanced_accuracy"),
}
"""What is shown at the top, besides the metric that decides."""
_BASELINE = "The baseline is the best constant prediction for these very rows."


def render_report(context: ReportContext, plots: Mapping[str, str]) -> str:
    """The whole report; `plots` are data URLs of PNGs, by the names of CAPTIONS."""
    sections = {
        "Verdict": _verdict(context),
        "How good it is": _quality(context),
        "Plots": _plots(plots),
        "What decides": _effects(context),
        "What was trained": _training(context),
        "Data": _data(context),
        "Split": _split(context),
        "Cost": escape_markdown(context.cost),
        "How to reproduce": _code_block(context.reproduce),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)


def _verdict(context: ReportContext) -> str:
    verdict = context.verdict
    sign, so = ("✔", "may be used") if verdict.passed else ("✘", "not to be used")
    outcome = verdict.outcome.capitalize()
    registered = escape_markdown(context.registered or "not registered")
    return join_paragraphs(
        f"{sign} **{outcome}: {so}.** {escape_markdown(verdict.reason)}",
        f"It predicts {escape_name(context.target)}. Registry: {registered}.",
        _summary_table(context.evaluation),
    )


def _plots(plots: Mapping[str, str]) -> str:
    known = [(plots[name], *texts) for name, texts in CAPTIONS.items() if name in plots]
    return join_paragraphs(*(f"![{title}]({url})\n\n*{caption}*" for url, title, caption in known))


def _effects(context: ReportContext) -> str:
    found = compute_effects(context)
    shown, more = found[:MAX_LISTED_FEATURES], len(found) - MAX_LISTED_FEATURES
    return join_paragraphs(
        f"Effect: what one standard deviation more of a feature does to {_output(context)}, all others unchanged. "
        "Coefficients are per unit of the feature.",
        _effects_table(shown, several=context.model.weights.shape[1] > 1),
        f"and {more:,} more" if more > 0 else "",
        _class_effects_table(shown, context.model.weights.shape[1]),
        _biases(context),
    )


def _output(context: ReportContext) -> str:
    if context.model.predictor_type == "regressor":
        return f"the predicted {escape_name(context.target)}"
    if context.model.predictor_type == "multiclass_classifier":
        return "the score, before softmax, of the class that it changes most"
    return "the log-odds of label 1" if context.model.has_sigmoid else "the distance from the plane between the labels"


def _effects_table(shown: list[Effect], *, several: bool) -> str:
    rows = [
        [
            escape_name(effect.feature),
            *([str(effect.strongest)] if several else []),
            format_number(effect.coefficients[effect.strongest]),
            format_number(effect.sizes[effect.strongest] if effect.sizes else None),
        ]
        for effect in shown
    ]
    return markdown_table(["feature", *(["class"] if several else []), "coefficient", "effect"], rows)


def _class_effects_table(shown: list[Effect], outputs: int) -> str:
    if not 1 < outputs <= MAX_CLASS_COLUMNS:
        return ""
    rows = [
        [escape_name(one.feature), *(format_number(size) for size in one.sizes or [None] * outputs)] for one in shown
    ]
    return join_paragraphs(
        "The same effects, class by class:", markdown_table(["feature", *map(str, range(outputs))], rows)
    )


def _biases(context: ReportContext) -> str:
    bias = context.model.bias.tolist()
    if len(bias) > 1:
        biases = ", ".join(f"{label}: {format_number(value)}" for label, value in enumerate(bias[:MAX_LISTED_FEATURES]))
        return f"Bias by class: {biases}{', …' if len(bias) > MAX_LISTED_FEATURES else ''}."
    text = f"Bias: {format_number(bias[0])}."
    if context.model.predictor_type != "binary_classifier":
        return text
    threshold = format_number(context.model.threshold)
    return f"{text} Threshold: {threshold}; a row whose score is at least that is labelled 1."


def _training(context: ReportContext) -> str:
    job = f"Training job {escape_name(context.job)} {_SUBMISSIONS[context.submission]}."
    if context.summary is None:
        return f"{job} Its log tells no more: {escape_markdown(context.summary_error or 'there is none')}."
    chosen = context.summary.hyperparameters
    rows = [
        [escape_name(name), escape_name(f"{v:g}" if isinstance(v, float) else str(v))]
        for name, v in sorted(chosen.items())
    ]
    return join_paragraphs(
        job,
        " ".join(_training_sentences(context.summary)),
        " ".join(_discarded_improvement(context.summary)),
        join_paragraphs("Hyperparameters of the model that was kept:", markdown_table(["name", "value"], rows))
        if rows
        else "",
    )


def _training_sentences(summary: TrainingSummary) -> Iterator[str]:
    aim = f", minimising {escape_markdown(summary.objective)}" if summary.objective else ""
    yield f"{format_count('model', summary.models)} side by side, {format_count('epoch', summary.epochs)}{aim}."
    yield (
        "Training stopped early, as there was no more progress."
        if summary.stopped_early
        else "Training ran to its end."
    )
    if summary.saved_epoch is not None:
        which = "the best model" if summary.saved_model is None else f"model {summary.saved_model}"
        criterion = escape_markdown(summary.criterion or "the criterion")
        better = "lower" if summary.lower_is_better else "higher"
        value = f"{format_number(summary.saved_value)} ({better} is better)"
        yield f"Kept: {which} as it was at epoch {summary.saved_epoch}, the first being 0: of all models then it had"
        yield f"the best {criterion}, {value}."
    if summary.throughput is not None:
        yield f"Speed: {format_number(summary.throughput)} records per second."


def _discarded_improvement(summary: TrainingSummary) -> Iterator[str]:
    lost = summary.discarded_improvement
    if lost:
        much = format_share(lost) if lost >= 1e-4 else "less than 0.01 %"
        best = format_number(summary.best_value)
        yield f"**Early stopping threw away {much}**: epoch {summary.best_epoch} had {best}."
        yield "An epoch is kept only if it improves by more than early_stopping_tolerance; lower that to keep more."
    elif lost is not None:
        yield "Early stopping threw nothing away: the epoch that was kept is the best one."


def _data(context: ReportContext) -> str:
    profile = context.profile
    features = format_count("feature", len(context.model.weights))
    size = f"{format_count('row', profile.rows)}, {format_count('column', len(profile.columns))}, of which {features}"
    warnings = [f"- {escape_markdown(warning)}" for warning in context.warnings]
    message = f"**{format_count('warning', len(warnings))}** of the data's check:" if warnings else "No warnings."
    return join_paragraphs(
        f"Table {escape_markdown(context.source)}: {size}. {message}",
        "\n".join(warnings),
        f"Labels, {escape_name(context.target)}:",
        labels_table(profile),
        "Columns; correlation is that with the label:",
        columns_table(profile),
    )


def _split(context: ReportContext) -> str:
    split, whole = context.split, sum(context.rows.values())
    column = escape_name(split.column or context.target)
    method = {
        "random": "At random",
        "stratified": f"At random, with the same shares of every value of {column} in each set",
        "time": f"By time: the earliest rows by {column} train, the latest test",
        "group": f"At random by group: rows with the same {column} stay together",
    }[split.method]
    rows = [
        [escape_name(channel), f"{count:,}", format_share(count / whole if whole else None)]
        for channel, count in context.rows.items()
    ]
    return join_paragraphs(f"{method}; seed {split.random_state}.", markdown_table(["channel", "rows", "share"], rows))


def _code_block(command: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence}sh\n{command}\n{fence}"


def metrics_table(evaluation: Evaluation) -> list[dict[str, str | float | None]]:
    """One row per metric, for a table artifact: rounded to five digits; None where a figure is not defined."""
    return [
        {
            "metric": METRICS[metric.name].title,
            "this model": _round_figure(metric.value),
            "interval": _metric_interval(metric),
            "baseline": _round_figure(metric.baseline),
            "champion": _round_figure(metric.champion),
        }
        for metric in evaluation.metrics
    ]


def _summary_table(evaluation: Evaluation) -> str:
    """What matters, in three to five rows: the metric that decides, how much error is gone, what people ask next."""
    besides = [name for name in _SUMMARY_METRICS[evaluation.predictor_type] if name != evaluation.gate_metric]
    shown = [metric for name in besides for metric in evaluation.metrics if metric.name == name]
    rows = [
        _metric_row(evaluation[evaluation.gate_metric], evaluation),
        *_improvement_rows(evaluation),
        *(_metric_row(metric, evaluation) for metric in shown),
    ]
    return markdown_table(_table_header(evaluation), rows)


def _quality(context: ReportContext) -> str:
    """All that was measured."""
    evaluation = context.evaluation
    intervals = f"Intervals: {100 * evaluation.confidence:g} % confidence, {evaluation.rounds:,} bootstrap samples."
    metrics = markdown_table(
        _table_header(evaluation), [_metric_row(metric, evaluation) for metric in evaluation.metrics]
    )
    return join_paragraphs(
        f"On {format_count('row', evaluation.rows)} the model was not trained on. {_BASELINE} {intervals}",
        _champion(context),
        metrics,
        _residuals(context),
        _classes(evaluation),
        _confusion(evaluation.classification.confusion) if evaluation.classification else "",
        _slices(context),
    )


def _round_figure(figure: float | None) -> float | None:
    return float(f"{figure:.5g}") if figure is not None and isfinite(figure) else None


def _metric_interval(metric: Metric) -> str:
    return format_interval(format_number(metric.low), format_number(metric.high))


def _table_header(evaluation: Evaluation) -> list[str]:
    champion = ["champion"] if _has_champion(evaluation) else []
    return ["", "this model", f"{100 * evaluation.confidence:g} % interval", "baseline", *champion]


def _has_champion(evaluation: Evaluation) -> bool:
    return any(metric.champion is not None for metric in evaluation.metrics)


def _metric_row(metric: Metric, evaluation: Evaluation) -> list[str]:
    facts = METRICS[metric.name]
    better = "higher" if facts.higher_is_better else "lower"
    title = f"**{facts.title}**, which decides" if metric.name == evaluation.gate_metric else facts.title
    figures = [format_number(metric.baseline), *([format_number(metric.champion)] if _has_champion(evaluation) else [])]
    return [f"{title} ({better} is better)", f"**{format_number(metric.value)}**", _metric_interval(metric), *figures]


def _improvement_rows(evaluation: Evaluation) -> Iterator[list[str]]:
    pairs: dict[str, Improvement | None] = {
        "the baseline's": evaluation.over_baseline,
        "the champion's": evaluation.over_champion,
    }
    for whose, improvement in pairs.items():
        if improvement:
            span = format_interval(format_share(improvement.low), format_share(improvement.high))
            rest = [""] * (len(_table_header(evaluation)) - 3)
            yield [f"Share of {whose} error that is gone", f"**{format_share(improvement.value)}**", span, *rest]


def _champion(context: ReportContext) -> str:
    objection = context.evaluation.champion_objection
    if context.champion is None and objection is None:
        return "There is no other champion to compare it with."
    message = [f"The champion is {escape_name(context.champion)}."] if context.champion else []
    if objection:
        message.append(f"It cannot be compared on these rows: {escape_markdown(objection)}")
    elif not context.same_test_rows:
        message.append("It may have been trained on some of these rows, which would flatter it.")
    return " ".join(message)


def _residuals(context: ReportContext) -> str:
    plot_data = context.evaluation.regression
    if plot_data is None or not plot_data.residual_quantiles:
        return ""
    quantiles = sorted(plot_data.residual_quantiles.items())
    rows = [["residual at most", *(format_number(residual) for _, residual in quantiles)]]
    clipped = format_count("row", plot_data.clipped_rows)
    return join_paragraphs(
        f"Residuals, actual - predicted, in the unit of {escape_name(context.target)}:",
        markdown_table(["share of rows", *(f"{100 * part:g} %" for part, _ in quantiles)], rows),
        f"Beyond the plots' edges, counted in their outermost cells: {clipped}." if plot_data.clipped_rows else "",
    )


def _classes(evaluation: Evaluation) -> str:
    if not evaluation.classes:
        return ""
    by_rows = sorted(evaluation.classes, key=lambda one: one.rows, reverse=True)[:MAX_LISTED_CLASSES]
    shown = [
        [
            str(one.label),
            f"{one.rows:,}",
            *(format_number(value) for value in (one.precision, one.recall, one.f1, one.roc_auc)),
        ]
        for one in sorted(by_rows, key=lambda one: one.label)
    ]
    header = ["class", "rows", "precision", "recall", "F1", "ROC-AUC"]
    return join_paragraphs(
        "Class by class:", markdown_table(header, shown), _omitted(len(evaluation.classes) - len(shown))
    )


def _confusion(confusion: Confusion | None) -> str:
    if confusion is None:
        return ""
    rows = [
        [str(label), *(f"**{count:,}**" if place == hit else f"{count:,}" for place, count in enumerate(counts))]
        for hit, (label, counts) in enumerate(zip(confusion.labels, confusion.counts, strict=True))
    ]
    header = ["actual", *map(str, confusion.labels)]
    return join_paragraphs(
        "Rows by actual class, down, and predicted class, across; bold is right:", markdown_table(header, rows)
    )


def _slices(context: ReportContext) -> str:
    slices = context.evaluation.slices
    if not slices:
        return ""
    gate = context.evaluation.gate_metric
    names = [metric.name for metric in context.evaluation.metrics if any(metric.name in one.metrics for one in slices)]
    ordered = [gate, *(name for name in names if name != gate)]
    first, *others = (METRICS[name].title for name in ordered)
    header = ["slice", "rows", first, f"baseline's {first}", *others]
    by = f", by {escape_name(context.slice_by)}" if context.slice_by else ""
    return join_paragraphs(
        f"Slices{by}; in bold where the model is no better than the baseline:",
        markdown_table(header, [_slice_row(one, ordered, gate) for one in slices[:MAX_LISTED_SLICES]]),
        _omitted(len(slices) - MAX_LISTED_SLICES),
    )


def _slice_row(one: Slice, names: Sequence[MetricName], gate: MetricName) -> list[str]:
    value, baseline = one.metrics.get(gate), one.baseline.get(gate)
    sign = 1 if METRICS[gate].higher_is_better else -1
    worse = value is not None and baseline is not None and sign * (value - baseline) <= 0
    first, *others = (format_number(one.metrics.get(name)) for name in names)
    title = f"**{escape_name(one.value)}**" if worse else escape_name(one.value)
    return [title, f"{one.rows:,}", first, format_number(baseline), *others]


def _omitted(count: int) -> str:
    return f"and {count:,} more" if count > 0 else ""


def format_interval(low: str, high: str) -> str:
    """From the lower to the upper end, both as written."""
    return NO_VALUE if NO_VALUE in {low, high} else f"{low} to {high}"


def escape_name(name: str) -> str:
    """A name of somebody's choosing: one line without markup, cut where it is very long."""
    return escape_markdown(name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "…") or "(no name)"


def join_paragraphs(*parts: str) -> str:
    """Those that say something, one after the other."""
    return "\n\n".join(part for part in parts if part)
