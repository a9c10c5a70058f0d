"""SageMaker's API: validation of requests with boto3's service model, errors, and the pages of List calls."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import regex

JSON_TYPES: dict[str, Any] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}
# Optional in the service model, for jobs without an algorithm; the service requires them with a training image.
ALSO_REQUIRED = {"CreateTrainingJobRequest": ("RoleArn", "AlgorithmSpecification", "ResourceConfig")}
Document = dict[str, Any]


class ServiceError(Exception):
    """An error response of the API: HTTP 400, a code and a message."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.code = code


@cache
def service_model() -> Any:
    import botocore.session  # slow, and needed by few requests

    return botocore.session.Session().get_service_model("sagemaker")


def validate(action: str, request: Document) -> None:
    """Raise a `ServiceError` that lists every constraint that a request violates."""
    problems = list(_constraint_violations(service_model().operation_model(action).input_shape, request, ""))
    if problems:
        found = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        raise ServiceError(f"{found} detected: {'; '.join(problems)}")


def _constraint_violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    expected = JSON_TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        where = path or "the request"
        raise ServiceError(
            f"{where}: {type(value).__name__} can not be converted to {shape.type_name}", "SerializationException"
        )
    if shape.type_name == "structure":
        yield from _structure_violations(shape, value, path)
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _constraint_violations(shape.key, key, f"{path}.key")
            yield from _constraint_violations(shape.value, item, f"{path}.{key}.member")
    elif shape.type_name == "list":
        for number, item in enumerate(value, start=1):
            yield from _constraint_violations(shape.member, item, f"{path}.{number}.member")
    for constraint in _limit_violations(shape.metadata, value):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must {constraint}"


def _structure_violations(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        where = f"{path}{'.' if path else ''}{name[:1].lower()}{name[1:]}"
        if name in value:
            yield from _constraint_violations(member, value[name], where)
        elif name in shape.required_members or name in ALSO_REQUIRED.get(shape.name, ()):
            yield f"Value null at '{where}' failed to satisfy constraint: Member must not be null"


def _limit_violations(limits: Mapping[str, Any], value: Any) -> Iterator[str]:
    sized = isinstance(value, str | list | dict)
    size = len(value) if sized else value
    what = "length" if sized else "value"
    if "min" in limits and size < limits["min"]:
        yield f"have {what} greater than or equal to {limits['min']}"
    if "max" in limits and size > limits["max"]:
        yield f"have {what} less than or equal to {limits['max']}"
    if "enum" in limits and value not in limits["enum"]:
        yield f"satisfy enum value set: [{', '.join(limits['enum'])}]"
    if "pattern" in limits and not regex.fullmatch(limits["pattern"], value):
        yield f"satisfy regular expression pattern: {limits['pattern']}"


PAGE_SIZE = 10


def list_page(
    action: str, request: Mapping[str, Any], documents: Iterable[Document], sort_fields: Mapping[str, Sequence[str]]
) -> Document:
    """The response to a List action: the summaries of one page, with `NextToken` if there are more.

    `sort_fields` maps each SortBy to the fields it sorts by; NameContains searches the first field of `Name`. Raises
    ServiceError for a token that does not belong to this order.
    """
    fields = sort_fields[request.get("SortBy", "CreationTime")]
    descending = request.get("SortOrder") == "Descending"

    def position(document: Document) -> list[Any]:
        return [document[field] for field in fields]

    chosen = [document for document in documents if _matches(document, sort_fields["Name"][0], request)]
    chosen.sort(key=position, reverse=descending)
    if token := request.get("NextToken"):
        try:
            last = json.loads(token)
            chosen = [one for one in chosen if (position(one) < last if descending else position(one) > last)]
        except (ValueError, TypeError):
            raise ServiceError("Invalid NextToken.") from None
    shown = chosen[: request.get("MaxResults", PAGE_SIZE)]
    rest = {"NextToken": json.dumps(position(shown[-1]))} if len(shown) < len(chosen) else {}
    [(member, shape)] = [
        item for item in service_model().operation_model(action).output_shape.members.items() if item[0] != "NextToken"
    ]
    summaries = [{name: one[name] for name in shape.member.members if name in one} for one in shown]
    return {member: summaries, **rest}


def _matches(document: Document, name: str, request: Mapping[str, Any]) -> bool:
    return request.get("NameContains", "") in document[name] and all(
        request.get(f"{field}After", -1) < document[field] < request.get(f"{field}Before", float("inf"))
        for field in ("CreationTime", "LastModifiedTime")
        if field in document
    )


MAX_TAGS = 50


def take_tags(request: Document, existing: Mapping[str, str] | None = None) -> dict[str, str]:
    """Remove the tags from a request and return them, after those that the resource has already.

    Raises ServiceError for reserved keys and too many tags: rules of the API reference, with invented wordings, except
    that on keys, which is Amazon MWAA's.
    """
    added = {tag["Key"]: tag["Value"] for tag in request.pop("Tags", [])}
    if any(key.lower().startswith("aws:") for key in added):
        raise ServiceError("Invalid tag key. Customers cannot set tag keys starting with aws: (case insensitive)")
    tags = {**(existing or {}), **added}
    if len(tags) > MAX_TAGS:
        raise ServiceError(
            f"The number of tags of a resource cannot exceed {MAX_TAGS}; the request results in {len(tags)}."
        )
    return tags


def now() -> float:
    """Seconds since the epoch, rounded to milliseconds, as the API returns times."""
    return round(time.time(), 3)
