"""Writes a pipeline's figures into the state database while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import SynclineError
from ..observe.figures import Figures

if TYPE_CHECKING:
    from ..observe.recorder import Recorder
    from .state import StateDatabase

LOOK_SECONDS = 1.0
SAY_SECONDS = 60.0
BEAT_SECONDS = 5.0
"""Figures that do not change are written so often all the same: they show that the worker lives."""


class Heartbeat:
    """While its `with` is open, a thread writes the figures when they changed, once a second at most.

    A state database that cannot be written to stops nothing: it is said once, and tried again. What figures
    have become is told now and then too, so that a log alone shows how a pipeline does.
    """

    def __init__(
        self, state: StateDatabase, pipeline: str, recorder: Recorder, tell: Callable[..., None]
    ) -> None:
        self._state, self._pipeline, self._recorder, self._tell = state, pipeline, recorder, tell
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._last = Figures()
        self._failing = False
        self._said = Figures()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write(self._recorder.snapshot())

    def _beat(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            figures = self._recorder.snapshot()
            due = figures.at - self._last.at >= BEAT_SECONDS
            if due or (figures.differs(self._last) and not self._failing):
                self._write(figures)
            if figures.at - self._said.at >= SAY_SECONDS:
                if self._said.at and figures.differs(self._said):
                    self._say(figures)
                self._said = figures

    def _say(self, figures: Figures) -> None:
        members = {
            "position": figures.position,
            "lag": figures.lag,
            "lag_unit": figures.lag_unit,
            "lag_seconds": figures.lag_seconds,
            "retained": figures.retained,
            "parked": figures.parked,
            "rows_copied": sum(table.rows_copied for table in figures.tables),
            "changes_applied": sum(table.changes_applied for table in figures.tables),
        }
        text = f"{members['rows_copied']:,} rows copied, {members['changes_applied']:,} changes applied"
        if figures.lag is not None:
            text += f", {figures.lag:,} {figures.lag_unit} of log behind"
        self._tell(text, event="figures", figures=members)

    def _write(self, figures: Figures) -> None:
        self._last = figures
        try:
            self._state.put_figures(self._pipeline, figures)
        except SynclineError as error:
            if not self._failing:
                self._tell(f"{error}; the pipeline goes on, its status is not shown", event="trouble")
            self._failing = True
        else:
            if self._failing:
                self._tell("the state database can be written again", event="notice")
            self._failing = False
