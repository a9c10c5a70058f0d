"""How the parameters of a flow are shown: titles in Prefect's form, and a short signature in `help` and pydoc."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from prefect.flows import Flow
from pydantic import BaseModel, Field


def form_title(title: str) -> Any:
    """Return the title of a parameter in the form, where Prefect would show its name."""
    return Field(json_schema_extra={"title": title})


class _Default:
    """A default value, shown as the name of its class with what differs from the defaults of that class."""

    def __init__(self, model: BaseModel) -> None:
        self._model = model

    def __repr__(self) -> str:
        given = {name: value for name, value in self._model if value != type(self._model).model_fields[name].default}
        return f"{type(self._model).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def shorten_signature(flow: Flow[..., Any]) -> None:
    """Set what `inspect.signature` returns for a flow: types without annotations for the form, and short defaults.

    Prefect and pydantic use the signature of the function, which stays as it is.
    """
    function: Callable[..., Any] = flow.fn
    signature = inspect.signature(function)
    parameters = [
        one.replace(
            annotation=get_args(one.annotation)[0] if get_origin(one.annotation) is Annotated else one.annotation,
            default=_Default(one.default) if isinstance(one.default, BaseModel) else one.default,
        )
        for one in signature.parameters.values()
    ]
    flow.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # inspect looks for it
