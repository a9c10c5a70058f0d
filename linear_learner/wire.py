"""How a hyperparameter is spelled on the wire, where everything is a string."""

import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from linear_learner.errors import HyperparameterError

_SPELLINGS: Final = MappingProxyType(
    {
        "integer": (re.compile(r"[+-]?[0-9]{1,18}"), "a whole number"),
        "number": (re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"), "a number"),
        # The container was seen to take `True` as well as `true`.
        "boolean": (re.compile(r"[Tt]rue|[Ff]alse"), "true or false"),
    }
)
"""JSON schema type to spelling. pydantic alone would also take `1_000`, ` 10 ` and `yes`."""


def check(name: str, value: object, schemas: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise HyperparameterError unless `name` is in `schemas` (JSON schema per name) and `value` is spelled as it says.

    A schema that allows null is spelled `auto` where the value is left to the container.
    """
    schema = schemas.get(name)
    if schema is None:
        close = get_close_matches(name, schemas, n=1)
        remedy = f"did you mean {close[0]}?" if close else "remove it"
        raise HyperparameterError(f"{name} is not a hyperparameter of Linear Learner: {remedy}")
    kind = schema.get("type") or schema["anyOf"][0]["type"]
    allowed = _SPELLINGS[kind][1] if kind in _SPELLINGS else "a string"
    if not (is_spelled(kind, value) or (value == "auto" and "anyOf" in schema)):
        auto = ", or auto" if "anyOf" in schema else ""
        raise HyperparameterError(f"{name} is {str(value)[:80]!r}: give {allowed}{auto}")


def is_spelled(kind: str, value: object) -> bool:
    """Whether `value` is a string that reads as the JSON schema type `kind`."""
    return isinstance(value, str) and (kind not in _SPELLINGS or _SPELLINGS[kind][0].fullmatch(value) is not None)


def text(value: object) -> str:
    """Spell a value for the wire; None is `auto`."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return str(value).lower()
    # Without an exponent: not every reader is known to take `1e-07` for a number.
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def sentences(error: ValidationError) -> str:
    """Say which field, what was found and what is allowed, for each of the errors."""
    return "; ".join(_sentence(**detail) for detail in error.errors(include_url=False, include_context=False))


def _sentence(loc: tuple[int | str, ...], msg: str, input: object, **_: object) -> str:  # noqa: A002  # pydantic's name
    message = msg.removeprefix("Value error, ")
    return f"{loc[0]} is {str(input)[:80]!r}: {message[0].lower()}{message[1:]}" if loc else message
