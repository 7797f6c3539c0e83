"""One pipeline in a process of its own: `python -m syncline.control.worker`, started by the supervisor.

In: a configuration's path, its text on stdin, a pipeline's name, and one end of a socket. Nobody writes to
its other end: that it closes says that the supervisor is gone, however it ended, and the worker ends cleanly
too, so that nobody is left alone. Out: the exit code of the run, and the worker's last word on that socket:
one JSON document with `exit` and `error`, and the members of a report.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..errors import Interrupted, NeedsOperator, SynclineError
from .failures import error_members, explain, show_traceback
from .processes import Lock
from .project import Project, open_project
from .signals import Stopper

if TYPE_CHECKING:
    from ..engine.report import Report
    from ..observe.figures import Figures
    from ..observe.logs import Format

MODES = ("follow", "once", "remove")
ORPHAN_SECONDS = 10.0
"""So long a worker without a supervisor may take to end cleanly; then it ends at once."""
PREDECESSOR_SECONDS = 15.0
FAREWELL_SECONDS = 15.0
"""So long a worker that has said all may wait until its supervisor has stored that."""


def main(arguments: Sequence[str]) -> int:
    """Work on a pipeline until its end; the exit code. Never raises."""
    parser = argparse.ArgumentParser(prog="syncline.control.worker", description=__doc__)
    parser.add_argument("pipeline")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--link", type=int, required=True, help="the descriptor of a socket")
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--echo", choices=("text", "json"), help="show what goes into the log on stderr")
    asked = parser.parse_args(arguments)
    with socket.socket(fileno=asked.link) as link:
        try:
            project = open_project(asked.config, sys.stdin.buffer.read().decode())
            word = Worker(project, asked.pipeline, asked.mode, link, echo=asked.echo).run()
        except SynclineError as error:
            word = error_members(error)
        _take_leave(link, word)
    return int(word["exit"])


class Worker:
    """A run of one pipeline, with a lock, a log, a heartbeat and somebody who may go away."""

    def __init__(
        self, project: Project, name: str, mode: str, link: socket.socket, *, echo: Format | None
    ) -> None:
        from ..observe.logs import open_log

        self._project, self._name, self._mode, self._link = project, name, mode, link
        self._ended = threading.Event()
        self._log: logging.Logger = open_log(project.log_of(name), name, echo=echo)

    def run(self) -> dict[str, Any]:
        """Do it; the last word."""
        stopper = Stopper(lambda text: None)
        threading.Thread(target=self._watch, args=(stopper,), name="link", daemon=True).start()
        try:
            return stopper.run(lambda: self._work(stopper))
        except BaseException as error:  # whatever it is, the supervisor gets a document
            show_traceback(error)
            return error_members(explain(error, f"pipeline {self._name}"))
        finally:
            self._ended.set()

    def _watch(self, stopper: Stopper) -> None:
        """Wait for the supervisor's end; after this worker's own it means nothing any more."""
        with suppress(OSError):  # a link that broke is as good as closed
            while self._link.recv(1):
                pass
        if self._ended.is_set():
            return
        self._log.info("the supervisor is gone: ending")
        threading.Timer(ORPHAN_SECONDS, os._exit, [128 + signal.SIGTERM]).start()
        if stopper.received is None:
            stopper.receive(signal.SIGTERM)

    def _work(self, stopper: Stopper) -> dict[str, Any]:
        from ..observe.recorder import Recorder
        from .heartbeat import Heartbeat
        from .reports import report_members
        from .service import run_pipeline
        from .state import open_state

        lock = Lock(self._project.lock_of(self._name, "worker"))
        if not lock.take(PREDECESSOR_SECONDS):
            raise held(self._name, lock)
        recorder = Recorder(self._note)

        def started(pipeline: Any) -> None:
            recorder.follow(pipeline.report)
            stopper.watch(pipeline)

        with (
            open_state(self._project) as state,
            Heartbeat(state, self._name, recorder, self._note),
        ):
            try:
                report = run_pipeline(self._project, self._name, self._mode, recorder, started=started)
                recorder.ended(report)
            except Interrupted as end:
                raise self._stopped(end, recorder.snapshot()) from None
            except BaseException as error:
                recorder.failed(explain(error, f"pipeline {self._name}"))
                raise
        self._tell(report)
        return report_members(report)

    def _stopped(self, end: Interrupted, figures: Figures) -> Interrupted:
        """How a worker that was asked to end is meant to end; it says up to where it came."""
        told = Interrupted(end.signal_number, figures.position or "")
        self._note(f"stopped: {told.reason}", event="notice")
        return told

    def _note(self, text: str, **members: object) -> None:
        from ..observe.logs import MEMBERS

        level = logging.WARNING if members.get("event") == "trouble" else logging.INFO
        self._log.log(level, text, extra={MEMBERS: members})

    def _tell(self, report: Report) -> None:
        for table in report.tables:
            detail = f": {table.detail}" if table.detail else ""
            self._note(
                f"{table.table} is {table.verdict}, {table.rows_copied:,} rows copied,"
                f" {table.changes_applied:,} changes applied{detail}",
                event="verdict",
                table=str(table.table),
                state=table.verdict.name.lower(),
                figures={"rows_copied": table.rows_copied, "changes_applied": table.changes_applied},
            )
        for note in report.notes:
            self._note(note, event="notice")


def held(name: str, lock: Lock) -> NeedsOperator:
    """Another process of this machine works on the pipeline."""
    pid = lock.holder().partition(":")[0]
    return NeedsOperator("run", f"pipeline {name}", f"process {pid} works on it", "stop that one first")


def _take_leave(link: socket.socket, word: dict[str, Any]) -> None:
    """Say the last word, and wait until it was heard."""
    with suppress(OSError):  # nobody may listen any more
        link.sendall(orjson.dumps(word))
        link.shutdown(socket.SHUT_WR)
        link.settimeout(FAREWELL_SECONDS)
        while link.recv(1):
            pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
