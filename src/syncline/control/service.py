"""Everything that a user can ask for, from the command line or from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import Refused, SynclineError
from .stores import source_opener, target_opener

if TYPE_CHECKING:
    from ..engine.check import Check
    from ..engine.cutover import Cutover, Switch
    from ..engine.pipeline import Pipeline
    from ..engine.report import Observer, Options, Report
    from ..model import TableName
    from .pairs import Pair
    from .project import Project
    from .state import ReportRow
    from .status import PipelineStatus


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
    source, target, options = asked_of(project, name)
    options = replace(options, follow=mode == "follow", remove=mode == "remove")
    return sync(source, target, options, observer, started=started)


def asked_of(project: Project, name: str) -> tuple[str, str, Options]:
    """The references of a pipeline's two stores, and what its section asks for. Refused for a name that is
    not there."""
    from ..engine.report import Options
    from .units import parse_rate

    (section,) = project.pipelines([name]).values()
    options = Options(
        tables=tuple(section.include),
        exclude=tuple(section.exclude),
        pipeline=name,
        pipelines=tuple(project.configuration.pipelines),
        keep=True,
        compare=section.compare,
        workers=section.workers,
        rate_limit=parse_rate(section.rate_limit) if section.rate_limit else None,
        schema=section.schema_policy,
        rules={table: rules.rules() for table, rules in section.tables.items()},
    )
    return project.reference(section.source), project.reference(section.target), options


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


def remove(project: Project, name: str) -> list[str]:
    """Take away all that a pipeline made at both ends, and what is known of it here; what was done, in
    sentences. Rows stay. Refused while a worker has it."""
    from .processes import Lock, runs
    from .removal import take_away

    with held_pipeline(project, name, "remove"):
        pass  # the worker that takes it away needs it
    return take_away(project, name, supervised=runs(Lock(project.lock_of(name, "supervisor")).holder()))


@contextmanager
def held_pipeline(project: Project, name: str, operation: str) -> Iterator[None]:
    """Keep workers of this machine from a pipeline inside the `with`. Refused while one has it."""
    from .processes import Lock

    project.pipelines([name])
    lock = Lock(project.lock_of(name, "worker"))
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
    from .state import open_state

    chosen = list(project.pipelines(names))
    with open_state(project) as state:
        return state.reports(chosen, most)


def _wish(project: Project, names: Sequence[str], *, paused: bool) -> list[str]:
    from .state import open_state

    chosen = list(project.pipelines(names))
    with open_state(project) as state:
        state.wish(chosen, paused=paused)
    return chosen
