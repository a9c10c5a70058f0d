"""Labels the predictor type does not take, or cannot learn from."""

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
    """What is wrong with the target's numbers; nothing where it has none."""
    if target.minimum is None or target.maximum is None:
        return
    column, kind, classes = f"column {quote(target.name)}", hyperparameters.predictor_type, class_count(hyperparameters)
    if target.minimum == target.maximum:
        what = f"the target is {format_label(target.minimum)} in every row"
        yield error(column, what, "Choose another column to predict: this one has nothing to learn.")
    elif kind == "regressor":
        if {label.value for label in profile.labels or ()} == {0, 1}:
            choose = "If they stand for no and yes, set predictor_type to binary_classifier."
            yield warning(column, "every label is 0 or 1, and a regressor predicts any number", choose)
    elif wrong := _first_wrong_label(profile, target.minimum, target.maximum, classes):
        row, what = wrong
        where = column if row is None else f"{column}, row {row}"
        wanted = "0 or 1" if classes == 2 else f"0 to {classes - 1} (num_classes - 1)"
        yield error(where, f"{what}, where a {kind} wants {wanted}", _suggest_remedy(profile))
    elif profile.labels is not None:
        yield from _find_absent_classes(profile.labels, column, classes)
        yield from _find_rare_classes(profile.labels, column, channels if kind == "binary_classifier" else ())


def _first_wrong_label(profile: Profile, low: float, high: float, classes: int) -> tuple[int | None, str] | None:
    """The first row, if it is known, with a label that names none of the classes 0 to k-1, and what it holds."""
    if profile.labels is not None:
        bad = [one for one in profile.labels if not (0 <= one.value < classes and one.value.is_integer())]
        first = min(bad, key=lambda one: one.first_row, default=None)
        many = f", one of {len(profile.labels)} different ones" if len(profile.labels) > MAX_NAMES else ""
        return (first.first_row, f"the label is {format_label(first.value)}{many}") if first else None
    if profile.fractional_label_row is not None:
        return profile.fractional_label_row, f"the label has a fraction, and there are more than {MAX_LABELS} of them"
    if low < 0 or high >= classes:
        return None, f"there are more than {MAX_LABELS} labels, from {format_label(low)} to {format_label(high)}"
    return None


def _suggest_remedy(profile: Profile) -> str:
    """How few labels become 0 to k-1, with the hyperparameters for them; many may be numbers, and fractions are."""
    values = [label.value for label in profile.labels or ()]
    if not 0 < len(values) <= MAX_CLASS_LABELS:
        if profile.fractional_label_row is not None:
            return "Such a target is a number to predict: set predictor_type to regressor."
        number = "Set predictor_type to regressor, if these are numbers to predict. If they name classes, number them"
        return f"{number} from 0 on, and set predictor_type to multiclass_classifier and num_classes to their number."
    count, classes = len(values), range(len(values))
    kind = "binary_classifier" if count == 2 else f"multiclass_classifier and num_classes to {count}"
    mapping = f"Map the {count} labels {format_labels(values)} to {format_labels(classes)}. "
    return f"{'' if values == [*classes] else mapping}Set predictor_type to {kind}."


def _find_absent_classes(labels: Sequence[LabelCount], column: str, classes: int) -> Iterator[Finding]:
    present = {int(label.value) for label in labels}
    examples = [*islice((label for label in range(classes) if label not in present), MAX_NAMES)]
    if len(present) == 2 and classes > 2:
        what = f"only the two classes {format_labels([label.value for label in labels])} occur"
        choose = "Set predictor_type to binary_classifier, with labels 0 and 1: it also searches the best threshold."
        yield warning(column, what, choose)
    elif examples:
        known = max(present) + 1
        fewer = f"Set num_classes to {known}, or see" if examples[0] >= known else "See"
        what = f"no row has the label {format_labels(examples, classes - len(present))}"
        yield warning(column, what, f"{fewer} that no class was lost.")


def _find_rare_classes(labels: Sequence[LabelCount], column: str, channels: Collection[str]) -> Iterator[Finding]:
    """Classes of too few rows; an error for one that cannot be in each of the `channels`.

    Where a channel has only one of two classes, neither its scores nor the threshold searched on it mean anything.
    """
    few = []
    for label in labels:
        if label.rows < len(channels):
            what = f"label {format_label(label.value)} is in {label.rows} of the rows, too few for"
            get = "Get more rows of this class: it must be in every channel."
            yield error(f"{column}, row {label.first_row}", f"{what} {join_words([*channels])}", get)
        elif label.rows < MIN_CLASS_ROWS:
            few.append(label.value)
    if few:
        what = f"fewer than {MIN_CLASS_ROWS} rows have the label {format_labels(few)}"
        get = "Get more rows of such classes, or merge them: what a channel has none of is neither learnt nor judged."
        yield warning(column, what, get)
