"""How SageMaker's List calls choose, sort and cut into pages, and how they write tags."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sandbox.service_model import ServiceError

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
