"""SageMaker's API: validation of requests by the service model of boto3, errors, and the pages of List calls."""

import base64
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

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
"""The Python types of a JSON value of each shape."""


class ServiceError(Exception):
    """An error response of the API: HTTP 400, a code and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def validate(action: str, request: Any) -> dict[str, Any]:
    """The request of an action without its nulls, or a `ServiceError` that lists every constraint it breaks."""
    request = _without_nulls(request)
    problems = list(_constraint_violations(_model().operation_model(action).input_shape, request, ""))
    if problems:
        found = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        raise ServiceError("ValidationException", f"{found} detected: {'; '.join(problems)}")
    checked: dict[str, Any] = request
    return checked


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


@cache
def _model() -> Any:
    import botocore.session  # slow, and not needed by many requests

    return botocore.session.Session().get_service_model("sagemaker")


def preload() -> None:
    """Read the service's model now, so that the first request does not wait for it."""
    _model()


def _constraint_violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    expected = JSON_TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        where = path or "the request"
        raise ServiceError(
            "SerializationException", f"{where}: {type(value).__name__} can not be converted to {shape.type_name}"
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
        where = f"{path}.{_lower_first(name)}" if path else _lower_first(name)
        if name in value:
            yield from _constraint_violations(member, value[name], where)
        elif name in shape.required_members:
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
    pattern = limits.get("pattern")
    if pattern and not _matches_pattern(pattern, value):
        yield f"satisfy regular expression pattern: {pattern}"


def _matches_pattern(pattern: str, value: str) -> bool:
    if r"\p{" in pattern:
        # Python's re lacks Unicode categories: beyond ASCII one placeholder stands for all characters of a category.
        value = "".join(
            char if char.isascii() else _category_placeholder(unicodedata.category(char)[0]) for char in value
        )
    return re.fullmatch(_to_python_pattern(pattern), value) is not None


@cache
def _to_python_pattern(pattern: str) -> str:
    # One pattern of the service model, that of metadata, repeats the end of the text.
    pattern = re.sub(r"\$\{\d+,\d+\}", "", pattern).replace(r"\p{Alnum}", "a-zA-Z0-9")
    return re.sub(r"\\p\{([LMNPSZ])\}", lambda match: _category_pattern(match[1]), pattern)


def _category_pattern(name: str) -> str:
    """The characters of a category, for use within brackets."""
    ascii_ones = [char for char in map(chr, range(128)) if unicodedata.category(char)[0] == name]
    return re.escape("".join(ascii_ones)) + _category_placeholder(name)


def _category_placeholder(category: str) -> str:
    return chr(0xE000 + ord(category))  # of the private use area, in no category that a pattern names


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


PAGE_SIZE = 10
OTHER_SORT_ORDER = "Invalid NextToken: it comes from a request with another SortBy."
Document = dict[str, Any]


def paginate(
    documents: Iterable[Document],
    request: Mapping[str, Any],
    *,
    name: str,
    orders: Mapping[str, Sequence[str]],
    summary: Sequence[str],
) -> tuple[list[Document], dict[str, str]]:
    """The summaries of one page, and the `NextToken` that asks for the next where there is one.

    `name` is the field that NameContains searches; `orders` are the fields that each SortBy sorts by; `summary` are the
    fields of a summary. Raises ServiceError for a token of another order.
    """
    sort_by = request.get("SortBy", "CreationTime")
    descending = request.get("SortOrder", "Ascending") == "Descending"

    def position(document: Document) -> list[Any]:
        return [document[field] for field in orders[sort_by]]

    chosen = [document for document in documents if _matches(document, name, request)]
    chosen.sort(key=position, reverse=descending)
    if request.get("NextToken"):
        try:
            last = _read_token(request["NextToken"], sort_by)
            chosen = [d for d in chosen if (position(d) < last if descending else position(d) > last)]
        except (ValueError, TypeError):
            raise ServiceError("ValidationException", OTHER_SORT_ORDER) from None
    shown = chosen[: request.get("MaxResults", PAGE_SIZE)]
    rest = {"NextToken": _make_token(sort_by, position(shown[-1]))} if len(shown) < len(chosen) else {}
    return [_summarise(document, summary) for document in shown], rest


def _summarise(document: Document, fields: Sequence[str]) -> Document:
    return {field: document[field] for field in fields if field in document}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the form of the API."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _matches(document: Document, name: str, request: Mapping[str, Any]) -> bool:
    return request.get("NameContains", "") in document[name] and all(
        request.get(f"{time}After", -1) < document[time] < request.get(f"{time}Before", float("inf"))
        for time in ("CreationTime", "LastModifiedTime")
        if time in document
    )


def _make_token(sort_by: str, position: list[Any]) -> str:
    return base64.b64encode(json.dumps([sort_by, position]).encode()).decode()


def _read_token(token: str, sort_by: str) -> list[Any]:
    name, position = json.loads(base64.b64decode(token, validate=True))
    if name != sort_by:
        raise ValueError(name)
    return list(position)
