"""Evaluation of identity-based IAM policies, as far as the project's policies need it."""

from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

CONDITION_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, expected: value == expected,
    "StringLike": fnmatchcase,
}


def evaluate_policy(
    policy: Mapping[str, Any], action: str, resource: str, context: Mapping[str, Collection[str]]
) -> str:
    """Return `allowed`, `explicitDeny` or `implicitDeny`; raises KeyError for an unsupported condition operator."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _matches_element(statement, "Action", action)
        and _matches_element(statement, "Resource", resource)
        and _conditions_hold(statement.get("Condition", {}), context)
    }
    return "explicitDeny" if "Deny" in effects else "allowed" if effects else "implicitDeny"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _matches_element(statement: Mapping[str, Any], element: str, value: str) -> bool:
    # Actions are case-insensitive, resources are case-sensitive.
    normalise = str.lower if element == "Action" else str
    negated = f"Not{element}" in statement
    patterns = _as_list(statement[f"Not{element}" if negated else element])
    return negated != any(fnmatchcase(normalise(value), normalise(pattern)) for pattern in patterns)


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, Collection[str]]) -> bool:
    return all(
        any(
            CONDITION_OPERATORS[operator](value, expected)
            for value in context.get(key, ())
            for expected in _as_list(allowed)
        )
        for operator, condition in conditions.items()
        for key, allowed in condition.items()
    )
