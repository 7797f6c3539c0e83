"""What is done about a stream whose log does not hold everything after its position (Promise 7)."""

from __future__ import annotations

from ..connector import Claim, Source, Target
from ..errors import NeedsOperator
from ..model import Identity
from . import anew
from .shared import side_name
from .streams import Streams


def compare_log(known: Claim, here: Identity, source: Source) -> None:
    """NeedsOperator when the source is another one by now, or its log lacks what comes after the position."""
    assert known.position
    if known.source and known.source.incarnation != here.incarnation:
        raise NeedsOperator(
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
    except NeedsOperator as gap:
        # Another worker may have moved both ends between the two looks: only a claim makes them stand.
        dry = streams.options.dry_run
        still = target.peek(known.stream) if dry else streams.claim(target, known.stream)
        if still is None or still.position != known.position:
            return check_log(streams, still, here, source, target) if still and still.position else None
        if not streams.options.replace:
            if not dry and _begin_log_anew(streams, still, gap.reason, source, target):
                return target.peek(known.stream)
            remedy = f"{'use' if streams.options.pipeline else 'run with'} {streams.options.remedy()}"
            remedy += " to copy its tables anew and swap them in"
            raise NeedsOperator(gap.operation, gap.subject, gap.reason, remedy) from None
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
    except NeedsOperator as gap:
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
