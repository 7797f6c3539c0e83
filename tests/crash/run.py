"""The order of events of a crash test, and its verdict."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracle import Difference, compare

from . import chain
from .ends import End, opened
from .proxy import Way
from .syncer import Failed, Syncer
from .tables import DDL, LATE, Database, create

FIRST_COPY = (
    *("attach.publication", "attach.done", "copy.planned", "copy.before_commit", "copy.after_commit"),
    *("goal.recorded", "live.before_commit", "live.after_commit"),
)
FOLLOWING = ("apply.before_commit", "apply.after_commit", "release.after")
JOINING = ("join.before_commit", "join.after_commit")
REMOVING = ("remove.before_detach", "remove.after_detach")
REACHED_WITHIN = 60.0
RECOVERED_WITHIN = 120.0


@dataclass(frozen=True)
class Plan:
    """How much of everything; a stop, cut or hold is done that often to each end that can have it.
    `pause` is a writer's between transactions and `rest` the longest between two faults, in seconds."""

    writers: int
    seconds: float
    accounts: int
    kills: int
    stops: int
    cuts: int
    holds: int
    pause: float
    rest: float


SHORT = Plan(writers=2, seconds=0, accounts=2_000, kills=3, stops=1, cuts=1, holds=1, pause=0.02, rest=1)
DEEP = Plan(writers=4, seconds=300, accounts=120_000, kills=20, stops=5, cuts=4, holds=1, pause=0.05, rest=2)


