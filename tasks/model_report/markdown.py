"""The report on a model, as markdown: the verdict first, then what it rests on, then how to do it again."""

import re
from collections.abc import Iterator, Mapping

from linear_learner.logs.training_summary import TrainingSummary
from tasks.data.profile_report import columns_table, escaped, labels_table
from tasks.model_report.context import Effect, ReportContext, effects
from tasks.model_report.tables import counted, named, number, paragraphs, quality, share, summary, table

MAX_FEATURES = 20
"""Features that are listed; of more, those with the largest effects."""
MAX_CLASS_COLUMNS = 10
"""Classes for which effects are shown one by one."""
CAPTIONS = {
    "learning-curve": (
        "Learning curve",
        "The loss of the kept model, or of the best one where the log names none. It should fall and level out.",
    ),
    "predicted-and-actual": (
        "Predicted and actual values",
        "Rows on the diagonal are right; above it too much was predicted, below it too little. Darker cells hold more.",
    ),
    "residuals": (
        "Residuals",
        "Should be one narrow hill around 0; a hill beside 0 or a long tail is what the model does not know.",
    ),
    "roc": ("ROC curves", "The closer to the upper left corner, the better; the diagonal is chance."),
    "precision-recall": (
        "Precision and recall",
        "The closer to the upper right corner, the better; the share of the rows that are so is what chance reaches.",
    ),
    "calibration": (
        "Calibration",
        "Points on the diagonal are probabilities to be taken at their word; below it they promise too much.",
    ),
    "confusion": ("Confusion matrix", "Dark on the diagonal is right; every other dark cell is a habitual mistake."),
    "effects": (
        "Largest effects",
        "What one standard deviation more of a feature does to the prediction, all others unchanged.",
    ),
}
"""Of each plot, by its name and in the order of the report: the title, and what to look for."""
_SUBMISSIONS = {
    "started": "was started by this run",
    "followed": "was already running and was followed",
    "reused": "had been done before and was reused",
}


def report(subject: ReportContext, plots: Mapping[str, str]) -> str:
    """The whole report; `plots` are data URLs of PNGs, by the names of CAPTIONS."""
    sections = {
        "Verdict": _verdict(subject),
        "How good it is": quality(subject),
        "Plots": _plots(plots),
        "What decides": _effects(subject),
        "What was trained": _training(subject),
        "Data": _data(subject),
        "Split": _split(subject),
        "Cost": escaped(subject.cost),
        "How to reproduce": _fenced(subject.reproduce),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)


def _verdict(subject: ReportContext) -> str:
    verdict = subject.verdict
    sign, so = ("✔", "may be used") if verdict.passed else ("✘", "not to be used")
    outcome = verdict.outcome.capitalize()
    return paragraphs(
        f"{sign} **{outcome}: {so}.** {escaped(verdict.reason)}",
        f"It predicts {named(subject.target)}. Registry: {escaped(subject.registered or 'not registered')}.",
        summary(subject.evaluation),
    )


def _plots(plots: Mapping[str, str]) -> str:
    known = [(plots[name], *said) for name, said in CAPTIONS.items() if name in plots]
    return paragraphs(*(f"![{title}]({url})\n\n*{caption}*" for url, title, caption in known))


def _effects(subject: ReportContext) -> str:
    found = effects(subject)
    shown, more = found[:MAX_FEATURES], len(found) - MAX_FEATURES
    return paragraphs(
        f"Effect: what one standard deviation more of a feature does to {_output(subject)}, all others unchanged. "
        "Coefficients are per unit of the feature.",
        _strongest(shown, several=subject.model.weights.shape[1] > 1),
        f"and {more:,} more" if more > 0 else "",
        _by_class(shown, subject.model.weights.shape[1]),
        _constants(subject),
    )


def _output(subject: ReportContext) -> str:
    if subject.model.predictor_type == "regressor":
        return f"the predicted {named(subject.target)}"
    if subject.model.predictor_type == "multiclass_classifier":
        return "the score, before softmax, of the class that it changes most"
    return "the log-odds of label 1" if subject.model.has_sigmoid else "the distance from the plane between the labels"


def _strongest(shown: list[Effect], *, several: bool) -> str:
    rows = [
        [
            named(effect.feature),
            *([str(effect.strongest)] if several else []),
            number(effect.coefficients[effect.strongest]),
            number(effect.sizes[effect.strongest] if effect.sizes else None),
        ]
        for effect in shown
    ]
    return table(["feature", *(["class"] if several else []), "coefficient", "effect"], rows)


