"""The errors of the package; all of them are mistakes in the input.

LinearLearnerError
├── HyperparameterError   a value, or a combination of values, that the algorithm refuses
├── DataError             a channel that cannot be trained on: row, column, what was found
└── ArtifactError         a model archive or a record file that is not what it says it is

Every message says what was wrong, where, and what to do. A retry does not help with any of them.
"""


class LinearLearnerError(ValueError):
    """The input is at fault; the message is for its owner."""

    retryable = False


class HyperparameterError(LinearLearnerError):
    """A hyperparameter the algorithm refuses, alone or beside the others."""


class DataError(LinearLearnerError):
    """Data the algorithm cannot be trained on or scored with."""


class ArtifactError(LinearLearnerError):
    """A model archive or record file that is damaged, hostile or of another kind."""
