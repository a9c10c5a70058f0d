"""Check for labels that the predictor type does not accept, and for constant or rare labels."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.input_checks import class_count
from tasks.data.profile import MAX_LABELS, ColumnProfile, LabelCount, Profile
from tasks.data.rules.cells import text_remedy
from tasks.data.rules.finding import Finding, error, format_label, format_labels, join_words, quote, warning
from tasks.data.text_problems import TextProblem, find_text_problem

MIN_CLASS_ROWS: Final = 10
MAX_CLASS_LABELS: Final = 20
"""More numeric labels with fractions, or texts that are numbers in another notation, are no classes."""
MIN_MEAN_ROWS: Final = 5
"""Mean number of rows of a label from which more labels than MAX_CLASS_LABELS are classes."""
_CLASSIFY = "For classes, set predictor_type to binary_classifier or multiclass_classifier."
_REGRESS = "For a numeric target, set predictor_type to regressor."


def find_label_problems(
    profile: Profile, target: ColumnProfile, channels: Collection[str], hyperparameters: Hyperparameters
) -> Iterator[Finding]:
    """Check the labels for these hyperparameters, whose predictor type is not auto.

    The classes of a classifier may be any two or more values: they are mapped to 0 to k-1.
    """
    column, kind, labels = f"column {quote(target.name)}", hyperparameters.predictor_type, profile.labels
    if target.missing == profile.rows:
        return  # reported as missing
    if labels is not None and len(labels) == 1:
        what = f"the target is {format_label(labels[0].value)} in every row"
        yield error(column, what, "Choose another column to predict: a constant cannot be learned.")
    elif kind == "regressor":
        yield from _check_numbers(target, labels)
    elif wrong := _find_no_classes(profile, target):
        yield wrong
    elif labels is None:
        yield from _check_unlisted(target, class_count(hyperparameters))
    else:
        yield from _check_count(labels, column, hyperparameters)
        yield from _find_rare_classes(labels, column, channels if kind == "binary_classifier" else ())


def _check_numbers(target: ColumnProfile, labels: Sequence[LabelCount] | None) -> Iterator[Finding]:
    """Check the target of a regressor."""
    column, problem = f"column {quote(target.name)}", find_text_problem(target)
    if problem:
        yield _text_error(target, problem)
    elif target.kind == "text":
        what = f"{target.text_example!r} is not a number, and a regressor predicts numbers"
        yield error(f"{column}, row {target.text_row}", what, _CLASSIFY)
    elif target.kind == "date":
        what = "it has dates, and a regressor predicts numbers"
        yield error(column, what, "Choose another column to predict, or write the dates as numbers, such as days.")
    elif labels is not None and len(labels) == 2 and {label.value for label in labels} in ({0, 1}, {"false", "true"}):
        what = f"every label is {format_label(labels[0].value)} or {format_label(labels[1].value)}"
        choose = "If the labels are two classes, set predictor_type to binary_classifier."
        yield warning(column, f"{what}, but predictor_type is regressor", choose)


def _text_error(target: ColumnProfile, problem: TextProblem) -> Finding:
    where = f"column {quote(target.name)}, row {problem.row}"
    return error(where, f"the target has {problem.what}", text_remedy(problem))


def _find_no_classes(profile: Profile, target: ColumnProfile) -> Finding | None:
    """An error for labels that are no classes: markers or other text among numbers, or too many to be classes."""
    column, count = f"column {quote(target.name)}", len(profile.labels) if profile.labels is not None else None
    many = count is None or count > MAX_CLASS_LABELS
    problem = find_text_problem(target)
    if problem and (many or problem.markers):
        return _text_error(target, problem)
    known = profile.rows - target.missing
    if count is not None and many and known < MIN_MEAN_ROWS * count:
        what = f"{count} distinct labels in {known} rows are too many for classes"
    elif many and profile.fractional_label_row is not None and target.kind == "number":
        number = f"more than {MAX_LABELS}" if count is None else str(count)
        what = f"{number} distinct labels, with a fraction in row {profile.fractional_label_row}, are no classes"
    else:
        return None
    other = "Choose another column to predict, or merge classes."
    return error(column, what, _REGRESS if target.minimum is not None and target.kind != "text" else other)


def _check_unlisted(target: ColumnProfile, classes: int) -> Iterator[Finding]:
    """Check more labels than the profile lists: they must be whole numbers from 0 to k-1."""
    column, low, high = f"column {quote(target.name)}", target.minimum, target.maximum
    if target.kind != "integer" or low is None or high is None:
        what = f"there are more than {MAX_LABELS} distinct labels"
        yield error(column, what, "Choose another column to predict, or merge classes.")
    elif low < 0 or high >= classes:
        what = f"there are more than {MAX_LABELS} distinct labels, from {format_label(low)} to {format_label(high)}"
        number = "So many classes must be numbered from 0, with num_classes set to their number."
        yield error(column, what, f"{_REGRESS} {number}")


def _check_count(labels: Sequence[LabelCount], column: str, hyperparameters: Hyperparameters) -> Iterator[Finding]:
    """Compare the number of classes with the hyperparameters."""
    kind, classes, count = hyperparameters.predictor_type, class_count(hyperparameters), len(labels)
    values = format_labels([label.value for label in labels])
    if kind == "binary_classifier" and count > 2:
        numbers = "" if isinstance(labels[0].value, str) else f" {_REGRESS}"
        yield error(
            column,
            f"there are {count} distinct labels, {values}, but a binary_classifier requires two",
            f"Set predictor_type to multiclass_classifier.{numbers}",
        )
    elif kind == "multiclass_classifier" and count == 2:
        what = f"only the two classes {values} occur"
        yield warning(column, what, "Set predictor_type to binary_classifier: it also optimises the threshold.")
    elif count > classes:
        what = f"there are {count} distinct labels, {values}, but num_classes is {classes}"
        yield error(column, what, f"Set num_classes to {count}.")
    elif count < classes:
        what = f"there are only {count} distinct labels, {values}, but num_classes is {classes}"
        yield warning(column, what, f"Set num_classes to {count}, or check that the table has all classes.")


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
