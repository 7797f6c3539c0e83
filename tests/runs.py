"""Runs of the real engine over real stores, with a place to put an interleaving in."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import psycopg

from syncline.connector import Connector, Source, Target
from syncline.engine.pipeline import Pipeline
from syncline.engine.report import Options, Report, Silent


def connector(url: str) -> Connector:
    """The connector of a URL."""
    scheme = url.partition(":")[0]
    (point,) = entry_points(group="syncline.connectors", name=scheme)
    found: Connector = point.load()
    return found


class Hooked:
    """A store whose named methods call something of the test's before or after they ran."""

    def __init__(
        self,
        store: Source | Target,
        before: dict[str, Callable[..., None]] | None = None,
        after: dict[str, Callable[..., None]] | None = None,
    ) -> None:
        self._store, self._before, self._after = store, before or {}, after or {}

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._store, name)
        if name not in self._before and name not in self._after:
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self._before:
                self._before[name](*args, **kwargs)
            result = member(*args, **kwargs)
            if name not in self._after:
                return result
            if isinstance(result, Iterator):
                return self._drained(result, lambda: self._after[name](*args, **kwargs))
            self._after[name](*args, **kwargs)
            return result

        return call

    def _drained(self, items: Iterator[Any], then: Callable[[], None]) -> Iterator[Any]:
        yield from items
        then()


class Notices(Silent):
    """An observer that keeps the sentences."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


class Failures(Notices):
    """An observer that does something when an attempt has failed."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self._action = action

    def failed(self, error: Exception) -> None:
        self._action()


def pipeline(
    source: str,
    target: str,
    *,
    before: dict[str, Callable[..., None]] | None = None,
    after: dict[str, Callable[..., None]] | None = None,
    target_before: dict[str, Callable[..., None]] | None = None,
    observer: Silent | None = None,
    **options: Any,
) -> Pipeline:
    """A pipeline; `before` and `after` hook the source's methods, `target_before` the target's."""
    return Pipeline(
        lambda: Hooked(connector(source).source(source), before, after),  # type: ignore[arg-type,return-value]
        lambda: Hooked(connector(target).target(target), target_before),  # type: ignore[arg-type,return-value]
        Options(**{"give_up_after": 30.0, **options}),
        observer or Notices(),
    )


def sync(source: str, target: str, **more: Any) -> Report:
    """One run, to its report."""
    return pipeline(source, target, **more).run()


def verdicts(report: Report) -> dict[str, str]:
    """Each table's verdict by its name."""
    return {str(table.table): str(table.verdict) for table in report.tables}


class Following:
    """A `--follow` run in a thread, for as long as the `with` lasts."""

    def __init__(self, source: str, target: str, **more: Any) -> None:
        self.pipeline = pipeline(source, target, follow=True, **more)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.pipeline.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the run and wait for it."""
        self.pipeline.stop()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a stopped run ends"


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until a condition holds; `what` did not come otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def execute(url: str, *statements: str) -> None:
    """Run statements in one transaction of a PostgreSQL database."""
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def value(url: str, query: str) -> object:
    """The first cell of a PostgreSQL query's answer."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


@contextmanager
def meanwhile(write: Callable[[int], None]) -> Iterator[None]:
    """A thread that writes with one number after the other while the `with` is open."""
    over = threading.Event()

    def work() -> None:
        for number in itertools.count(10_001):
            if over.wait(0.02):
                return
            write(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
