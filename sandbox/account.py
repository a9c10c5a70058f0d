"""The sandbox's AWS account, and the evaluation of IAM policies."""

from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

REGION = "us-east-1"
ACCOUNT = "123456789012"
BUCKET = "linear-learner-sandbox"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/linear-learner-training"
KEY_ID = SECRET_KEY = "sandbox"  # noqa: S105 - any key is accepted; this one is shown to the user
ADMINISTRATOR_POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
"""The policy of the user of that key."""
ConditionOperator = Callable[[str, str], bool]
CONDITION_OPERATORS: Mapping[str, ConditionOperator] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": fnmatchcase,
}


def evaluate_policies(
    policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, Collection[str]]
) -> tuple[str, set[str]]:
    """IAM's decision by identity-based policies alone, and the condition keys they need that `context` lacks.

    The sandbox does not enforce it: it answers SimulatePrincipalPolicy, and tests ask it. A condition with an operator
    that is not in `CONDITION_OPERATORS` raises ValueError.
    """
    effects, missing = set(), set()
    for statement in (one for policy in policies for one in _as_list(policy["Statement"])):
        if _matches_element(statement, "Action", action) and _matches_element(statement, "Resource", resource):
            required = {key for conditions in statement.get("Condition", {}).values() for key in conditions}
            missing |= required - set(context)
            if _conditions_hold(statement.get("Condition", {}), context):
                effects.add(statement["Effect"])
    decision = "explicitDeny" if "Deny" in effects else "allowed" if effects else "implicitDeny"
    return decision, missing


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _matches_element(statement: Mapping[str, Any], element: str, value: str) -> bool:
    # Actions are compared without regard to case, resources with it.
    normalise = str.lower if element == "Action" else str
    negated = f"Not{element}" in statement
    patterns = _as_list(statement[f"Not{element}" if negated else element])
    return negated != any(fnmatchcase(normalise(value), normalise(pattern)) for pattern in patterns)


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, Collection[str]]) -> bool:
    if unknown := set(conditions) - set(CONDITION_OPERATORS):
        raise ValueError(
            f"the sandbox reads conditions of {', '.join(CONDITION_OPERATORS)} only, not of {', '.join(unknown)}"
        )
    return all(
        any(
            CONDITION_OPERATORS[operator](value, wanted)
            for value in context.get(key, ())
            for wanted in _as_list(allowed)
        )
        for operator, condition in conditions.items()
        for key, allowed in condition.items()
    )
