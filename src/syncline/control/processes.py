"""Processes of this machine: whether one still runs, and locks that end with their holder."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

HOST = socket.gethostname()
"""The name of this machine, as the state database has it."""


def key_of(pid: int) -> str:
    """What tells a process from a later one with its number: the number and the time it was started at."""
    return f"{pid}:{_started(pid)}"


def runs(key: str) -> bool:
    """Whether the process with this key still runs; one that has ended and waits to be fetched does not, nor
    does the one of an empty key."""
    pid, _, started = key.partition(":")
    return bool(pid) and _exists(int(pid)) and _started(int(pid)) == started


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """Field 22 of /proc/PID/stat; '' where there is no /proc or no such process, and for a dead one."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return words[19] if words[0] not in ("Z", "X") else "dead"


class Lock:
    """A lock that one process of this machine holds, for as long as it lives, whatever ends it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self, wait_seconds: float = 0.0) -> bool:
        """Take it, and write who holds it; False when another one still has it after that time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(file)
                    return False
                time.sleep(0.05)
        os.ftruncate(file, 0)
        os.pwrite(file, key_of(os.getpid()).encode(), 0)
        self._file = file
        return True

    def holder(self) -> str:
        """The key of the process that took it last; '' when nobody ever did."""
        try:
            return self._path.read_text()
        except OSError:
            return ""

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
