"""A run from start to report: claim, attach, copy, catch up, side stream, join, compare, remove."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from .. import failpoints
from ..connector import Claim, Source, Target
from ..errors import NeedsOperator, Refused, SynclineError, Transient
from ..model import Deletes, Identity, Position, Schema, State, TableName, TableState
from ..model.position import stream_name
from ..verify.compare import Finding, compare, compare_at_rest
from ..verify.digests import digest
from . import anew
from .arrivals import Arrivals
from .parking import describe
from .plan import NewTable, Plan, is_chosen, make_plan, plan_anew
from .report import Observer, Options, Report, TableReport, Verdict
from .retry import Patience
from .shapes import refuse_outdated
from .shared import refuse_shared, side_name
from .stores import Stores
from .stream import Stream
from .tally import Beside, Tally
from .throttle import Throttle
from .transform.schema import left_out
from .transform.source import TransformedSource

VERDICTS = {
    Finding.EQUAL: Verdict.EQUAL,
    Finding.DIFFERENT: Verdict.DIFFERENT,
    Finding.UNPROVEN: Verdict.NOT_COMPARED,
}

FOLLOWED = (State.COPYING, State.CATCHING_UP, State.LIVE)
COPIES = 3
KEPT = "rows that were deleted at the source may be at the target (deletes = ignore)"


class Pipeline:
    """One run of `syncline sync`.

    Everything a run has reached is in the target, so that a run is a loop of attempts: each opens its
    stores, claims the stream, finds where it stands and goes on; Transient errors lead to the next attempt.
    `report` is what has been reached so far, also after `run` has raised.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        open_target: Callable[[], Target],
        options: Options,
        observer: Observer,
    ) -> None:
        self._options = options
        self._stores = Stores(lambda: TransformedSource(open_source(), options.rules), open_target)
        self._observer = Tally(observer)
        self._throttle = Throttle(options.rate_limit)
        self._patience = Patience(None if options.follow else options.give_up_after)
        self._fences: dict[str, int] = {}
        self._planned = self._entered = False
        self._asked: set[TableName] = set()
        self.report = Report("", "", "")

    def run(self) -> Report:
        """Do what the options ask for. Interrupted after `stop`, else the errors of `syncline.errors`."""
        begun = time.monotonic()
        try:
            while True:
                try:
                    return self._attempt()
                except SynclineError as error:
                    if self._stores.stopped:
                        self._stores.check()
                    if not self._passes(error):
                        raise self._as_met(error) from None
                    pause = self._patience.pause(error)
                    self._observer.failed(error)
                    self._observer.notice(f"{error}; trying again")
                    self._stores.close()
                    self._stores.wait(pause)
        finally:
            self._stores.close()
            self.report.seconds = time.monotonic() - begun
            self._observer.fill(self.report)

    def stop(self, signal_number: int = 2) -> None:
        """End the run from a signal handler or another thread; `run` raises Interrupted."""
        self._stores.stop(signal_number)

    def _passes(self, error: SynclineError) -> bool:
        """Whether trying again may help: an address that refuses us after it had let us in (a name server
        is away, a password is being changed) may let us in again."""
        refused_later = self._planned and isinstance(error, Refused) and error.operation.startswith("connect")
        return isinstance(error, Transient) or refused_later

    def _as_met(self, error: SynclineError) -> SynclineError:
        """Refused promises that nothing was touched; once tables are entered it is an operator's matter."""
        if isinstance(error, Refused) and self._entered:
            return NeedsOperator(error.operation, error.subject, error.reason, error.remedy)
        return error

    def _attempt(self) -> Report:
        source, target = self._stores.source(), self._stores.target()
        here, there = source.identity(), target.identity()
        if here.id == there.id:
            raise Refused("sync", source.name, "it is the target as well", "name two databases")
        name = stream_name(here, there, self._options.pipeline)
        self.report.stream, self.report.source, self.report.target = name, source.name, target.name
        if self._options.remove:
            return self._remove(name, source, target)
        known = target.peek(name)
        if known and known.removing and not source.attached(name):
            return self._finish_removal(known, source, target)
        if known and known.position:
            known = self._check_log(known, here, source, target)
        beside = target.peek(side_name(name))
        if known and beside and beside.position:
            known, beside = self._check_side_log(known, beside, source, target)
        tables = dict(known.tables) if known else {}
        if known and beside and beside.position:
            tables |= beside.tables
        gone = self._no_longer_chosen(tables.values())
        tables = {table: state for table, state in tables.items() if table not in gone}
        asked = target.asked_anew(name) if known else ()
        plan = make_plan(source, target, tables, self._options, asked=asked, notice=self._observer.notice)
        self._asked = {new.schema.table for new in plan.new} & set(asked)
        refuse_shared(name, here, target, [new.schema.table for new in plan.new], self._options)
        self._tell(plan, target)
        if self._options.dry_run:
            return self._dry_report(plan)
        self._planned = True
        return self._sync(name, plan, gone, source, target)

    def _no_longer_chosen(self, states: Collection[TableState]) -> list[TableName]:
        """The tables that a configuration does not mean any more; a pair without one keeps what it has."""
        if not self._options.pipeline:
            return []
        return [state.schema.table for state in states if not is_chosen(state.schema, self._options)]

    def _tell(self, plan: Plan, target: Target) -> None:
        self._observer.planned(
            [(state.schema.table, state.schema.estimated_rows) for state in plan.known.values()]
            + [(new.schema.table, new.schema.estimated_rows) for new in plan.new]
        )
        reports = {table.table: table for table in self.report.tables}
        for table, reasons in plan.skipped.items():
            reason = "; ".join(reasons)
            if table not in reports:
                self._observer.notice(f"skipping table {table}: {reason}")
                reports[table] = TableReport(table, Verdict.SKIPPED, detail=reason)
        for state in plan.known.values():
            self._observer.state(state.schema.table, state.state, state.detail)
        for schema in [*(state.schema for state in plan.known.values()), *(new.schema for new in plan.new)]:
            report = reports.setdefault(schema.table, TableReport(schema.table, Verdict.FOLLOWED))
            report.target, report.source = target.place(schema.table), schema.source_table
        self.report.tables = sorted(reports.values(), key=lambda report: report.table)
        planned = {*plan.known, *(new.schema.table for new in plan.new)}
        for new in plan.new:
            if new.made:
                omissions = [*left_out(new.schema), *target.omissions(new.schema, planned)]
                self._note_omissions(new.schema, omissions)

    def _note_omissions(self, schema: Schema, omissions: Sequence[str]) -> None:
        """Name what is left out of a table that Syncline makes, once."""
        for text in (f"{schema.table}: {omission} at the target" for omission in omissions):
            if text not in self.report.notes:
                self._observer.notice(text)
                self.report.notes.append(text)

    def _dry_report(self, plan: Plan) -> Report:
        details = {new.schema.table: _intention(new) for new in plan.new}
        for table in self.report.tables:
            if table.table in details:
                table.verdict, table.detail = Verdict.PLANNED, details[table.table]
            elif table.verdict is not Verdict.SKIPPED:
                table.verdict = Verdict.RESUMED
        return self.report

    def _check_log(self, known: Claim, here: Identity, source: Source, target: Target) -> Claim | None:
        """Promise 7: a log that does not hold everything after the position is a Gap, and says so. With
        --replace everything is taken away and begun anew beside the old tables; what somebody asked for is
        begun anew, and the rest stays a Gap."""
        try:
            compare_log(known, here, source)
        except NeedsOperator as gap:
            # Another worker may have moved both ends between the two looks: only a claim makes them stand.
            dry = self._options.dry_run
            still = target.peek(known.stream) if dry else self._claim(target, known.stream)
            if still is None or still.position != known.position:
                return self._check_log(still, here, source, target) if still and still.position else None
            if not self._options.replace:
                if not dry and self._begin_log_anew(still, gap.reason, source, target):
                    return target.peek(known.stream)
                remedy = f"{'use' if self._options.pipeline else 'run with'} {self._options.remedy()}"
                remedy += " to copy its tables anew and swap them in"
                raise NeedsOperator(gap.operation, gap.subject, gap.reason, remedy) from None
            self._observer.notice(f"{gap.reason}: everything is copied anew")
            if not dry:
                for stream in (known.stream, side_name(known.stream)):
                    self._take_away(stream, source, target)
            return None
        return known

    def _check_side_log(
        self, known: Claim, beside: Claim, source: Source, target: Target
    ) -> tuple[Claim | None, Claim | None]:
        """Both streams; where the side stream's log is lost its tables begin anew, and nothing else is."""
        assert beside.position
        try:
            source.check_log(beside.stream, beside.position)
        except NeedsOperator as gap:
            if self._options.dry_run:
                return known, beside
            self._observer.notice(f"{gap.reason}: {', '.join(map(str, beside.tables))} copied anew")
            stream = self._stream(self._claim(target, known.stream), source, target)
            anew.lose_side(stream, beside.tables.values())
            self._take_away(beside.stream, source, target)
            return target.peek(known.stream), None
        return known, beside

    def _begin_log_anew(self, claim: Claim, reason: str, source: Source, target: Target) -> bool:
        """Record the Gap. Where tables are to be copied from their start, take the lost log away, so that
        they begin another one; False when there are none."""
        stream, side = self._stream(claim, source, target), side_name(claim.stream)
        beside = target.peek(side)
        anew.lose_log(stream, reason)
        anew.lose_side(stream, beside.tables.values() if beside else ())
        anew.begin_anew(stream, anew.asked(stream))
        begun = anew.waiting(stream)
        if not begun:
            return False
        named = ", ".join(map(str, begun[:8])) + (f" and {len(begun) - 8} more" if len(begun) > 8 else "")
        self._observer.notice(f"{reason}: {named} copied anew")
        self._take_away(side, source, target)
        source.detach(claim.stream)
        return True

    def _take_away(self, stream: str, source: Source, target: Target) -> None:
        """Leave nothing of a stream at either end."""
        source.detach(stream)
        target.forget(stream)
        self._fences.pop(stream, None)

    def _claim(self, target: Target, name: str) -> Claim:
        """Take the fence; after an error only if nobody else took it meanwhile (Promise 2)."""
        claim = target.claim(name, self._fences.get(name))
        self._fences[name] = claim.fence
        return claim

    def _stream(
        self, claim: Claim, lookup: Source | None, target: Target, observer: Observer | None = None
    ) -> Stream:
        return Stream(
            self._stores,
            lookup or self._stores.source(),
            target,
            claim,
            self._options,
            observer or self._observer,
            self._patience.progress,
            self._throttle,
        )

    def _sync(
        self, name: str, plan: Plan, gone: Collection[TableName], source: Source, target: Target
    ) -> Report:
        """Bring every table of the plan to live, and do what the mode asks for then."""
        main = self._stream(self._claim(target, name), source, target)
        side = side_name(name)
        if gone:
            self._leave_tables(main, gone)
        if self._options.pipeline:
            schemas = [*(state.schema for state in plan.known.values()), *(new.schema for new in plan.new)]
            source.narrow(name, schemas)
        beside = target.peek(side)
        if beside is None or beside.position is None:
            # A run died before the side stream began, or after it had joined.
            self._take_away(side, source, target)
            beside = None
        new = plan.new
        if main.has_live or beside is not None:
            while beside is not None or new:
                # What is on its way comes first; of its tables those whose copy begins anew as well.
                now = [table for table in new if beside is None or table.schema.table in beside.tables]
                self._add_beside(main, side, now)
                new, beside = [table for table in new if table not in now], None
        else:
            self._enter(main, new, source)
            main.copy()
        main.catch_up(source.ceiling())
        main.inspect()
        main.catch_up(main.position)  # and to the shapes that the catalog told
        main.inspect()
        main.look_at_requests(at_once=True)
        self._mend(main, side)
        for state in main.states.values():
            if state.created and state.state is State.LIVE:
                self._note_omissions(state.schema, target.omissions(state.schema))
        arrivals = Arrivals(self._options)
        while self._options.follow:
            arrivals.new = []
            main.follow(
                done=lambda: (
                    self._stores.stopped or bool(main.suspects or main.outgrown) or arrivals.look(main)
                )
            )
            self._stores.check()
            self._mend(main, side)
            self._take_in(main, side, arrivals.new)
        return self._conclude(main)

    def _leave_tables(self, main: Stream, gone: Collection[TableName]) -> None:
        """Let go of tables, also of those that are being brought up beside."""
        streams = [main]
        if main.target.peek(side := side_name(main.claim.stream)) is not None:
            streams.append(self._stream(self._claim(main.target, side), main.lookup, main.target))
        for stream in streams:
            anew.leave(stream, [table for table in gone if table in stream.states])
        for table in gone:
            self._observer.notice(f"table {table} is not of the pipeline any more; its rows stay")

    def _take_in(self, main: Stream, side: str, new: Sequence[NewTable]) -> None:
        """Add tables that have come to the source; one that cannot be is named and left out."""
        if not new:
            return
        tables = [table.schema.table for table in new]
        names = ", ".join(map(str, tables))
        try:
            refuse_shared(main.claim.stream, main.lookup.identity(), main.target, tables, self._options)
            self._observer.notice(f"table {names} is new at the source: it is copied beside the others")
            self._tell(Plan(known=main.states, new=list(new)), main.target)
            self._add_beside(main, side, new)
        except Refused as error:
            self._observer.notice(f"leaving out table {names}: {error}")
            self._take_away(side, main.lookup, main.target)

    def _mend(self, main: Stream, side: str) -> None:
        """Compare the suspects between batches, and copy anew what is not equal (Promise 4, Race 7)."""
        suspects = dict(main.suspects)
        main.suspects = {}
        for seen in suspects.values():
            self._observer.notice(
                f"comparing table {seen.table}: {seen.description}, which the log does not tell"
            )
        schemas = [main.states[table].schema for table in suspects if main.is_live(table)]
        try:
            findings = self._compare(main, schemas)
        except NeedsOperator:
            main.inspect()
            if all(main.is_live(schema.table) for schema in schemas):
                raise
            return  # one changed its shape while it was read, and has failed for that; the others come again
        for table, finding in findings.items():
            if not main.is_live(table):
                continue  # the log has stopped it meanwhile
            if finding is Finding.EQUAL:
                main.recognise([suspects[table]])
            else:
                # What could not be proven equal is taken for different: its rows must come (Promise 6).
                main.outgrown[table] = suspects[table].description
        self._copy_outgrown(main, side)

    def _copy_outgrown(self, main: Stream, side: str) -> None:
        """Copy tables anew whose shape changed between floor and goal (Race 9) or whose rows are others than
        the log told (Race 7), a few times at most; what cannot be, fails by name."""
        for _ in range(COPIES):
            outgrown, main.outgrown = main.outgrown, {}
            if not outgrown:
                return
            new, reasons = plan_anew(main.lookup, main.target, outgrown)
            main.fail({table: outgrown[table] for table in reasons if outgrown[table] != anew.ASKED})
            for table, reason in reasons.items():
                if outgrown[table] == anew.ASKED:
                    self._observer.notice(anew.decline(main, table, reason))
            tables = [table.schema.table for table in new]
            for table in tables:
                self._observer.notice(f"the copy of table {table} begins anew: {outgrown[table]}")
            if new:
                anew.begin_anew(main, tables)
                self._add_beside(main, side, new)

    def _enter(self, stream: Stream, new: Sequence[NewTable], source: Source) -> None:
        """Attach the stream's tables to the log, wait for a floor, take the new ones in."""
        if not new:
            return
        fresh = stream.claim.position is None
        try:
            begins = source.attach(
                stream.claim.stream, [table.schema for table in new], self._observer.notice
            )
            failpoints.hit("attach.done")
            if begins and any(state.floor for state in stream.states.values() if state.state in FOLLOWED):
                # The log was lost after we looked: those tables need what it held (Promise 7).
                source.check_log(stream.claim.stream, stream.position)
            floor = source.floor(self._observer.notice)
            # A row that came in another shape before the floor is told by nobody (Race 9).
            refuse_outdated("begin", source, [table.schema for table in new])
            states = [self._initial(table, floor, source, stream.target) for table in new]
            stream.enter(states, floor, first=fresh or begins)
            if fresh:  # another pipeline may have begun in the same moment
                tables = [table.schema.table for table in new]
                refuse_shared(stream.claim.stream, source.identity(), stream.target, tables, self._options)
        except (Refused, NeedsOperator):
            if fresh:  # nothing was copied: leave nothing behind
                self._take_away(stream.claim.stream, source, stream.target)
            raise
        self._entered = True

    def _initial(self, new: NewTable, floor: Position, source: Source, target: Target) -> TableState:
        """The first state of a table; one that is at the target already is not copied, if it still is."""
        schema = new.schema
        state = TableState(schema, State.COPYING, floor=floor, created=new.made, aside=new.aside)
        if not new.adopted:
            return state
        wanted = digest(source, source, target, schema)
        goal = source.ceiling()
        if digest(target, source, target, schema) != wanted:
            remedy = self._options.remedy(schema.source_table if self._options.pipeline else None)
            raise NeedsOperator(
                "sync",
                f"table {schema.table}",
                f"it was written to while it was compared with the rows that {target.name} holds already",
                f"run again when it is quiet, or use {remedy}",
            )
        return replace(state, state=State.CATCHING_UP, goal=goal)

    def _add_beside(self, main: Stream, side: str, new: Sequence[NewTable]) -> None:
        """Add tables to a live stream: they are copied and caught up by a side stream while the main one
        goes on; at a barrier one transaction makes them the main stream's (Races 2, 4)."""
        outcome: list[BaseException | Stream] = []

        def bring_up() -> None:
            try:
                stream = self._open_side(main, side, new)
                stream.copy()
                stream.catch_up(stream.lookup.ceiling())
                outcome.append(stream)
            except BaseException as error:  # carried to the main thread, which raises it
                outcome.append(error)

        work = threading.Thread(target=bring_up, name="side", daemon=True)
        work.start()
        try:
            while work.is_alive():
                main.follow(done=lambda: not work.is_alive())
        except BaseException:
            self._stores.interrupt_until(lambda: not work.is_alive())
            work.join()
            raise
        work.join()
        result = outcome[0]
        if isinstance(result, BaseException):
            raise result
        self._join(main, result)

    def _open_side(self, main: Stream, side: str, new: Sequence[NewTable]) -> Stream:
        source, target = self._stores.source(), self._stores.target()
        claim = self._claim(target, side)
        if claim.position:
            source.check_log(side, claim.position)
        stream = self._stream(claim, source, target, Beside(self._observer))
        tables = [state.schema for state in stream.states.values()] + [table.schema for table in new]
        source.attach(main.claim.stream, tables, self._observer.notice)
        self._enter(stream, new, source)
        return stream

    def _join(self, main: Stream, side: Stream) -> None:
        """Both streams stop at one position; there the side stream's tables become the main stream's."""
        barrier = main.lookup.ceiling()
        main.catch_up(barrier)
        side.catch_up(barrier)
        while behind := main.lookup.compare(main.position, side.position):
            # A row that was read again moved one stream's goal past the barrier.
            late, early = (main, side) if behind < 0 else (side, main)
            late.catch_up(early.position)
        failpoints.hit("join.before_commit")
        main.join(side)
        failpoints.hit("join.after_commit")
        if answered := self._asked & set(side.states):
            main.settle([], sorted(answered))
            self._asked -= answered
        main.lookup.detach(side.claim.stream)
        self._fences.pop(side.claim.stream, None)
        self._stores.release(side.lookup)
        self._stores.release(side.target)

    def _conclude(self, main: Stream) -> Report:
        """Compare, set the sequences, take everything away, report. A stream that is kept stays."""
        live = [state.schema for state in main.states.values() if state.state is State.LIVE]
        for schema in live:
            main.target.advance_sequences(schema, main.lookup.sequences(schema))
        if self._options.keep and not self._options.compare:
            return self._kept(main)
        self._judge(main, live)
        if self._options.keep:
            return self.report
        if main.parking:
            self.report.notes.append(
                f"stream {main.claim.stream} stays at both ends, as it has parked keys: mend their values and"
                " run again, give them up with `syncline parked drop`, or take all away with --remove"
            )
            return self.report
        self._leave(main)
        return self.report

    def _judge(self, main: Stream, live: Sequence[Schema]) -> None:
        """Compare the live tables, and give each its verdict."""
        findings = self._compare(main, live)
        for table in self.report.tables:
            state = main.states.get(table.table)
            if table.table in findings and main.is_live(table.table):
                table.verdict = VERDICTS[findings[table.table]]
                if state is not None and state.schema.deletes is Deletes.IGNORE:
                    table.detail = KEPT
                if parked := main.parking[table.table]:
                    table.detail = "; ".join(filter(None, (describe(parked.values()), table.detail)))
                    if table.verdict is Verdict.EQUAL:
                        table.verdict = Verdict.PARKED
            elif state is not None:
                table.verdict, table.detail = Verdict.FAILED, state.detail or f"it is {state.state}"

    def _leave(self, main: Stream) -> None:
        """Leave nothing of the stream at either end; a removal that is killed is finished by the next run."""
        main.target.mark_removing(main.claim)
        failpoints.hit("remove.before_detach")
        main.lookup.detach(main.claim.stream)
        failpoints.hit("remove.after_detach")
        main.target.forget(main.claim.stream)

    def _compare(self, main: Stream, schemas: Sequence[Schema]) -> Mapping[TableName, Finding]:
        """Compare tables of the stream as its owner."""
        return compare(
            main.lookup,
            main.target,
            schemas,
            main,
            self._observer.notice,
            self._observer.comparing,
            main.parking.keys,
        )

    def _kept(self, main: Stream) -> Report:
        """The report of a run that compares nothing: what is not live, or has parked keys, is named."""
        for table in self.report.tables:
            state, parked = main.states.get(table.table), main.parking[table.table]
            if state is not None and state.state is not State.LIVE:
                table.verdict, table.detail = Verdict.FAILED, state.detail or f"it is {state.state}"
            elif parked:
                table.verdict, table.detail = Verdict.PARKED, describe(parked.values())
        return self.report

    def _finish_removal(self, known: Claim, source: Source, target: Target) -> Report:
        """An earlier one-off run ended after it had taken its log away: what it left is only compared."""
        target.forget(known.stream)
        schemas: list[Schema] = [state.schema for state in known.tables.values()]
        findings = compare_at_rest(source, target, schemas)
        self.report.tables = [
            TableReport(table, VERDICTS[finding], target.place(table)) for table, finding in findings.items()
        ]
        self.report.notes.append("an earlier run had done the work; it was only compared once more")
        return self.report

    def _remove(self, name: str, source: Source, target: Target) -> Report:
        for stream in (side_name(name), name):
            known = target.peek(stream)
            if known is not None and not self._options.dry_run:
                target.mark_removing(self._claim(target, stream))
            if known is None and not source.attached(stream):
                continue
            self.report.notes.append(f"stream {stream} is taken away from both ends")
            if not self._options.dry_run:
                self._take_away(stream, source, target)
        if not self.report.notes:
            self.report.notes.append("there was nothing to take away")
        return self.report


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


def _intention(new: NewTable) -> str:
    if new.adopted:
        return "the target holds just these rows; nothing would be copied"
    if new.aside:
        return "built beside the target's table, then swapped"
    return "the table would be made" if new.made else "into the target's empty table"
