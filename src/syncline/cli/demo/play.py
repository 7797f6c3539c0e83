"""The demonstration, from the first row to what to try next."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ...control.service import sync
from ...control.signals import Stopper
from ...engine.report import Options, Report
from ...errors import Interrupted, NeedsOperator
from .. import figures, summary
from ..progress import Progress, progress
from . import shop

if TYPE_CHECKING:
    from ...engine.pipeline import Pipeline

Say = Callable[[str], None]
StopWriting = Callable[[], dict[str, int]]

LIVE_SECONDS = 6.0  # so long the writer goes on once every table is live
MOST_SECONDS = 60.0  # and so long it goes on at most


def play(say: Say) -> int:
    """Play the demonstration and return its exit code; raises SynclineErrors."""
    stopper: Stopper = Stopper(say)
    return stopper.run(lambda: _play(say, stopper))


def _play(say: Say, stopper: Stopper) -> int:
    folder = Path(tempfile.mkdtemp(prefix="syncline-demo-"))
    left, right = folder / "shop.db", folder / "copy.db"
    source, target = (f"sqlite:///{path}" for path in (left, right))
    command = f"{_program()} sync {source} {target}"
    seed = random.randrange(1 << 31)

    rows = shop.make(left, seed)
    say(f"1. Made a shop: {len(shop.TABLES)} tables, {figures.count(rows)} rows, in {left}")
    say(f"2. A program begins to insert, update and delete there, and to change keys (seed {seed}).")
    with _writing(left, seed) as stop_writing:
        say(f"3. Meanwhile: {command} --follow\n")
        followed = _follow(source, target, stopper, stop_writing)
        wrote = stop_writing()
    summary.show(followed, Console())
    say(f"\n{_told(wrote)}\nThen both were stopped, the sync as by Ctrl-C.")
    say(f"4. Once more, which goes on from there, compares and cleans up: {command}\n")
    with progress(quiet=False) as shown:
        report = sync(source, target, Options(), shown, started=stopper.watch)
    summary.show(report, Console())
    return _conclude(say, report, left, right, source, command)


def _follow(source: str, target: str, stopper: Stopper, stop_writing: StopWriting) -> Report:
    """Follow while the writer writes; ends both when every table was live for some seconds."""
    pipelines: list[Pipeline] = []

    def started(pipeline: Pipeline) -> None:
        pipelines.append(pipeline)
        stopper.watch(pipeline)

    with progress(quiet=False) as shown, ThreadPoolExecutor(1, "follow") as pool:
        run = pool.submit(sync, source, target, Options(follow=True), shown, started=started)
        try:
            _wait(run, shown)
            stop_writing()
        finally:
            for pipeline in pipelines:
                pipeline.stop(signal.SIGINT)
        try:
            return run.result()
        except Interrupted:
            if stopper.received:
                raise
            return pipelines[0].report


def _wait(run: Future[Report], shown: Progress) -> None:
    begun, live_since = time.monotonic(), 0.0
    while not run.done() and (now := time.monotonic()) - begun < MOST_SECONDS:
        with shown.lock:
            live_since = live_since or (now if shown.following else 0.0)
        if live_since and now - live_since >= LIVE_SECONDS:
            return
        time.sleep(0.1)


@contextmanager
def _writing(path: Path, seed: int) -> Iterator[StopWriting]:
    """Run the writer; gives a function that ends it and returns what it wrote."""
    arguments = [sys.executable, "-m", f"{__package__}.writer", str(path), str(seed)]
    pipe = subprocess.PIPE
    # In a session of its own: Ctrl-C is for the demo, which ends the writer by closing its stdin.
    with subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as writer:
        told: dict[str, int] | None = None

        def stop() -> dict[str, int]:
            nonlocal told
            if told is None:
                out, errors = writer.communicate()
                if writer.returncode:
                    why = errors.strip().rpartition("\n")[2] or f"it ended with {writer.returncode}"
                    raise NeedsOperator("go on with", "the demo", f"its writer failed: {why}")
                told = dict(json.loads(out))
            return told

        yield stop


def _told(wrote: dict[str, int]) -> str:
    kinds = ("inserted", "updated", "deleted", "keys changed")
    rows = ", ".join(f"{figures.count(wrote.get(kind, 0))} {kind}" for kind in kinds)
    return f"The program wrote in {figures.count(wrote.get('transactions', 0))} transactions: {rows}."


def _conclude(say: Say, report: Report, left: Path, right: Path, source: str, command: str) -> int:
    only = shop.differences(left, right)
    if only:
        say(f"\nSQLite itself finds {figures.counted(only, 'row')} on one side only: please report this.")
        return 1
    say("\nSQLite itself finds no row that only one of the two files has.")
    insert = "INSERT INTO customers VALUES (NULL, 'You', 'you@example.org', NULL, '2026-01-01')"
    say(f"""
The files stay in {left.parent}. What to try next:
  {command} --follow
      and, while it runs, in another terminal:
  sqlite3 {left} "{insert}"
  {_program()} sync {source} postgresql://USER@HOST/DATABASE
      for a copy in PostgreSQL
  {_program()} sync --help""")
    return report.exit_code


def _program() -> str:
    """How the reader can call this very Syncline."""
    script = Path(sys.executable).with_name("syncline")
    if not script.exists():
        return f"{sys.executable} -m syncline"
    if shutil.which("syncline") == str(script):
        return "syncline"
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)
