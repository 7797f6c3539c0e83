"""Python functions that transform the rows of a table; light to import, as users' modules import it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from ...errors import Refused, one_line

GROUP = "syncline.transforms"
"""The entry points by which an installed package gives a short name to a function, or to a module of them."""

Form = Literal["pandas", "arrow"]
Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "__syncline_transform__"


@dataclass(frozen=True, slots=True)
class Registered:
    """A function, the table it is for (a name or a glob), and the form of batch that it takes."""

    table: str
    name: str
    call: Callable[[Any], Any]
    form: Form


_registered: dict[str, Registered] = {}


def transform(table: str, *, form: Form | None = None) -> Callable[[Function], Function]:
    """Register a function from batch to batch for a table, named as at the source or by a glob.

    `form` is what it takes and gives: `pandas` (a DataFrame of Arrow dtypes) or `arrow` (a pyarrow Table);
    without one the annotation of its parameter says so. Refused when neither does."""

    def register(function: Function) -> Function:
        name = f"{function.__module__}:{function.__qualname__}"
        _registered[name] = Registered(table, name, function, form or _annotated(function, name))
        setattr(function, _MARK, name)
        return function

    return register


def find_function(name: str) -> Registered:
    """The function of a name: `module:function`, registered or not, or an entry point's. Refused when there
    is none."""
    found = _load(name)
    if not callable(found):
        raise Refused("load", f"the transform {name}", "it is no function", "write it as module:function")
    known = _registered.get(getattr(found, _MARK, ""))
    return known or Registered("*", name.removeprefix("python:"), found, _annotated(found, name))


def find_functions(name: str) -> list[Registered]:
    """The functions that a module registers by `@transform`, the module named by itself or by an entry
    point. Refused when it cannot be loaded or registers none."""
    found = _load(name)
    mark = getattr(found, _MARK, "")
    module = getattr(found, "__name__", "")
    functions = [
        known
        for known in _registered.values()
        if known.name == mark or (inspect.ismodule(found) and known.name.partition(":")[0] == module)
    ]
    if not functions:
        remedy = "decorate its functions with @transform(TABLE)"
        raise Refused("load", f"the transforms of {name}", "it registers none", remedy)
    return functions


def _load(name: str) -> Any:
    """What a name means: an entry point, a module, or `module:function`."""
    module_name, _, attribute = name.removeprefix("python:").partition(":")
    entries = entry_points(group=GROUP, name=name)
    try:
        if entries:
            return next(iter(entries)).load()
        found: Any = importlib.import_module(module_name)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except Exception as error:  # a user's module may fail in any way
        why = one_line(f"{type(error).__name__}: {error}")
        raise Refused("load", f"the transform {name}", why, "write it as module:function") from error
    return found


def _annotated(function: Callable[..., Any], name: str) -> Form:
    """The form that the annotation of the first parameter says."""
    parameters = list(inspect.signature(function).parameters.values())
    annotation = parameters[0].annotation if parameters else inspect.Parameter.empty
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    forms: dict[str, Form] = {"DataFrame": "pandas", "Table": "arrow"}
    form = forms.get(written.rpartition(".")[2])
    if form is None:
        raise Refused(
            "load",
            f"the transform {name}",
            "it does not say what it takes",
            "annotate its parameter as pandas.DataFrame or pyarrow.Table, or give form='pandas' or 'arrow'",
        )
    return form
