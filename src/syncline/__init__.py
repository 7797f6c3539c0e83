"""Syncline keeps databases in sync: reads their change logs, applies each change once, proves the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .control.pipeline import Pipeline as Pipeline
    from .engine.transform.registry import transform as transform

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`Pipeline` and `transform` when they are first asked for, so that importing the package stays light."""
    if name == "Pipeline":
        from .control.pipeline import Pipeline

        return Pipeline
    if name == "transform":
        from .engine.transform.registry import transform

        return transform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
