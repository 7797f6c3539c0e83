"""`syncline.Pipeline`: one source kept equal to one target by a program of one's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import Interrupted, Refused
from ..observe.figures import Figures
from ..observe.recorder import Recorder
from . import service
from .pairs import Pair, pair_of
from .project import open_project

if TYPE_CHECKING:
    from ..engine.pipeline import Pipeline as Run
    from ..engine.report import Options, Report
    from ..engine.transform.rules import Rules


class Pipeline:
    """Keeps the tables of `target` equal to those of `source`, both store references (a URL, `env:NAME`,
    `file:PATH`). Opens nothing before it runs.

    `tables` and `exclude` are names or globs, `rules` say what becomes of a table on its way
    (`syncline.engine.transform.rules.Rules` by name or glob), `name` tells several pipelines between the same
    two stores apart. What the stream has reached is kept in the target, so that every run goes on; `remove`
    takes it away. `on_notice` is given sentences, from several threads.

    In a `with` it follows in a thread of its own; leaving it stops that, and raises what ended it before.
    """

    def __init__(
        self,
        source: str,
        target: str,
        *,
        tables: Sequence[str] = (),
        exclude: Sequence[str] = (),
        rules: Mapping[str, Rules] | None = None,
        name: str = "",
        workers: int = 2,
        give_up_after: float = 300.0,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        from ..engine.report import Options

        options = Options(
            tables=tuple(tables),
            exclude=tuple(exclude),
            rules=rules or {},
            pipeline=name,
            pipelines=(name,) if name else (),
            keep=True,
            workers=workers,
            give_up_after=give_up_after,
        )
        self._set_up(Pair(source, target, options), on_notice)

    @classmethod
    def from_config(
        cls,
        name: str,
        path: str | Path | None = None,
        *,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> Self:
        """A pipeline of syncline.toml, found as the command line does where no path is given. While it runs
        no worker of this machine has it. Refused for what is wrong with the file or the name."""
        made = cls.__new__(cls)
        project = open_project(Path(path) if path is not None else None)
        made._set_up(pair_of(project, name), on_notice)
        return made

    def _set_up(self, pair: Pair, on_notice: Callable[[str], None]) -> None:
        self._pair, self._tell = pair, on_notice
        self._lock = threading.Lock()
        self._running = self._stopping = False
        self._recorder = self._new_recorder()
        self._run: Run | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def _new_recorder(self) -> Recorder:
        return Recorder(lambda text, **members: self._tell(text))

    def run(self) -> Report:
        """Follow the source until `stop`, which another thread calls; how the tables stand then. Raises
        SynclineErrors: Refused before anything was touched, NeedsOperator with what is to be done."""
        return self._work(follow=True)

    def run_until_caught_up(self) -> Report:
        """Bring the target up to the source as it is now, and compare both. Raises as `run`, and
        NeedsOperator for trouble that outlasts `give_up_after` seconds."""
        return self._work()

    def remove(self) -> Report:
        """Take away all that runs made at both ends; rows stay. Raises as `run`."""
        return self._work(remove=True)

    def status(self) -> Figures:
        """The figures of this moment: states of tables, position, lag, rates, the last error."""
        return self._recorder.snapshot()

    def stop(self) -> None:
        """Let the run end cleanly, within seconds; from any thread. One that begins later is not stopped."""
        with self._lock:
            self._stopping = self._running
            run = self._run
        if run is not None:
            run.stop()

    def _work(self, **mode: bool) -> Report:
        with self._lock:
            if self._running:
                what = f"{self._pair.source.partition(':')[0]}:… to {self._pair.target.partition(':')[0]}:…"
                remedy = "stop that run first, or make another Pipeline"
                raise Refused("run", what, "it runs already, in another thread", remedy)
            self._running, self._stopping = True, False
            self._recorder = self._new_recorder()
        options = replace(self._pair.options, **mode)  # type: ignore[arg-type]
        try:
            with service.held_pair(self._pair, "run"):
                return self._sync(options)
        finally:
            with self._lock:
                self._running, self._run = False, None

    def _sync(self, options: Options) -> Report:
        recorder = self._recorder

        begun: list[Run] = []

        def started(run: Run) -> None:
            begun.append(run)
            recorder.follow(run.report)
            with self._lock:
                self._run, stopping = run, self._stopping
            if stopping:
                run.stop()

        try:
            report = service.sync(self._pair.source, self._pair.target, options, recorder, started=started)
        except Interrupted:
            return begun[0].report  # how a run that was stopped is meant to end
        recorder.ended(report)
        return report

    def __enter__(self) -> Self:
        def work() -> None:
            try:
                self.run()
            except BaseException as error:  # carried to the thread that leaves the `with`
                self._error = error

        self._error = None
        self._thread = threading.Thread(target=work, name="syncline", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        while self._thread.is_alive():
            self.stop()
            self._thread.join(0.1)
        if self._error is not None and error is None:
            raise self._error
