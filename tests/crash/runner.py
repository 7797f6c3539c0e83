"""The service under test, as a supervisor's process and its worker's."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.control.project import workers

from .ends import End
from .syncer import Failed, Syncer

PIPELINE = "crash"
KEY = "a secret of the crash test"
WITHIN = 60.0


class Runner(Syncer):
    """`syncline run` with one pipeline over the links; `rules` are the sections of its tables."""

    def __init__(self, source: End, target: End, folder: Path, rules: str) -> None:
        super().__init__(source, target, folder / "sync.log")
        self._folder, self._file = folder.absolute(), folder.absolute() / "syncline.toml"
        self._file.write_text(
            f'[pipelines.{PIPELINE}]\nfrom = "{source.via}"\nto = "{target.via}"\nschema = "evolve"\n{rules}'
        )

    def start(self, *arguments: str, failpoint: str = "") -> None:
        """Start the supervisor; the failpoint is armed in each worker that it starts."""
        self._command("run", *arguments, failpoint=failpoint)

    def _command(self, *arguments: str, failpoint: str = "") -> None:
        home = str(self._folder)
        folders = {"XDG_STATE_HOME": home, "XDG_CONFIG_HOME": home, "CRASH_KEY": KEY}
        self._launch([*arguments, "--config", str(self._file)], failpoint, **folders)

    @property
    def workers(self) -> list[int]:
        """The processes of workers."""
        return workers(self._folder)

    def kill_worker(self) -> None:
        """End the worker with SIGKILL, if there is one just now."""
        for pid in self.workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def hang_worker(self) -> list[int]:
        """Stop the worker where it is; `wake` lets it go on."""
        pids = self.workers
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return pids

    def wake(self, pids: list[int]) -> None:
        """Let stopped workers go on."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def alone(self, others: list[int]) -> None:
        """Wait until none of these workers is left and one other is there. Failed when that does not come."""
        deadline = time.monotonic() + WITHIN
        while len(found := self.workers) != 1 or set(found) & set(others):
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"workers {found} are there after {others}; {self.last_words()}")
            time.sleep(0.1)

    def died(self) -> bool:
        """Whether a worker of the supervisor that was started last has been killed."""
        said = self._log.read_text().rpartition("\n--- run")[2]
        return "was ended by signal 9" in said

    def once(self, seconds: float, *arguments: str) -> dict[str, Any]:
        """A run with --once to its end: the pipeline's report, whatever the exit code."""
        self.start("--once", "--json", *arguments)
        _, said = self.wait(seconds)
        try:
            report: dict[str, Any] = json.loads(said)["pipelines"][PIPELINE]
        except (ValueError, KeyError):
            raise Failed(f"a run with --once said {said!r}; {self.last_words()}") from None
        return report

    def remove(self, seconds: float) -> None:
        """Take away all that the pipeline made. Failed unless it exits 0 within `seconds`."""
        self._command("remove", PIPELINE)
        code, said = self.wait(seconds)
        if code != 0:
            raise Failed(f"remove ended with exit code {code}: {said}; {self.last_words()}")

    def close(self) -> None:
        """End everything, whatever it does."""
        super().close()
        self.kill_worker()
