"""The command under measurement, as a process looked at from outside through Linux's /proc."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

MIB = 1 << 20
_SAMPLE_SECONDS = 0.1
_TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A figure is past its bound, or something went wrong on the way; the text says what."""


class Sync:
    """`syncline sync FROM TO …` for as long as the `with` lasts; what it says goes to `log`.

    `peak_bytes` is the most memory that was ever resident (VmHWM), `resident` a list of (seconds since the
    start, resident bytes), about ten a second."""

    def __init__(self, source: str, target: str, *arguments: str, log: Path) -> None:
        self._command = [sys.executable, "-m", "syncline", "sync", source, target, *arguments]
        self._log = log
        self.peak_bytes = 0
        self.resident: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        # A shell's background job ignores SIGINT, and so would all that it starts.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._begun = time.monotonic()
        self._sampler = threading.Thread(target=self._sample, name="sample", daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._sampler.join()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its threads until now, in user and kernel mode."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def until(self, reached: Callable[[], bool], what: str, seconds: float) -> float:
        """Wait while it runs until `reached()`; the seconds that took. Failed when it ends before, or when
        it takes longer than `seconds`."""
        begun = time.monotonic()
        while not reached():
            if self._process.poll() is not None:
                raise Failed(f"it ended with {self._process.returncode} before {what}; {self.last_words()}")
            if time.monotonic() - begun > seconds:
                raise Failed(f"{what} took more than {seconds:.0f} s; {self.last_words()}")
            time.sleep(0.02)
        return time.monotonic() - begun

    def interrupt(self, seconds: float = 30.0) -> tuple[int, float]:
        """Send it what Ctrl-C sends: its exit code, and how long it took to end."""
        begun = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        return self.wait(seconds), time.monotonic() - begun

    def wait(self, seconds: float) -> int:
        """Wait for its end; the exit code. Failed when that takes longer than `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"it did not end within {seconds:.0f} s; {self.last_words()}") from None

    def last_words(self) -> str:
        """The end of the log."""
        lines = self._log.read_text().splitlines()[-15:]
        return f"{self._log} ends with\n  " + "\n  ".join(lines)

    def _sample(self) -> None:
        status = Path(f"/proc/{self._process.pid}/status")
        while self._process.returncode is None:
            try:
                # Gone from the file once the process is dead and not waited for yet.
                sizes = dict(re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB$", status.read_text(), re.MULTILINE))
            except (FileNotFoundError, ProcessLookupError):
                return
            if sizes:
                self.peak_bytes = max(self.peak_bytes, int(sizes["VmHWM"]) * 1024)
                self.resident.append((time.monotonic() - self._begun, int(sizes["VmRSS"]) * 1024))
            time.sleep(_SAMPLE_SECONDS)
