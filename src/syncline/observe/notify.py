"""Tells alarms to a command and to a webhook, from a thread of its own, so that nobody waits for them."""

from __future__ import annotations

import os
import queue
import shlex
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from functools import partial
from typing import IO

import orjson

from ..errors import SynclineError
from .alarms import Alarm

PAUSES_SECONDS = (1.0, 5.0)
"""Before the second and the third try of a webhook."""
MOST_WAITING = 1000
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where alarms go: a command line, run without a shell, and a function that gives a webhook's address,
    which may be a secret. `timeout` seconds bound each run and each request."""

    command: str | None = None
    webhook: Callable[[], str] | None = None
    timeout: float = 30.0


class Notifier:
    """Tells alarms one after the other; `note` is given a sentence for each that could not be told."""

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note
        self._waiting: queue.Queue[tuple[Alarm, Address] | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self._thread.start()

    def tell(self, alarm: Alarm, address: Address) -> None:
        """Let this be told; returns at once."""
        if address.command is None and address.webhook is None:
            return
        try:
            self._waiting.put_nowait((alarm, address))
        except queue.Full:
            self._note(alarm.pipeline, "cannot tell an alarm: too many wait to be told")

    def close(self) -> None:
        """Tell what waits, for some seconds at most; a command that still runs then is ended."""
        self._closing.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive() and (process := self._process) is not None:
            _end(process)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            alarm, address = item
            document = orjson.dumps(alarm.to_json())
            if address.command is not None:
                self._try(alarm, "alarm command", partial(self._call, address, alarm, document))
            if address.webhook is not None:
                self._try(alarm, "webhook", partial(self._post, address, document))

    def _try(self, alarm: Alarm, what: str, work: Callable[[], str]) -> None:
        try:
            why = work()
        except SynclineError as error:
            why = str(error)
        except Exception as error:  # a message of urllib's may hold the address, a secret
            why = type(error).__name__
        if why:
            self._note(alarm.pipeline, f"cannot tell an alarm by the {what}: {why}; the pipeline goes on")

    def _call(self, address: Address, alarm: Alarm, document: bytes) -> str:
        """Run the command with the document on stdin and in its environment; what went wrong."""
        condition = alarm.condition
        told = {
            "SYNCLINE_ALARM": document.decode(),
            "SYNCLINE_EVENT": alarm.event,
            "SYNCLINE_PIPELINE": alarm.pipeline,
            "SYNCLINE_KIND": condition.kind,
            "SYNCLINE_TABLE": condition.table,
            "SYNCLINE_MESSAGE": condition.message,
        }
        try:
            process = subprocess.Popen(
                shlex.split(address.command or ""),
                env=os.environ | {name: text.replace("\0", "") for name, text in told.items()},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that all that it starts can be ended with it
            )
        except OSError as error:
            return (error.strerror or str(error)).lower()
        self._process = process
        try:
            process.communicate(document + b"\n", timeout=address.timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"it did not end within {address.timeout:.0f} s"
        finally:
            self._process = None
        return f"it ended with code {process.returncode}" if process.returncode else ""

    def _post(self, address: Address, document: bytes) -> str:
        """Post the document, up to three times where another try may help; what went wrong."""
        assert address.webhook is not None
        why = ""
        for pause in (0.0, *PAUSES_SECONDS):
            if pause and self._closing.wait(pause):
                return why
            headers = {"Content-Type": "application/json", "User-Agent": "syncline"}
            request = urllib.request.Request(address.webhook(), document, headers, method="POST")
            try:
                with _OPENER.open(request, timeout=address.timeout):
                    return ""
            except urllib.error.HTTPError as error:
                error.close()
                why = f"it answered {error.code}"
                if error.code < 500 and error.code != 429:
                    return why
            except OSError as error:  # URLError, timeouts, refused connections
                reason = getattr(error, "reason", error)
                why = getattr(reason, "strerror", None) or type(reason).__name__
        return f"{why}, three times"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without the document, at a place nobody named."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
