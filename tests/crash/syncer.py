"""The command under test, as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .ends import End


class Failed(Exception):
    """The crash test found something; the text says what."""


class Syncer:
    """`syncline sync FROM TO …` over the links; whatever it says goes to `log`."""

    def __init__(self, source: End, target: End, log: Path) -> None:
        self._pair = (source.via, target.via)
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, failpoint: str = "") -> None:
        """Start it, with a failpoint armed in the form of SYNCLINE_FAILPOINTS."""
        self._launch(["sync", *self._pair, *arguments], failpoint)

    def _launch(self, arguments: Sequence[str], failpoint: str, **env: str) -> None:
        assert self._process is None
        with self._log.open("a") as log:
            log.write(f"--- {' '.join(arguments)} {failpoint}\n")
            log.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "syncline", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"SYNCLINE_FAILPOINTS": failpoint, "SYNCLINE_DEBUG": "1"} | env,
            )

    def kill(self) -> None:
        """End it with SIGKILL. Failed when it had ended by itself, which a `--follow` never does."""
        process = self._started()
        if process.poll() is not None:
            code = self.wait(1)[0]
            raise Failed(f"the sync ended by itself with exit code {code}; {self.last_words()}")
        process.kill()
        self.wait(10)

    def terminate(self) -> int:
        """End it with SIGTERM; the exit code. Failed when it does not end within ten seconds."""
        self._started().send_signal(signal.SIGTERM)
        return self.wait(10)[0]

    def wait(self, seconds: float) -> tuple[int, str]:
        """Wait for its end: exit code and standard output. Failed when that takes longer than `seconds`."""
        process = self._started()
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"the sync did not end within {seconds:.0f} s; {self.last_words()}") from None
        self._process = None
        return process.returncode, said

    def check(self) -> None:
        """Failed when it is not running any more."""
        if self._started().poll() is not None:
            self.kill()

    def once(self, seconds: float, *arguments: str) -> dict[str, Any]:
        """A one-off run to its end; its report. Failed unless it exits 0 within `seconds`."""
        self.start("--json", *arguments)
        code, said = self.wait(seconds)
        if code != 0:
            raise Failed(f"a one-off run ended with exit code {code}: {said}; {self.last_words()}")
        report: dict[str, Any] = json.loads(said)
        return report

    def last_words(self) -> str:
        """The end of the log."""
        lines = self._log.read_text().splitlines()[-15:]
        return f"{self._log} ends with\n  " + "\n  ".join(lines)

    def close(self) -> None:
        """End it if it runs, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process
