"""What SageMaker's API accepts, read from the model boto3 ships; its refusals, and how its List calls answer."""

import base64
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

SERIALIZED: dict[str, Any] = {
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
"""The Python types a JSON value of each shape arrives as."""


class ServiceError(Exception):
    """An error the API answers with: HTTP 400, a code and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def validate(action: str, request: Any) -> dict[str, Any]:
    """The request of an action without its nulls, or a `ServiceError` that lists every constraint it breaks."""
    request = _given(request)
    problems = list(_problems(_model().operation_model(action).input_shape, request, ""))
    if problems:
        found = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        raise ServiceError("ValidationException", f"{found} detected: {'; '.join(problems)}")
    checked: dict[str, Any] = request
    return checked


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value


@cache
def _model() -> Any:
    import botocore.session  # the service's model takes a moment to read and many requests need none

    return botocore.session.Session().get_service_model("sagemaker")


def preload() -> None:
    """Read the service's model now, so that the first request does not wait for it."""
    _model()


def _problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    expected = SERIALIZED[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        where = path or "the request"
        raise ServiceError(
            "SerializationException", f"{where}: {type(value).__name__} can not be converted to {shape.type_name}"
        )
    if shape.type_name == "structure":
        yield from _structure_problems(shape, value, path)
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _problems(shape.key, key, f"{path}.key")
            yield from _problems(shape.value, item, f"{path}.{key}.member")
    elif shape.type_name == "list":
        for number, item in enumerate(value, start=1):
            yield from _problems(shape.member, item, f"{path}.{number}.member")
    for constraint in _broken(shape.metadata, value):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must {constraint}"


def _structure_problems(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        where = f"{path}.{_lower(name)}" if path else _lower(name)
        if name in value:
            yield from _problems(member, value[name], where)
        elif name in shape.required_members:
            yield f"Value null at '{where}' failed to satisfy constraint: Member must not be null"


def _broken(limits: Mapping[str, Any], value: Any) -> Iterator[str]:
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
    if pattern and not _fits(pattern, value):
        yield f"satisfy regular expression pattern: {pattern}"


def _fits(pattern: str, value: str) -> bool:
    if r"\p{" in pattern:
        # Python's expressions lack Unicode's categories: beyond ASCII one character stands for all of a category.
        value = "".join(char if char.isascii() else _stand_in(unicodedata.category(char)[0]) for char in value)
    return re.fullmatch(_translated(pattern), value) is not None


@cache
def _translated(pattern: str) -> str:
    # In one pattern, that of metadata, the service's model repeats the end of the text.
    pattern = re.sub(r"\$\{\d+,\d+\}", "", pattern).replace(r"\p{Alnum}", "a-zA-Z0-9")
    return re.sub(r"\\p\{([LMNPSZ])\}", lambda match: _category(match[1]), pattern)


def _category(name: str) -> str:
    """What stands for a category within brackets."""
    ascii_ones = [char for char in map(chr, range(128)) if unicodedata.category(char)[0] == name]
    return re.escape("".join(ascii_ones)) + _stand_in(name)


def _stand_in(category: str) -> str:
    return chr(0xE000 + ord(category))  # for private use: in no category that a pattern names


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


PAGE = 10
Document = dict[str, Any]


def page(
    documents: Iterable[Document],
    request: Mapping[str, Any],
    *,
    name: str,
    orders: Mapping[str, Sequence[str]],
    summary: Sequence[str],
) -> tuple[list[Document], dict[str, str]]:
    """The summaries of one page, and the `NextToken` that asks for the next where there is one.

    `name` is the field that NameContains is about; `orders` are the fields that each SortBy sorts by, the last of which
    decide between equals; `summary` the fields that are shown. A token of another order is a `ServiceError`.
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
            message = "Invalid NextToken: it comes from a request with another SortBy."
            raise ServiceError("ValidationException", message) from None
    shown = chosen[: request.get("MaxResults", PAGE)]
    rest = {"NextToken": _token(sort_by, position(shown[-1]))} if len(shown) < len(chosen) else {}
    return [{field: d[field] for field in summary if field in d} for d in shown], rest


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as the calls on them answer."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _matches(document: Document, name: str, request: Mapping[str, Any]) -> bool:
    return request.get("NameContains", "") in document[name] and all(
        request.get(f"{time}After", -1) < document[time] < request.get(f"{time}Before", float("inf"))
        for time in ("CreationTime", "LastModifiedTime")
        if time in document
    )


def _token(sort_by: str, position: list[Any]) -> str:
    return base64.b64encode(json.dumps([sort_by, position]).encode()).decode()


def _read_token(token: str, sort_by: str) -> list[Any]:
    name, position = json.loads(base64.b64decode(token, validate=True))
    if name != sort_by:
        raise ValueError(name)
    return list(position)
