"""The crash test of a pipeline of syncline.toml: rules stand between the stores, tables change their shape,
come and go, and the supervisor dies as its worker does."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.oracle import Difference, Form, Rules, compare

from . import chain, shaper
from .ends import End
from .run import FOLLOWING, JOINING, REACHED_WITHIN, RECOVERED_WITHIN, Crash, Plan
from .runner import KEY, Runner
from .syncer import Failed
from .tables import DDL, ERRORS, Database

ALTERING = ("alter.before_commit",)

# What the rules say in TOML they say below in Python, for the oracle.
TOML = """
[pipelines.crash.tables.accounts]
where = "flag"
exclude_columns = ["photo"]
rename_columns = { note = "remark" }
mask = { email = { hash = "env:CRASH_KEY" }, owner = { keep_last = 2 } }
constants = { origin = "crash" }

[pipelines.crash.tables.documents]
where = "body <> ''"
cast = { version = "text" }
deletes = "mark"
"""


def _hashed(cell: str) -> str:
    return hmac.new(KEY.encode(), cell.encode(), hashlib.sha256).hexdigest()


def _starred(cell: str) -> str:
    kept = cell[-2:] if len(cell) > 2 else ""
    return "*" * (len(cell) - len(kept)) + kept


RULES: Mapping[str, Rules] = {
    "accounts": Rules(
        where=lambda row: row["flag"] in ("t", 1),
        without=frozenset({"photo"}),
        forms={"email": Form("text", _hashed), "owner": Form("text", _starred)},
        names={"note": "remark"},
        constants={"origin": ("text", "crash")},
    ),
    "documents": Rules(
        where=lambda row: bool(row["body"]), forms={"version": Form("text", str)}, mark="_deleted_at"
    ),
}

SHORT = Plan(writers=1, seconds=0, accounts=500, kills=3, stops=1, cuts=1, holds=0, pause=0.03, rest=1)
DEEP = Plan(writers=3, seconds=240, accounts=50_000, kills=16, stops=4, cuts=4, holds=1, pause=0.05, rest=3)


class Evolving(Crash):
    """One such test over a pair of stores; everything random comes from `seed`."""

    def __init__(self, plan: Plan, source: End, target: End, folder: Path, seed: int) -> None:
        super().__init__(plan, source, target, folder, seed)
        self._syncer: Runner = Runner(source, target, folder, TOML)
        self._documents: set[str] = set()

    def run(self) -> None:
        """Do everything; Failed with the first thing that is wrong."""
        begun = time.monotonic()
        self._create()
        try:
            self._start_writers()
            self._visit(self._first_copy())
            self._follow()
            self._until_live()
            self._documents = self._target.ask(_documents)
            self._syncer.kill()
            self._visit(FOLLOWING)
            self._visit(JOINING)
            if self._source.url.startswith("postgres"):  # other sources' tables are copied anew
                self._visit(ALTERING)
            self._follow()
            self._recover()
            self._target.ask(chain.watch_rows)
            self._trouble()
            self._recover()
            while time.monotonic() < begun + self._plan.seconds:
                time.sleep(1)
                self._syncer.check()
            self._stop_writers()
            self._end()
        finally:
            self._close()

    def _create(self) -> None:
        super()._create()

        def make(database: Database) -> None:
            database.begin()
            shaper.create(database)
            database.execute("COMMIT")

        self._source.ask(make)

    def _start_writers(self) -> None:
        super()._start_writers()
        arguments = (str(self._seed), str(self._folder / "shapes"), str(self._plan.pause))
        self._writers.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.crash.shaper", self._source.url, *arguments],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    # What is done to the service.

    def _visit(self, names: Sequence[str], *arguments: str) -> None:
        """Kill workers at each of these failpoints, and the supervisor after it."""
        for name in names:
            self._syncer.start(failpoint=f"{name}=kill")
            deadline = time.monotonic() + REACHED_WITHIN
            while not self._syncer.died():
                self._syncer.check()
                if time.monotonic() > deadline:
                    raise Failed(f"failpoint {name} was not reached; {self._syncer.last_words()}")
                time.sleep(0.1)
            self._syncer.kill()
            self.done[f"kill at {name}"] += 1
            self._say(f"killed at {name}")
            self._watched = self._watched or self._target.ask(chain.install)

    def _follow(self, failpoint: str = "") -> None:
        self._syncer.start(failpoint=failpoint)

    def _kill(self) -> None:
        self._random.choice([self._kill_worker, self._kill_supervisor, self._hang])()

    def _kill_worker(self) -> None:
        self._say("kill -9 of the worker")
        self._syncer.check()
        self._syncer.kill_worker()
        self.done["kill -9 of the worker"] += 1

    def _kill_supervisor(self) -> None:
        """The next one takes over at once, and no worker of the first is left."""
        self._say("kill -9 of the supervisor")
        old = self._syncer.workers
        self._syncer.kill()
        self._follow()
        self._syncer.alone(old)
        self.done["kill -9 of the supervisor"] += 1

    def _hang(self) -> None:
        """The worker hangs while its supervisor dies: it finds out when it goes on."""
        self._say("kill -9 of the supervisor of a worker that hangs")
        old = self._syncer.hang_worker()
        self._syncer.kill()
        self._follow()
        time.sleep(self._random.uniform(0.5, 4))
        self._syncer.wake(old)
        self._syncer.alone(old)
        self.done["kill -9 of the supervisor of a worker that hangs"] += 1

    # The verdict.

    def _end(self) -> None:
        """What follows comes to rest by itself; then it is stopped, compared and taken away."""
        self._recover()
        self._rest()
        self._end_cleanly()
        report = self._syncer.once(REACHED_WITHIN)
        recorded, faults = self._target.ask(chain.links), self._target.ask(chain.faults)
        found = self._judge_report(report)
        found += [f"the oracle: {difference}" for difference in self._differences()[:20]]
        found += [f"of the rows at the target {fault}" for fault in faults]
        found += self._judge_acks()
        found += self._judge_marks()
        self._syncer.remove(REACHED_WITHIN)
        self._judge(found, recorded)

    def _rest(self) -> None:
        """Wait until the oracle has nothing to say any more (Promise 6)."""
        begun = time.monotonic()
        while found := self._differences_now():
            self._syncer.check()
            if time.monotonic() - begun > RECOVERED_WITHIN:
                raise Failed(f"the target does not become equal: {'; '.join(map(str, found[:9]))}")
            time.sleep(1)
        self._say(f"equal after {time.monotonic() - begun:.1f} s")

    def _differences_now(self) -> list[Difference]:
        """While tables may still be swapped."""
        try:
            return self._differences()
        except ERRORS as error:
            return [Difference("tables", "table", str(error))]

    def _judge_report(self, report: dict[str, Any]) -> list[str]:
        """Every table that the source has is equal, every other one is named."""
        there = {*DDL, *self._source.ask(_shaped)}
        verdicts = {table["table"]: table["verdict"] for table in report["tables"]}
        wrong = {name: verdicts.get(name) for name in there if verdicts.get(name) != "equal"}
        wrong |= {name: word for name, word in verdicts.items() if name not in there and word != "failed"}
        return [f"the run calls its tables {wrong}"] if wrong else []

    def _differences(self) -> list[Difference]:
        there = self._source.ask(_shaped)
        gone = [name for name in self._target.ask(_shaped) if name not in there]
        exclude = [*chain.EXCLUDED, *gone]
        return compare(*map(_public, (self._source, self._target)), exclude=exclude, rules=RULES)

    def _judge_marks(self) -> list[str]:
        """What was there once stays, marked or not."""
        lost = self._documents - self._target.ask(_documents)
        if not self._documents:
            return ["no document was there to be marked"]
        return [f"{len(lost)} documents were deleted, not marked: {sorted(lost)[:5]}"] if lost else []


def _public(end: End) -> str:
    """The store's URL. The bookkeeping's schema may have the role's name, and would come first."""
    return end.url if end.url.startswith("sqlite") else f"{end.url}?options=-csearch_path%3Dpublic"


def _documents(database: Database) -> set[str]:
    return {row[0] for row in database.execute("SELECT id FROM documents")}


def _shaped(database: Database) -> list[str]:
    """The tables of the shaper."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    if not database.sqlite:
        query = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
    names = [row[0] for row in database.execute(query)]
    return [name for name in names if name.startswith(shaper.CAME) or name == shaper.SHAPED]
