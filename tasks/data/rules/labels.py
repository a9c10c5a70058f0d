"""Labels the predictor type does not take, or cannot learn from."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.input_checks import class_count
from tasks.data.profile import ColumnProfile, LabelCount, Profile
from tasks.data.rules.finding import MAX_NAMES, Finding, format_label, format_labels, join_words, quote
from tasks.data.statistics import MAX_LABELS

MIN_CLASS_ROWS: Final = 10
MAX_CLASS_LABELS: Final = 20
MAX_CLASSES: Final = 1_000_000


def find_label_problems(
    profile: Profile, target: ColumnProfile, channels: Collection[str], hyperparameters: Hyperparameters
) -> Iterator[Finding]:
    """What is wrong with the target's numbers; nothing where it has none."""
    if target.minimum is None or target.maximum is None:
        return
    column = f"column {quote(target.name)}"
    if target.minimum == target.maximum:
        what = f"the target is {format_label(target.minimum)} in every row"
        yield Finding(
            level="error",
            where=column,
            what=what,
            remedy="Choose another column to predict: this one has nothing to learn.",
        )
    elif hyperparameters.predictor_type == "regressor":
        yield from _find_classes_in_regression(profile, column)
    elif wrong := _first_wrong_label(profile, target, class_count(hyperparameters)):
        row, what = wrong
        where = column if row is None else f"{column}, row {row}"
        wanted = f"{what}, where a {hyperparameters.predictor_type} {_allowed_labels(hyperparameters)}"
        yield Finding(level="error", where=where, what=wanted, remedy=_suggest_remedy(profile, target, hyperparameters))
    elif profile.labels is not None:
        yield from _find_absent_classes(profile.labels, column, hyperparameters)
        yield from _find_rare_classes(profile.labels, column, channels, hyperparameters)


def _find_classes_in_regression(profile: Profile, column: str) -> Iterator[Finding]:
    if profile.labels is not None and {label.value for label in profile.labels} == {0, 1}:
        what = "every label is 0 or 1, and a regressor predicts any number"
        choose = "If they stand for no and yes, set predictor_type to binary_classifier."
        yield Finding(level="warning", where=column, what=what, remedy=choose)


def _first_wrong_label(profile: Profile, target: ColumnProfile, classes: int) -> tuple[int | None, str] | None:
    """The first row, if it is known, with a label that names none of the classes 0 to k-1, and what it holds."""
    low, high = target.minimum or 0.0, target.maximum or 0.0
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


def _allowed_labels(hyperparameters: Hyperparameters) -> str:
    if hyperparameters.predictor_type == "binary_classifier":
        return "wants 0 or 1"
    return f"with num_classes {hyperparameters.num_classes} wants 0 to {class_count(hyperparameters) - 1}"


def _suggest_remedy(profile: Profile, target: ColumnProfile, hyperparameters: Hyperparameters) -> str:
    """How labels that are wrong become 0 to k-1, and the hyperparameters fit them."""
    low, high = target.minimum or 0.0, target.maximum or 0.0
    if _is_continuous(profile):
        return "Such a target is a number to predict: set predictor_type to regressor."
    if profile.labels is None:
        if low >= 0 and high < MAX_CLASSES:
            return (
                f"For classes {_suggest_setting(int(high) + 1, hyperparameters)}; else set predictor_type to regressor."
            )
        return "Map classes to 0, 1, 2, …; or set predictor_type to regressor, if these are numbers."
    mapping, classes = _suggest_mapping([label.value for label in profile.labels], hyperparameters)
    steps = join_words([step for step in (mapping, _suggest_setting(classes, hyperparameters)) if step])
    return f"{steps[:1].upper()}{steps[1:]}."


def _is_continuous(profile: Profile) -> bool:
    """Whether the labels are so many, or in so few rows each, that they rather measure something than name it."""
    if profile.labels is None:
        return profile.fractional_label_row is not None
    rows_each = profile.rows / len(profile.labels)
    return len(profile.labels) > MAX_CLASS_LABELS and (
        profile.fractional_label_row is not None or rows_each < MIN_CLASS_ROWS
    )


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
    return (
        f"map the {count} labels {format_labels(values)} to {'0 and 1' if count == 2 else f'0 to {count - 1}'}",
        count,
    )


def _suggest_setting(classes: int, hyperparameters: Hyperparameters) -> str:
    if hyperparameters.predictor_type == "binary_classifier":
        several = f"set predictor_type to multiclass_classifier and num_classes to {classes}"
        return "" if classes == 2 else several
    if classes == 2:
        return "set predictor_type to binary_classifier"
    return "" if hyperparameters.num_classes == classes else f"set num_classes to {classes}"


def _find_absent_classes(
    labels: Sequence[LabelCount], column: str, hyperparameters: Hyperparameters
) -> Iterator[Finding]:
    present = {int(label.value) for label in labels}
    classes = class_count(hyperparameters)
    examples = [*islice((label for label in range(classes) if label not in present), MAX_NAMES)]
    if len(present) == 2 and classes > 2:
        what = f"only the two classes {format_labels([label.value for label in labels])} occur"
        choose = "Set predictor_type to binary_classifier, with labels 0 and 1: it also searches the best threshold."
        yield Finding(level="warning", where=column, what=what, remedy=choose)
    elif examples:
        known = max(present) + 1
        fewer = f"Set num_classes to {known}, or see" if examples[0] >= known else "See"
        what = f"no row has the label {format_labels(examples, classes - len(present))}"
        yield Finding(level="warning", where=column, what=what, remedy=f"{fewer} that no class was lost.")


def _find_rare_classes(
    labels: Sequence[LabelCount], column: str, channels: Collection[str], hyperparameters: Hyperparameters
) -> Iterator[Finding]:
    """Classes of too few rows; a binary one that cannot be in every channel is an error.

    Where a channel has only one of two classes, neither its scores nor the threshold searched on it mean anything.
    """
    binary = hyperparameters.predictor_type == "binary_classifier"
    rare = [label for label in labels if label.rows < MIN_CLASS_ROWS]
    too_rare = [label for label in rare if binary and label.rows < len(channels)]
    for label in too_rare:
        what = (
            f"label {format_label(label.value)} is in {label.rows} of the rows, too few for {join_words([*channels])}"
        )
        get = "Get more rows of this class: it must be in every channel."
        yield Finding(level="error", where=f"{column}, row {label.first_row}", what=what, remedy=get)
    few = [label.value for label in rare if label not in too_rare]
    if few:
        what = f"fewer than {MIN_CLASS_ROWS} rows have the label {format_labels(few)}"
        get = "Get more rows of such classes, or merge them: what a channel has none of is neither learnt nor judged."
        yield Finding(level="warning", where=column, what=what, remedy=get)