class Crash:
    """One crash test over a pair of stores; everything random comes from `seed`."""

    def __init__(self, plan: Plan, source: End, target: End, folder: Path, seed: int) -> None:
        self._plan, self._source, self._target, self._folder = plan, source, target, folder
        self._seed, self._random = seed, random.Random(seed)
        self._syncer = Syncer(source, target, folder / "sync.log")
        self._writers: list[subprocess.Popen[str]] = []
        self._watched = False
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Do everything; Failed with the first thing that is wrong."""
        begun = time.monotonic()
        self._create()
        try:
            self._start_writers()
            self._visit(self._first_copy(), "--exclude", LATE[0], "--exclude", LATE[1])
            self._visit(FOLLOWING, "--exclude", LATE[0], "--exclude", LATE[1])
            self._grow()
            self._trouble()
            self._recover()
            while time.monotonic() < begun + self._plan.seconds:
                time.sleep(1)
                self._syncer.check()
            self._stop_writers()
            self._syncer.kill()
            self._end()
        finally:
            self._close()

    def _create(self) -> None:
        create(self._source.url, self._plan.accounts)

    def _close(self) -> None:
        self._syncer.close()
        for writer in self._writers:
            writer.kill()
            writer.communicate()

    # What is done to the sync.

    def _first_copy(self) -> tuple[str, ...]:
        """The failpoints up to being live. A SQLite source is attached by one transaction and so has no
        place between publication and slot."""
        return FIRST_COPY[1:] if self._source.url.startswith("sqlite") else FIRST_COPY

    def _visit(self, names: Sequence[str], *arguments: str) -> None:
        """Kill the sync at each of these failpoints, in this order, as a killed run goes on from there."""
        for name in names:
            self._syncer.start("--follow", *arguments, failpoint=f"{name}=kill")
            self._expect_kill(name)

    def _expect_kill(self, name: str) -> None:
        try:
            code, said = self._syncer.wait(REACHED_WITHIN)
        except Failed as error:
            raise Failed(f"failpoint {name} was not reached: {error}") from None
        if code != -signal.SIGKILL:
            words = self._syncer.last_words()
            raise Failed(f"at failpoint {name} the sync ended by itself with {code}: {said}; {words}")
        self.done[f"kill at {name}"] += 1
        self._say(f"killed at {name}")
        self._watched = self._watched or self._target.ask(chain.install)

    def _grow(self) -> None:
        """Once the first tables are live the others join them; the sync dies at each step of that."""
        self._syncer.start("--follow", "--exclude", LATE[0], "--exclude", LATE[1])
        if not self._watched:
            raise Failed("the target has no bookkeeping to watch")
        self._until_live()
        self._syncer.kill()
        self._visit(JOINING)
        self._follow()
        self._recover()
        self._target.ask(chain.watch_rows)

    def _until_live(self) -> None:
        deadline = time.monotonic() + REACHED_WITHIN
        while self._target.ask(_unfinished):
            self._syncer.check()
            if time.monotonic() > deadline:
                raise Failed(f"the tables did not become live; {self._syncer.last_words()}")
            time.sleep(0.2)

    def _follow(self, failpoint: str = "") -> None:
        self._syncer.start("--follow", failpoint=failpoint)

    def _trouble(self) -> None:
        """All random faults, shuffled. After most of them the sync must catch up before the next."""
        plan = self._plan
        faults: list[Callable[[], None]] = [self._kill] * plan.kills + [self._terminate, self._fail]
        for end in (self._source, self._target):
            if end.server is not None:
                faults += [lambda end=end: self._stop(end)] * plan.stops  # type: ignore[misc]
            if end.proxy is not None:
                faults += [lambda end=end: self._cut(end)] * plan.cuts  # type: ignore[misc]
                faults += [lambda end=end: self._hold(end)] * plan.holds  # type: ignore[misc]
                faults.append(lambda end=end: self._slow(end))  # type: ignore[misc]
        self._random.shuffle(faults)
        for fault in faults:
            time.sleep(self._random.uniform(0, plan.rest))
            fault()
            if self._random.random() < 0.6:
                self._recover()

    def _kill(self) -> None:
        self._say("kill -9")
        self._syncer.kill()
        self._follow()
        self.done["kill -9 at random"] += 1

    def _terminate(self) -> None:
        self._say("SIGTERM")
        time.sleep(1.5)  # before that no handler may be there
        self._end_cleanly()
        self._follow()
        self.done["SIGTERM"] += 1

    def _end_cleanly(self) -> None:
        code = self._syncer.terminate()
        if code != 128 + signal.SIGTERM:
            raise Failed(f"SIGTERM ended the sync with exit code {code}; {self._syncer.last_words()}")

    def _fail(self) -> None:
        """Errors that pass by themselves, one after a commit whose reply never came."""
        self._say("transient errors within")
        self._syncer.kill()
        self._follow(",".join(f"{name}=fail@2" for name in FOLLOWING))
        self._recover()
        self.done["transient errors within"] += 1

    def _stop(self, end: End) -> None:
        assert end.server is not None
        self._say(f"hard stop of {end.name}")
        end.server.kill()
        time.sleep(self._random.uniform(0, 2))
        end.server.start()
        self.done[f"hard stop of {end.name}"] += 1

    def _cut(self, end: End) -> None:
        assert end.proxy is not None
        self._say(f"cut of the link to {end.name}")
        end.proxy.cut()
        time.sleep(self._random.uniform(0.2, 3))
        end.proxy.restore()
        self.done[f"cut of the link to {end.name}"] += 1

    def _hold(self, end: End) -> None:
        """The link goes silent in one direction; then what was held arrives late, or never."""
        assert end.proxy is not None
        way = self._random.choice(list(Way))
        self._say(f"nothing arrives {way.value} on the link to {end.name}")
        end.proxy.hold(way)
        time.sleep(self._random.uniform(2, 5))
        end.proxy.restore(reset=self._random.random() < 0.5)
        self.done[f"one-way cut of the link to {end.name}"] += 1

    def _slow(self, end: End) -> None:
        assert end.proxy is not None
        self._say(f"slow link to {end.name}")
        end.proxy.delay(0.05)
        time.sleep(2)
        end.proxy.delay(0)
        self.done[f"slow link to {end.name}"] += 1

    def _recover(self) -> None:
        """Wait until what the source holds now has arrived at the target."""
        wanted = dict(self._source.ask(_counters))
        begun = time.monotonic()
        while True:
            there = dict(self._target.ask(_counters))
            if all(there.get(writer, 0) >= last for writer, last in wanted.items()):
                self._say(f"caught up after {time.monotonic() - begun:.1f} s")
                return
            self._syncer.check()
            if time.monotonic() - begun > RECOVERED_WITHIN:
                raise Failed(f"the target stands at {there}, not at {wanted}; {self._syncer.last_words()}")
            time.sleep(0.2)

    # The writers.

    def _start_writers(self) -> None:
        for number in range(1, self._plan.writers + 1):
            arguments = (str(number), str(self._seed), str(self._acks(number)), str(self._plan.pause))
            self._writers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.crash.writer", self._source.url, *arguments],
                    cwd=Path(__file__).parents[2],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

    def _stop_writers(self) -> None:
        for writer in self._writers:
            writer.send_signal(signal.SIGTERM)
        for number, writer in enumerate(self._writers, 1):
            said, _ = writer.communicate(timeout=60)
            if writer.returncode:
                raise Failed(f"writer {number} ended with {writer.returncode}")
            self._say(f"writer {number}: {said.strip()}")

    def _acks(self, number: int) -> Path:
        return self._folder / f"acks-{number}"

    # The verdict.

    def _end(self) -> None:
        """One-off runs, of which only the last one lives; then everything is judged."""
        for name in REMOVING:
            self._syncer.start(failpoint=f"{name}=kill")
            self._expect_kill(name)
            if name == REMOVING[0]:
                recorded = self._target.ask(chain.links)
                faults = self._target.ask(chain.faults)
        found = self._judge_report(self._syncer.once(REACHED_WITHIN))
        found += [f"the oracle: {difference}" for difference in self._differences()[:20]]
        found += [f"of the rows at the target {fault}" for fault in faults]
        self._judge(found + self._judge_acks(), recorded)

    def _judge(self, found: list[str], recorded: list[chain.Link]) -> None:
        """Failed when anything was found, or is left behind."""
        found = found + [f"the position chain: {broken}" for broken in chain.breaks(recorded)[:10]]
        if len(recorded) < len(FIRST_COPY):
            found.append(f"the position chain has {len(recorded)} links only")
        for end in (self._source, self._target):
            found += [f"{end.name} still has {name}" for name in end.ask(_leftovers)]
        if found:
            raise Failed("\n  ".join(found))
        self._say(f"the position chain is whole: {len(recorded):,} links")

    def _judge_report(self, report: dict[str, Any]) -> list[str]:
        verdicts = {table["table"]: table["verdict"] for table in report["tables"]}
        return [] if verdicts == dict.fromkeys(DDL, "equal") else [f"the sync calls its tables {verdicts}"]

    def _differences(self) -> list[Difference]:
        counted: dict[str, int] = {}
        differences = compare(self._source.url, self._target.url, exclude=chain.EXCLUDED, counted=counted)
        self._say(f"the oracle looked at {', '.join(f'{name} {rows:,}' for name, rows in counted.items())}")
        return differences

    def _judge_acks(self) -> list[str]:
        """Every commit that was acknowledged must be in both stores, whatever else is."""
        found, total = [], 0
        for number in range(1, self._plan.writers + 1):
            acknowledged = {int(line) for line in self._acks(number).read_text().split()}
            total += len(acknowledged)
            for end in (self._source, self._target):
                lost = acknowledged - end.ask(lambda database, number=number: _acks(database, number))  # type: ignore[misc]
                if lost:
                    found.append(
                        f"{end.name} lost {len(lost)} commits of writer {number}: {sorted(lost)[:9]}"
                    )
        self._say(f"{total:,} commits were acknowledged")
        return found if total else ["no writer had anything acknowledged"]

    def _say(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with (self._folder / "sync.log").open("a") as log:
            log.write(f"--- {line}\n")


def crash(test: type[Crash], plan: Plan, source: str, target: str, folder: Path, seed: int) -> Counter[str]:
    """A crash test over two freshly opened stores; what was done, how often. Failed with its seed."""
    shutil.rmtree(folder, ignore_errors=True)  # what a run of the same seed left is no part of this one
    folder.mkdir(parents=True)
    print(f"seed {seed}: {source} to {target}, logs in {folder}", flush=True)
    with ExitStack() as stack:
        ends = [
            stack.enter_context(opened(name, side, folder))
            for name, side in ((source, "source"), (target, "target"))
        ]
        made = test(plan, ends[0], ends[1], folder, seed)
        try:
            made.run()
        except Failed as error:
            raise Failed(f"seed {seed}: {error}") from None
        return made.done


def _unfinished(database: Database) -> list[str]:
    """The writers' tables that the stream has and that are not live."""
    query = "SELECT name FROM syncline.tables WHERE state <> 'live'"
    if database.sqlite:
        query = "SELECT tbl ->> 1 FROM _syncline_tables WHERE state <> 'live'"
    return [name for (name,) in database.execute(query) if name in DDL]


def _leftovers(database: Database) -> list[str]:
    """What Syncline makes and must have taken away."""
    if database.sqlite:
        rows = database.execute("SELECT type || ' ' || name FROM sqlite_schema WHERE instr(name, 'syncline')")
    else:
        rows = database.execute(
            "SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database() "
            "UNION ALL SELECT 'publication ' || pubname FROM pg_publication "
            "UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'syncline' "
            "UNION ALL SELECT 'relation ' || relname FROM pg_class WHERE relname ~ 'syncline'"
        )
    return [row[0] for row in rows]


def _acks(database: Database, writer: int) -> set[int]:
    return {row[0] for row in database.execute("SELECT counter FROM acks WHERE writer = %s", [writer])}


def _counters(database: Database) -> list[tuple[int, int]]:
    rows = database.execute("SELECT writer, max(counter) FROM acks GROUP BY writer")
    return [(row[0], row[1]) for row in rows]
