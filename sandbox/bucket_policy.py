"""Bucket policies that deny writes by their encryption headers. moto enforces statements without conditions only."""

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

HEADERS = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id")
CONDITIONS: Mapping[str, Callable[[str | None, list[str]], bool]] = {
    "Null": lambda found, wanted: str(found is None).lower() in {str(one).lower() for one in wanted},
    "StringEquals": lambda found, wanted: found in wanted,
    "StringNotEquals": lambda found, wanted: found not in wanted,  # also without the header, as IAM documents
    "StringEqualsIfExists": lambda found, wanted: found is None or found in wanted,
    "StringNotEqualsIfExists": lambda found, wanted: found is None or found not in wanted,
}
"""By operator of a condition: whether it holds for the value of a header, None without the header."""


def denies_write(policy: Mapping[str, Any], arn: str, headers: Mapping[str, str]) -> bool:
    """Whether a statement of the policy denies everybody to write the object.

    Evaluated are statements for the principal `*` whose conditions are on the encryption headers only.
    """
    return any(
        statement["Effect"] == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and any(fnmatchcase("s3:putobject", action.lower()) for action in _as_list(statement.get("Action", [])))
        and any(fnmatchcase(arn, resource) for resource in _as_list(statement.get("Resource", [])))
        and _is_met(statement.get("Condition", {}), headers)
        for statement in _as_list(policy.get("Statement", []))
    )


def without_conditions(policy: bytes) -> bytes:
    """The policy for moto, which would deny every request that a statement with a condition is about."""
    document = json.loads(policy)
    statements = [one for one in _as_list(document.get("Statement", [])) if "Condition" not in one]
    return json.dumps(document | {"Statement": statements}).encode()


def _is_met(condition: Mapping[str, Mapping[str, Any]], headers: Mapping[str, str]) -> bool:
    tests = [
        (operator, name.lower().removeprefix("s3:"), _as_list(wanted))
        for operator, keys in condition.items()
        for name, wanted in keys.items()
    ]
    return all(
        operator in CONDITIONS and name in HEADERS and CONDITIONS[operator](headers.get(name), wanted)
        for operator, name, wanted in tests
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
