"""Everything that a user can ask for, from the command line or from Python."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import Refused, SynclineError
from .pairs import Pair, pair_of
from .stores import source_opener, target_opener

if TYPE_CHECKING:
    from ..engine.check import Check
    from ..engine.cutover import Cutover, Switch
    from ..engine.pipeline import Pipeline
    from ..engine.report import Observer, Options, Report
    from ..model import TableName
    from .project import Project
    from .status import PipelineStatus
    from .stored import ReportRow


def sync(
    source: str,
    target: str,
    options: Options,
    observer: Observer,
    *,
    started: Callable[[Pipeline], None] = lambda pipeline: None,
) -> Report:
    """Make the tables of one store equal to another's and report; blocks until that is done.

    `source` and `target` are store references (a URL, `env:NAME`, `file:PATH`). `started` is given the
    pipeline before it runs, for its `stop`. Raises SynclineErrors: Refused before anything was touched,
    Interrupted after `stop`."""
    open_source, open_target = source_opener(source), target_opener(target)

    from ..engine.pipeline import Pipeline  # late: pyarrow comes with it, and a bad reference needs none

    pipeline = Pipeline(open_source, open_target, options, observer)
    started(pipeline)
    return pipeline.run()


def sync_pair(
    pair: Pair, observer: Observer, *, started: Callable[[Pipeline], None] = lambda pipeline: None
) -> Report:
    """`sync` of a pair in this process. While a pipeline of a configuration runs so, no worker of this
    machine has it, and the report is among its reports. Raises as `sync`, Refused while a worker has it."""
    with nullcontext() if pair.options.dry_run else held_pair(pair, "sync"):
        report = sync(pair.source, pair.target, pair.options, observer, started=started)
        if pair.project is not None and not pair.options.dry_run:
            try:
                _keep_report(pair.project, pair.options.pipeline, report)
            except SynclineError as error:
                report.notes.append(f"{error}; the report is not among those of syncline reports")
    return report


def _keep_report(project: Project, name: str, report: Report) -> None:
    from .processes import HOST, key_of
    from .reports import report_members
    from .state import open_state
    from .stored import Phase, WorkerRow

    now, own = time.time(), key_of(os.getpid())
    row = WorkerRow(Phase.STOPPED, HOST, own, None, since=now, beat=now, exit_code=report.exit_code)
    with open_state(project) as state:
        state.add_report(name, report.exit_code, report_members(report))
        if not _supervised(project, name):  # else the row is its supervisor's
            state.put_worker(name, row)


def _supervised(project: Project, name: str) -> bool:
    """Whether a supervisor of this machine has a pipeline."""
    from .processes import Lock, runs

    return runs(Lock(project.lock_of(name, "supervisor")).holder())


def check(source: str, target: str, options: Options, *, deep: bool = False) -> Check:
    """A look at everything that would go wrong with `sync`, ready to `run`; references as for `sync`.
    Raises Refused for a reference that means nothing."""
    open_source, open_target = source_opener(source), target_opener(target)

    from ..engine.check import Check

    return Check(open_source, open_target, options, deep=deep)


def cutover(source: str, target: str, options: Options, observer: Observer, switch: Switch) -> Cutover:
    """The run that tells when to switch from one store to the other, ready to `run`; references as for
    `sync`. Raises Refused for a reference that means nothing."""
    open_source, open_target = source_opener(source), target_opener(target)

    from ..engine.cutover import Cutover

    return Cutover(open_source, open_target, options, observer, switch)


def run_pipeline(
    project: Project,
    name: str,
    mode: str,
    observer: Observer,
    *,
    started: Callable[[Pipeline], None] = lambda pipeline: None,
) -> Report:
    """Run one pipeline of a configuration in this process: `follow` it for ever, bring it up to its source
    `once`, or `remove` all that it made at both ends. What the stream has reached stays, so that the next
    run goes on. Raises as `sync`."""
    pair = pair_of(project, name)
    options = replace(pair.options, follow=mode == "follow", remove=mode == "remove")
    return sync(pair.source, pair.target, options, observer, started=started)


def resync(pair: Pair, tables: Sequence[str] = ()) -> tuple[list[TableName], bool]:
    """Ask for these tables of a pair, by name or glob, or all of its stream, to be copied anew and swapped
    in; which those are, and whether a worker of this machine runs that will do it. What is asked is kept in
    the target. A pipeline that waits for its next try is started at once. Refused for what is not there."""
    from .resync import resync as ask

    asked = ask(pair, tables)
    return asked, pair.project is not None and _wake(pair.project, pair.options.pipeline)


def _wake(project: Project, name: str) -> bool:
    """Start a pipeline that waits, unless it is paused; whether it runs by now. A state database that cannot
    be used loses nothing: the pipeline only waits longer."""
    try:
        (one,) = status(project, [name])
        if one.state in ("waiting", "halted"):
            _wish(project, [name], paused=False)
    except SynclineError:
        return False
    return one.running


def status(project: Project, names: Sequence[str] = ()) -> list[PipelineStatus]:
    """How these pipelines stand, or all. Refused for a name that is not there, NeedsOperator when the state
    database cannot be read."""
    from .status import read_status

    return read_status(project, names)


def pause(project: Project, names: Sequence[str]) -> list[str]:
    """Let these pipelines, or all, stand still until they are resumed; their names. A worker that runs ends
    cleanly within seconds. Raises as `status`."""
    return _wish(project, names, paused=True)


def resume(project: Project, names: Sequence[str]) -> list[str]:
    """Let these pipelines, or all, run; their names. One that waits for its next try, or was left to the
    operator, is started at once. Raises as `status`."""
    return _wish(project, names, paused=False)


def remove(pair: Pair) -> list[str]:
    """Take away all that runs of a pair made at both ends, and of a pipeline what is known of it here; what
    was done, in sentences. Rows stay. Refused while a worker has it."""
    if pair.project is None:
        from ..engine.report import Silent

        return sync(pair.source, pair.target, replace(pair.options, remove=True), Silent()).notes
    from .removal import take_away

    with held_pair(pair, "remove"):
        pass  # the worker that takes it away needs it
    name = pair.options.pipeline
    return take_away(pair.project, name, supervised=_supervised(pair.project, name))


@contextmanager
def held_pair(pair: Pair, operation: str) -> Iterator[None]:
    """Keep workers of this machine from a pipeline inside the `with`. Refused while one has it; two stores
    that were named themselves have no worker."""
    if pair.project is None:
        yield
        return
    from .processes import Lock

    name = pair.options.pipeline
    lock = Lock(pair.project.lock_of(name, "worker"))
    if not lock.take():
        pid = lock.holder().partition(":")[0]
        remedy = f"syncline pause {name} first"
        raise Refused(operation, f"pipeline {name}", f"process {pid} works on it", remedy)
    try:
        yield
    finally:
        lock.release()


def reports(project: Project, names: Sequence[str] = (), most: int = 20) -> list[ReportRow]:
    """The last reports of these pipelines, or all, the newest first. Raises as `status`."""
    from . import inquiry, stored

    chosen = project.pipelines(names)
    return inquiry.read(project, lambda select: stored.reports(select, chosen, most))


def _wish(project: Project, names: Sequence[str], *, paused: bool) -> list[str]:
    from .state import open_state

    chosen = list(project.pipelines(names))
    with open_state(project) as state:
        state.wish(chosen, paused=paused)
    return chosen
