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
MAX_CLASSES: Final = 1_000_000


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
        num_classes = "" if kind == "binary_classifier" else f"with num_classes {classes} "
        wanted = "0 or 1" if kind == "binary_classifier" else f"0 to {classes - 1}"
        what = f"{what}, where a {kind} {num_classes}wants {wanted}"
        where = column if row is None else f"{column}, row {row}"
        yield error(where, what, _suggest_remedy(profile, target.minimum, target.maximum, hyperparameters))
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


def _suggest_remedy(profile: Profile, low: float, high: float, hyperparameters: Hyperparameters) -> str:
    """How labels that are wrong become 0 to k-1, and the hyperparameters fit them."""
    if _is_continuous(profile):
        return "Such a target is a number to predict: set predictor_type to regressor."
    if profile.labels is not None:
        mapping, classes = _suggest_mapping([label.value for label in profile.labels], hyperparameters)
        steps = join_words([step for step in (mapping, _suggest_setting(classes, hyperparameters)) if step])
        return f"{steps[:1].upper()}{steps[1:]}."
    if low >= 0 and high < MAX_CLASSES:
        return f"For classes {_suggest_setting(int(high) + 1, hyperparameters)}; else set predictor_type to regressor."
    return "Map classes to 0, 1, 2, …; or set predictor_type to regressor, if these are numbers."


def _is_continuous(profile: Profile) -> bool:
    """Whether the labels are so many, or in so few rows each, that they rather measure something than name it."""
    fractional = profile.fractional_label_row is not None
    if profile.labels is None:
        return fractional
    count = len(profile.labels)
    return count > MAX_CLASS_LABELS and (fractional or profile.rows / count < MIN_CLASS_ROWS)


def _suggest_mapping(values: Sequence[float], hyperparameters: Hyperparameters) -> tuple[str, int]:
    """What to do to the labels, if anything, and how many classes there are then."""
    count = len(values)
    if values == [*range(count)]:
        return "", count
    if values == [-1, 1]:
        return "map the label -1 to 0", count
    if values == [*range(1, count + 1)]:
        return f"subtract 1 from every label, so that 1 to {count} become 0 to {count - 1}", count
    whole = values[0] >= 0 and all(value.is_integer() for value in values)
    if whole and hyperparameters.predictor_type == "multiclass_classifier" and values[-1] + 1 < 1.5 * count:
        return "", int(values[-1]) + 1  # a class or two just do not occur
    classes = "0 and 1" if count == 2 else f"0 to {count - 1}"
    return f"map the {count} labels {format_labels(values)} to {classes}", count


def _suggest_setting(classes: int, hyperparameters: Hyperparameters) -> str:
    binary = hyperparameters.predictor_type == "binary_classifier"
    if classes == 2:
        return "" if binary else "set predictor_type to binary_classifier"
    if binary:
        return f"set predictor_type to multiclass_classifier and num_classes to {classes}"
    return "" if hyperparameters.num_classes == classes else f"set num_classes to {classes}"


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
