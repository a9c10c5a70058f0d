"""Check for labels that the predictor type does not accept, and for constant, absent or rare labels."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.input_checks import class_count
from tasks.data.profile import MAX_LABELS, ColumnProfile, LabelCount, Profile
from tasks.data.rules.finding import MAX_NAMES, Finding, error, format_label, format_labels, join_words, quote, warning

MIN_CLASS_ROWS: Final = 10
MAX_CLASS_LABELS: Final = 20


def find_label_problems(
    profile: Profile, target: ColumnProfile, channels: Collection[str], hyperparameters: Hyperparameters
) -> Iterator[Finding]:
    """Check the numbers in the target column; yields nothing if it has none."""
    if target.minimum is None or target.maximum is None:
        return
    column, kind, classes = f"column {quote(target.name)}", hyperparameters.predictor_type, class_count(hyperparameters)
    if target.minimum == target.maximum:
        what = f"the target is {format_label(target.minimum)} in every row"
        yield error(column, what, "Choose another column to predict: a constant cannot be learned.")
    elif kind == "regressor":
        if {label.value for label in profile.labels or ()} == {0, 1}:
            choose = "If the labels are two classes, set predictor_type to binary_classifier."
            yield warning(column, "every label is 0 or 1, but predictor_type is regressor", choose)
    elif wrong := _first_wrong_label(profile, target.minimum, target.maximum, classes):
        row, what = wrong
        where = column if row is None else f"{column}, row {row}"
        expected = "0 or 1" if classes == 2 else f"0 to {classes - 1} (num_classes - 1)"
        yield error(where, f"{what}, but a {kind} requires {expected}", _suggest_remedy(profile))
    elif profile.labels is not None:
        yield from _find_absent_classes(profile.labels, column, classes)
        yield from _find_rare_classes(profile.labels, column, channels if kind == "binary_classifier" else ())


def _first_wrong_label(profile: Profile, low: float, high: float, classes: int) -> tuple[int | None, str] | None:
    """The first row, None if unknown, with a label outside the classes 0 to k-1, and a message about the label."""
    if profile.labels is not None:
        bad = [one for one in profile.labels if not (0 <= one.value < classes and one.value.is_integer())]
        first = min(bad, key=lambda one: one.first_row, default=None)
        many = f", one of {len(profile.labels)} distinct labels" if len(profile.labels) > MAX_NAMES else ""
        return (first.first_row, f"the label is {format_label(first.value)}{many}") if first else None
    if profile.fractional_label_row is not None:
        return profile.fractional_label_row, f"the label has a fraction, and more than {MAX_LABELS} labels occur"
    if low < 0 or high >= classes:
        return None, f"more than {MAX_LABELS} labels occur, from {format_label(low)} to {format_label(high)}"
    return None


def _suggest_remedy(profile: Profile) -> str:
    """How to map few labels to 0 to k-1, with matching hyperparameters; many labels may be a target for a regressor."""
    values = [label.value for label in profile.labels or ()]
    if not 0 < len(values) <= MAX_CLASS_LABELS:
        if profile.fractional_label_row is not None:
            return "The target is continuous: set predictor_type to regressor."
        number = "For a numeric target, set predictor_type to regressor. If the labels are classes, number them from"
        return f"{number} 0, and set predictor_type to multiclass_classifier and num_classes to their number."
    count, classes = len(values), range(len(values))
    kind = "binary_classifier" if count == 2 else f"multiclass_classifier and num_classes to {count}"
    mapping = f"Map the {count} labels {format_labels(values)} to {format_labels(classes)}. "
    return f"{'' if values == [*classes] else mapping}Set predictor_type to {kind}."


def _find_absent_classes(labels: Sequence[LabelCount], column: str, classes: int) -> Iterator[Finding]:
    present = {int(label.value) for label in labels}
    examples = [*islice((label for label in range(classes) if label not in present), MAX_NAMES)]
    if len(present) == 2 and classes > 2:
        what = f"only the two classes {format_labels([label.value for label in labels])} occur"
        choose = "Set predictor_type to binary_classifier, with labels 0 and 1: it also optimises the threshold."
        yield warning(column, what, choose)
    elif examples:
        known = max(present) + 1
        fewer = f"Set num_classes to {known}, or check" if examples[0] >= known else "Check"
        what = f"no row has the label {format_labels(examples, classes - len(present))}"
        yield warning(column, what, f"{fewer} that the table has all classes.")


def _find_rare_classes(labels: Sequence[LabelCount], column: str, channels: Collection[str]) -> Iterator[Finding]:
    """Yield a warning for classes with few rows, and an error for one with fewer rows than there are `channels`.

    On a channel with only one of two classes, neither the metrics nor the optimised threshold are meaningful.
    """
    few = []
    for label in labels:
        if label.rows < len(channels):
            what = f"label {format_label(label.value)} occurs in only {label.rows} of the rows, too few for"
            get = "Add rows of this class: it must be in every channel."
            yield error(f"{column}, row {label.first_row}", f"{what} {join_words([*channels])}", get)
        elif label.rows < MIN_CLASS_ROWS:
            few.append(label.value)
    if few:
        what = f"fewer than {MIN_CLASS_ROWS} rows have the label {format_labels(few)}"
        get = "Add rows of these classes, or merge them: a class that a channel lacks is not trained or evaluated."
        yield warning(column, what, get)
