"""A worker's process, as the supervisor has it."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from typing import Any

import orjson

from ..errors import Transient
from ..observe.logs import Format
from .failures import error_members
from .processes import key_of
from .project import Project

EXIT_SECONDS = 5.0


class Died(Transient):
    """A worker's process ended without a word."""


class Child:
    """A worker that was started; the supervisor listens at `link` for its last word, which ends with it."""

    def __init__(self, project: Project, name: str, mode: str, *, echo: Format | None) -> None:
        self._name = name
        self.link, theirs = socket.socketpair()
        self.link.setblocking(False)
        command = [sys.executable, "-m", "syncline.control.worker", name, "--mode", mode]
        command += ["--config", str(project.path), "--link", str(theirs.fileno())]
        with theirs, tempfile.TemporaryFile() as configuration:
            # What was checked, whatever stands in the file by now.
            configuration.write(project.text.encode())
            configuration.seek(0)
            self._process = subprocess.Popen(
                command + (["--echo", echo] if echo else []),
                cwd=project.folder,
                pass_fds=[theirs.fileno()],
                stdin=configuration,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor alone
            )
        self.key = key_of(self._process.pid)
        self._said = b""

    def hear(self) -> bool:
        """Read what there is; True once the worker has said all."""
        try:
            while piece := self.link.recv(65536):
                self._said += piece
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        return True

    def terminate(self) -> None:
        """Ask it to end cleanly. Only once: a second time ends it at once."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def word(self) -> dict[str, Any]:
        """Its last word, once `hear` says so. One that died without a word gets one; any other one lives
        until it is dismissed."""
        try:
            word: dict[str, Any] = orjson.loads(self._said)
        except orjson.JSONDecodeError:
            code = self.dismiss()
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code} and no word"
            died = Died("run", f"pipeline {self._name}", f"its worker {how}", "")
            return error_members(died)
        return word

    def dismiss(self) -> int:
        """Let it go, and wait until it is gone; its exit code."""
        self.link.close()
        try:
            return self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
