"""What is done about a stream whose log does not hold everything after its position (Promise 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..connector import Claim, Source, Target
from ..errors import LogLost, NeedsOperator, Refused
from ..model import Identity, State
from ..model.position import stream_name
from . import anew
from .plan import discover, is_chosen
from .report import Options
from .shared import side_name
from .streams import Streams


def compare_log(known: Claim, here: Identity, source: Source) -> None:
    """LogLost when the source is another one by now, or its log lacks what comes after the position."""
    assert known.position
    if known.source and known.source.incarnation != here.incarnation:
        raise LogLost(
            "go on with",
            f"stream {known.stream}",
            f"the source is not what it was: {known.source.incarnation} became {here.incarnation or 'none'}, "
            "so it was restored, promoted or replaced, and its log may lack changes",
        )
    source.check_log(known.stream, known.position)


def check_log(streams: Streams, known: Claim, here: Identity, source: Source, target: Target) -> Claim | None:
    """Promise 7: a log that does not hold everything after the position is a Gap, and says so. With
    --replace everything is taken away and begun anew beside the old tables; what somebody asked for is
    begun anew, and the rest stays a Gap."""
    try:
        compare_log(known, here, source)
    except LogLost as gap:
        # Another worker may have moved both ends between the two looks: only a claim makes them stand.
        dry = streams.options.dry_run
        still = target.peek(known.stream) if dry else streams.claim(target, known.stream)
        if still is None or still.position != known.position:
            return check_log(streams, still, here, source, target) if still and still.position else None
        if not streams.options.replace:
            if not dry and _begin_log_anew(streams, still, gap.reason, source, target):
                return target.peek(known.stream)
            raise _as_told(gap, streams.options) from None
        streams.observer.notice(f"{gap.reason}: everything is copied anew")
        if not dry:
            for stream in (known.stream, side_name(known.stream)):
                streams.take_away(stream, source, target)
        return None
    return known


def check_side_log(
    streams: Streams, known: Claim, beside: Claim, source: Source, target: Target
) -> tuple[Claim | None, Claim | None]:
    """Both streams; where the side stream's log is lost its tables begin anew, and nothing else is."""
    assert beside.position
    try:
        source.check_log(beside.stream, beside.position)
    except LogLost as gap:
        if streams.options.dry_run:
            return known, beside
        streams.observer.notice(f"{gap.reason}: {', '.join(map(str, beside.tables))} copied anew")
        stream = streams.open(streams.claim(target, known.stream), source, target)
        anew.lose_side(stream, beside.tables.values())
        streams.take_away(beside.stream, source, target)
        return target.peek(known.stream), None
    return known, beside


def _begin_log_anew(streams: Streams, claim: Claim, reason: str, source: Source, target: Target) -> bool:
    """Record the Gap. Where tables are to be copied from their start, take the lost log away, so that
    they begin another one; False when there are none."""
    stream, side = streams.open(claim, source, target), side_name(claim.stream)
    beside = target.peek(side)
    anew.lose_log(stream, reason)
    anew.lose_side(stream, beside.tables.values() if beside else ())
    anew.begin_anew(stream, anew.asked(stream))
    begun = anew.waiting(stream)
    if not begun:
        return False
    named = ", ".join(map(str, begun[:8])) + (f" and {len(begun) - 8} more" if len(begun) > 8 else "")
    streams.observer.notice(f"{reason}: {named} copied anew")
    streams.take_away(side, source, target)
    source.detach(claim.stream)
    return True


def find_former(name: str, source: Source, target: Target, options: Options) -> Claim | None:
    """The stream that a pipeline had before another source came to stand under its address: one of the same
    pipeline into this target, with a table that the pipeline means."""
    if not options.pipeline:
        return None  # a pair's own stream is known by its stores alone
    there = target.identity()
    for other in target.streams():
        claim = target.peek(other) if other != name else None
        if claim is None or claim.source is None or claim.removing:
            continue
        if stream_name(claim.source, there, options.pipeline) == other and any(
            schema.table in claim.tables and is_chosen(schema, options) for schema in discover(source, target)
        ):
            return claim
    return None


def give_up_former(
    streams: Streams, former: Claim, name: str, here: Identity, target: Target
) -> Claim | None:
    """Begin anew under the pipeline's present name when all was asked for, or with --replace; the stream, if
    so. Of the former one nothing can be gone on with."""
    asked = set(target.asked_anew(former.stream)) >= set(former.tables)
    if streams.options.dry_run or not (asked or streams.options.replace):
        return None
    reason = another_source(former, here, streams.options).reason
    streams.observer.notice(
        f"{reason}: everything is copied anew; at the former source the log of stream {former.stream} stays,"
        " and may grow until it is taken away there"
    )
    streams.claim(target, name)
    target.ask_anew(name, list(former.tables))  # before it is forgotten there, so that it cannot be lost
    for stream in (side_name(former.stream), former.stream):
        target.forget(stream)
    return target.peek(name)


def another_source(former: Claim, here: Identity, options: Options) -> NeedsOperator:
    """The error for a source that is not the one that the tables at the target came from."""
    assert former.source
    before, now = (f"{store.instance}/{store.database}" for store in (former.source, here))
    why = f"the source is another one than it was, {before} became {now}"
    return _as_told(LogLost("go on with", f"stream {former.stream}", why), options)


@contextmanager
def refused_for(former: Claim | None, here: Identity, streams: Streams) -> Iterator[None]:
    """Around what is refused as the target holds the rows of a former stream: they are a Gap then, and the
    observer hears it. At the target nothing is changed, as that stream may be another one's by right."""
    try:
        yield
    except Refused:
        if former is None:
            raise
        error = another_source(former, here, streams.options)
        for state in former.tables.values():
            detail = f"{error.reason}; copy it anew with {streams.options.remedy()}"
            streams.observer.state(state.schema.table, State.GAP, detail)
        raise error from None


def _as_told(gap: LogLost, options: Options) -> NeedsOperator:
    """What the user is told of a Gap, with the command that mends it."""
    remedy = f"{'use' if options.pipeline else 'run with'} {options.remedy()}"
    remedy += " to copy its tables anew and swap them in"
    return NeedsOperator(gap.operation, gap.subject, gap.reason, remedy)
