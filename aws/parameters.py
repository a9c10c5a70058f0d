"""The base of the models of parameters, such as those of a training job's instances."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


class Parameters(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """A frozen model of parameters, each described by the string below it; unknown names are refused."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return the fields that differ from their defaults; a flow's signature is readable with them alone."""
        fields = type(self).model_fields
        return [(name, value) for name, value in self if value != fields[name].get_default()]
