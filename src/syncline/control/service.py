"""The runs that a user can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .stores import source_opener, target_opener

if TYPE_CHECKING:
    from ..engine.check import Check
    from ..engine.cutover import Cutover, Switch
    from ..engine.pipeline import Pipeline
    from ..engine.report import Observer, Options, Report


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
