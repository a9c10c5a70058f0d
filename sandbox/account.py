"""The one AWS account there is in the sandbox, and how IAM reads the policies in it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

REGION = "us-east-1"
ACCOUNT = "123456789012"
BUCKET = "linear-learner-sandbox"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/linear-learner-training"
KEY_ID = SECRET_KEY = "sandbox"  # noqa: S105 - any key is accepted; this one is shown to the user
ADMINISTRATOR = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
"""What the user of that key may do."""
Match = Callable[[str, str], bool]
OPERATORS: Mapping[str, Match] = {"StringEquals": lambda value, wanted: value == wanted, "StringLike": fnmatchcase}


def decide(
    policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, Collection[str]]
) -> tuple[str, set[str]]:
    """IAM's decision by identity-based policies alone, and the condition keys they ask for that `context` lacks.

    Nothing in the sandbox obeys it: it is for who asks. A condition of an operator not in `OPERATORS` is a ValueError.
    """
    effects, missing = set(), set()
    for statement in (one for policy in policies for one in _listed(policy["Statement"])):
        if _names(statement, "Action", action) and _names(statement, "Resource", resource):
            asked = {key for conditions in statement.get("Condition", {}).values() for key in conditions}
            missing |= asked - set(context)
            if _holds(statement.get("Condition", {}), context):
                effects.add(statement["Effect"])
    decision = "explicitDeny" if "Deny" in effects else "allowed" if effects else "implicitDeny"
    return decision, missing


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names(statement: Mapping[str, Any], element: str, value: str) -> bool:
    # Of actions the case does not matter, of resources it does.
    same = str.lower if element == "Action" else str
    excepted = f"Not{element}" in statement
    patterns = _listed(statement[f"Not{element}" if excepted else element])
    return excepted != any(fnmatchcase(same(value), same(pattern)) for pattern in patterns)


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, Collection[str]]) -> bool:
    if unknown := set(conditions) - set(OPERATORS):
        raise ValueError(f"the sandbox reads conditions of {', '.join(OPERATORS)} only, not of {', '.join(unknown)}")
    return all(
        any(OPERATORS[operator](value, wanted) for value in context.get(key, ()) for wanted in _listed(allowed))
        for operator, condition in conditions.items()
        for key, allowed in condition.items()
    )
