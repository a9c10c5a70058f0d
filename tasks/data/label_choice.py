"""What a model predicts: a number or classes, which classes there are, and how they are numbered."""

from collections.abc import Sequence

from pydantic import BaseModel

from linear_learner.cells import canonical
from linear_learner.errors import DataError, HyperparameterError
from linear_learner.model import PredictorType
from tasks.data.profile import MAX_LABELS, ColumnProfile, Profile
from tasks.data.rules.finding import MAX_NAMES, join_words, quote
from tasks.data.text_problems import find_text_problem
from tasks.parameters import RequestedHyperparameters

MIN_CLASSES = 3
"""Of a multiclass classifier."""


class LabelChoice(BaseModel, frozen=True):
    """The predictor type and the names of the classes 0, 1, 2, …; there are no names for a regressor.

    There are none either for a classifier whose labels are more than a profile lists: they are used as they are.
    """

    predictor_type: PredictorType
    classes: tuple[str, ...]
    reason: str
    """A sentence for users: why, which class is which, and how to choose otherwise."""

    @property
    def is_identity(self) -> bool:
        """Whether the labels of the table are used as they are."""
        return self.classes == tuple(map(str, range(len(self.classes))))


def choose_labels(profile: Profile, requested: RequestedHyperparameters, positive: str | None = None) -> LabelChoice:
    """Choose what to predict from the labels of a table; `positive` is the class of two to predict as 1.

    Raises HyperparameterError when `positive` or num_classes do not fit the labels. The check of the table reports
    labels that do not fit the predictor type, with their rows.
    """
    target = next(column for column in profile.columns if column.name == profile.target)
    values = [label.value for label in profile.labels or ()]
    kind, why = _choose_type(target, values, requested)
    if positive is not None and kind != "binary_classifier":
        raise HyperparameterError(
            f"dataset.positive is {positive!r}, but a {kind} has no positive class. Leave it empty, or set "
            "hyperparameters.predictor_type to binary_classifier."
        )
    classes = () if kind == "regressor" else tuple(filter(None, map(canonical, values)))
    if kind == "binary_classifier":
        classes = _order(classes, positive, target.name)
    elif kind == "multiclass_classifier":
        classes = _number_classes(classes, values, requested.num_classes)
    return LabelChoice(predictor_type=kind, classes=classes, reason=f"{why}{_describe(kind, classes)}")


def _choose_type(
    target: ColumnProfile, values: Sequence[float | str], requested: RequestedHyperparameters
) -> tuple[PredictorType, str]:
    """The predictor type and the beginning of the reason."""
    if requested.predictor_type != "auto":
        return requested.predictor_type, f"The predictor type is {requested.predictor_type}, as requested"
    name, implied = quote(target.name), requested.implied_type
    override = "hyperparameters.predictor_type overrides this"
    if implied:
        cause = f"loss {requested.loss}" if requested.loss != "auto" else f"num_classes {requested.num_classes}"
        return implied, f"The predictor type is {implied}, the one to which {cause} applies"
    if len(values) == 2 and not _is_faulty(target):
        return "binary_classifier", f"Column {name} has two values, so this is a binary_classifier ({override})"
    if target.text and not _is_faulty(target):
        return "multiclass_classifier", f"Column {name} is text, so this is a multiclass_classifier ({override})"
    return "regressor", f"Column {name} has numbers, so this is a regressor ({override})"


def _is_faulty(target: ColumnProfile) -> bool:
    """Whether the column is meant to have numbers, and some of its cells are not written as numbers."""
    return find_text_problem(target) is not None


def _order(classes: tuple[str, ...], positive: str | None, target: str) -> tuple[str, ...]:
    """The two classes, the positive one last."""
    if positive is None:
        return classes
    chosen = canonical(positive)
    if chosen not in classes:
        found = join_words([quote(name) for name in classes[:MAX_NAMES]]) or "no values"
        raise HyperparameterError(
            f"dataset.positive is {positive!r}, which does not occur in column {quote(target)}: it has {found}."
        )
    return (*(name for name in classes if name != chosen), chosen)


def _number_classes(
    classes: tuple[str, ...], values: Sequence[float | str], num_classes: int | None
) -> tuple[str, ...]:
    """The classes of a multiclass classifier: those of the table, or 0 to num_classes - 1 if all labels are such."""
    if num_classes is None or len(classes) == num_classes:
        return classes
    if all(isinstance(value, float) and value.is_integer() and 0 <= value < num_classes for value in values):
        return tuple(map(str, range(num_classes)))
    raise HyperparameterError(
        f"num_classes is {num_classes}, but the target has {len(classes)} classes. Leave it empty: they are counted."
    )


def _describe(kind: PredictorType, classes: Sequence[str]) -> str:
    if kind == "regressor" or not classes:
        return "."
    if kind == "binary_classifier" and len(classes) == 2:
        return (
            f": {quote(classes[1])} is class 1, the positive class, and {quote(classes[0])} is class 0 "
            "(dataset.positive chooses another)."
        )
    shown = [quote(name) for name in classes[:MAX_NAMES]]
    more = len(classes) - len(shown)
    return f" of {len(classes)} classes: {join_words([*shown, *([f'{more} more'] if more else [])])}."


def count_classes(choice: LabelChoice, requested: RequestedHyperparameters, profile: Profile) -> int:
    """The num_classes of a multiclass classifier; raises DataError when there are fewer than MIN_CLASSES.

    Of more labels than a profile lists, the check of the table refuses all that are not classes.
    """
    unlisted = MAX_LABELS + 1 if profile.labels is None else 0
    count = len(choice.classes) or requested.num_classes or unlisted
    if choice.predictor_type == "multiclass_classifier" and count < MIN_CLASSES:
        raise DataError(
            f"The target has {count} classes, but a multiclass_classifier requires at least {MIN_CLASSES}. Set "
            "hyperparameters.predictor_type to auto or binary_classifier."
        )
    return count