def _by_class(shown: list[Effect], outputs: int) -> str:
    if not 1 < outputs <= MAX_CLASS_COLUMNS:
        return ""
    rows = [[named(one.feature), *(number(size) for size in one.sizes or [None] * outputs)] for one in shown]
    return paragraphs("The same effects, class by class:", table(["feature", *map(str, range(outputs))], rows))


def _constants(subject: ReportContext) -> str:
    bias = subject.model.bias.tolist()
    if len(bias) > 1:
        biases = ", ".join(f"{label}: {number(value)}" for label, value in enumerate(bias[:MAX_FEATURES]))
        return f"Bias by class: {biases}{', …' if len(bias) > MAX_FEATURES else ''}."
    said = f"Bias: {number(bias[0])}."
    if subject.model.predictor_type != "binary_classifier":
        return said
    return f"{said} Threshold: {number(subject.model.threshold)}; a row whose score is at least that is labelled 1."


def _training(subject: ReportContext) -> str:
    job = f"Training job {named(subject.job)} {_SUBMISSIONS[subject.submission]}."
    if subject.summary is None:
        return f"{job} Its log tells no more: {escaped(subject.summary_error or 'there is none')}."
    chosen = subject.summary.hyperparameters
    rows = [[named(name), named(f"{v:g}" if isinstance(v, float) else str(v))] for name, v in sorted(chosen.items())]
    return paragraphs(
        job,
        " ".join(_sentences(subject.summary)),
        " ".join(_thrown_away(subject.summary)),
        paragraphs("Hyperparameters of the model that was kept:", table(["name", "value"], rows)) if rows else "",
    )


def _sentences(summary: TrainingSummary) -> Iterator[str]:
    aim = f", minimising {escaped(summary.objective)}" if summary.objective else ""
    yield f"{counted('model', summary.models)} side by side, {counted('epoch', summary.epochs)}{aim}."
    yield (
        "Training stopped early, as there was no more progress."
        if summary.stopped_early
        else "Training ran to its end."
    )
    if summary.saved_epoch is not None:
        which = "the best model" if summary.saved_model is None else f"model {summary.saved_model}"
        criterion = escaped(summary.criterion or "the criterion")
        better = "lower" if summary.lower_is_better else "higher"
        value = f"{number(summary.saved_value)} ({better} is better)"
        yield f"Kept: {which} as it was at epoch {summary.saved_epoch}, the first being 0: of all models then it had"
        yield f"the best {criterion}, {value}."
    if summary.throughput is not None:
        yield f"Speed: {number(summary.throughput)} records per second."


def _thrown_away(summary: TrainingSummary) -> Iterator[str]:
    lost = summary.discarded_improvement
    if lost:
        much = share(lost) if lost >= 1e-4 else "less than 0.01 %"
        yield f"**Early stopping threw away {much}**: epoch {summary.best_epoch} had {number(summary.best_value)}."
        yield "An epoch is kept only if it improves by more than early_stopping_tolerance; lower that to keep more."
    elif lost is not None:
        yield "Early stopping threw nothing away: the epoch that was kept is the best one."


def _data(subject: ReportContext) -> str:
    profile = subject.profile
    features = counted("feature", len(subject.model.weights))
    size = f"{counted('row', profile.rows)}, {counted('column', len(profile.columns))}, of which {features}"
    warnings = [f"- {escaped(warning)}" for warning in subject.warnings]
    said = f"**{counted('warning', len(warnings))}** of the data's check:" if warnings else "No warnings."
    return paragraphs(
        f"Table {escaped(subject.source)}: {size}. {said}",
        "\n".join(warnings),
        f"Labels, {named(subject.target)}:",
        labels_table(profile),
        "Columns; correlation is that with the label:",
        columns_table(profile),
    )


def _split(subject: ReportContext) -> str:
    split, whole = subject.split, sum(subject.rows.values())
    column = named(split.column or subject.target)
    method = {
        "random": "At random",
        "stratified": f"At random, with the same shares of every value of {column} in each set",
        "time": f"By time: the earliest rows by {column} train, the latest test",
        "group": f"At random by group: rows with the same {column} stay together",
    }[split.method]
    rows = [
        [named(channel), f"{count:,}", share(count / whole if whole else None)]
        for channel, count in subject.rows.items()
    ]
    return paragraphs(f"{method}; seed {split.random_state}.", table(["channel", "rows", "share"], rows))


def _fenced(command: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence}sh\n{command}\n{fence}"
