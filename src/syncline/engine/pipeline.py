"""A run from start to report: claim, attach, copy, catch up, side stream, join, compare, remove."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from ..connector import Claim, Source, Target
from ..errors import LogLost, NeedsOperator, Refused, Superseded, SynclineError, Transient
from ..model import Deletes, Schema, State, TableName, TableState
from ..model.position import stream_name
from ..verify.compare import Finding, compare, compare_at_rest
from . import anew
from .arrivals import Arrivals
from .entry import Entry
from .gap import check_log, check_side_log, find_former, give_up_former, refused_for
from .parking import describe
from .plan import NewTable, Plan, is_chosen, make_plan, plan_anew
from .report import Observer, Options, Report, TableReport, Verdict
from .retry import Patience
from .shapes import Shapes, outdated
from .shared import refuse_shared, side_name
from .stores import Stores
from .stream import Stream
from .streams import Streams
from .tally import Tally
from .transform.schema import left_out
from .transform.source import TransformedSource

VERDICTS = {
    Finding.EQUAL: Verdict.EQUAL,
    Finding.DIFFERENT: Verdict.DIFFERENT,
    Finding.UNPROVEN: Verdict.NOT_COMPARED,
}

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
        self._had: set[TableName] = set()
        self._stores = Stores(lambda: TransformedSource(open_source(), options.rules, self._had), open_target)
        self._observer = Tally(observer)
        self._patience = Patience(None if options.follow else options.give_up_after)
        self._streams = Streams(self._stores, options, self._observer, self._patience.progress)
        self._entry = Entry(self._streams, self._had)
        self._planned = False
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
        is away, a password is being changed) may let us in again; what a lost log means is found out as
        every attempt begins (Promise 7)."""
        refused_later = self._planned and isinstance(error, Refused) and error.operation.startswith("connect")
        return isinstance(error, Transient | LogLost) or refused_later

    def _as_met(self, error: SynclineError) -> SynclineError:
        """Refused promises that nothing was touched; once tables are entered it is an operator's matter."""
        if isinstance(error, Refused) and self._entry.done:
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
            known = check_log(self._streams, known, here, source, target)
        former = None
        if known is None or known.position is None:
            former = find_former(name, source, target, self._options)
        if former:
            known = give_up_former(self._streams, former, name, here, target) or known
        beside = target.peek(side_name(name))
        if known and beside and beside.position:
            known, beside = check_side_log(self._streams, known, beside, source, target)
        tables = dict(known.tables) if known else {}
        if known and beside and beside.position:
            tables |= beside.tables
        self._had |= {state.schema.source_table for state in tables.values()}
        unmeant = self._no_longer_chosen(tables.values())
        dropped = self._dropped(source, [state for table, state in tables.items() if table not in unmeant])
        gone = [*unmeant, *(schema.table for schema in dropped)]
        tables = {table: state for table, state in tables.items() if table not in gone}
        asked = target.asked_anew(name) if known else ()
        with refused_for(former, here, self._streams):
            plan = make_plan(source, target, tables, self._options, asked=asked, notice=self._observer.notice)
        self._entry.asked = {new.schema.table for new in plan.new} & set(asked)
        refuse_shared(name, here, target, [new.schema.table for new in plan.new], self._options)
        self._tell(plan, target)
        if self._options.dry_run:
            return self._dry_report(plan)
        self._planned = True
        for table in unmeant:
            self._observer.notice(f"table {table} is not of the pipeline any more; its rows stay")
        for schema in dropped:
            self._observer.notice(f"table {schema.source_table} {anew.DROPPED}")
        self._tell_left(dropped, target)
        try:
            return self._sync(name, plan, gone, source, target)
        except NeedsOperator as error:
            claims = filter(None, map(target.peek, (name, side_name(name))))
            states = [state for claim in claims for state in claim.tables.values()]
            if isinstance(error, Superseded) or not anew.lost(target, states):
                raise
            # The next attempt stops the tables that the target has lost, and goes on with the others.
            raise Transient(error.operation, error.subject, error.reason) from None

    def _no_longer_chosen(self, states: Collection[TableState]) -> list[TableName]:
        """The tables that a configuration does not mean any more; a pair without one keeps what it has."""
        if not self._options.pipeline:
            return []
        return [state.schema.table for state in states if not is_chosen(state.schema, self._options)]

    def _dropped(self, source: Source, states: Collection[TableState]) -> list[Schema]:
        """The tables that leave as the source has them no longer, of those that no stream would find out."""
        shapes = Shapes(self._options, self._observer)
        idle = {
            state.schema.table: state.schema
            for state in states
            if state.state not in (State.CATCHING_UP, State.LIVE) and shapes.leaves(state.schema)
        }
        return [idle[change.table] for change in outdated(source, list(idle.values())) if change.dropped]

    def _tell_left(self, dropped: Collection[Schema], target: Target) -> None:
        """Report the tables that left because the source dropped them."""
        for schema in dropped:
            others = [table for table in self.report.tables if table.table != schema.table]
            left = TableReport(schema.table, Verdict.SKIPPED, target.place(schema.table))
            left.detail, left.source = f"it {anew.DROPPED}", schema.source_table
            self.report.tables = sorted([*others, left], key=lambda report: report.table)

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
            if report.verdict is Verdict.SKIPPED:  # it can take part by now
                report.verdict, report.detail = Verdict.FOLLOWED, ""
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
        details = {new.schema.table: new.intention for new in plan.new}
        for table in self.report.tables:
            if table.table in details:
                table.verdict, table.detail = Verdict.PLANNED, details[table.table]
            elif table.verdict is not Verdict.SKIPPED:
                table.verdict = Verdict.RESUMED
        return self.report

    def _sync(
        self, name: str, plan: Plan, gone: Collection[TableName], source: Source, target: Target
    ) -> Report:
        """Bring every table of the plan to live, and do what the mode asks for then."""
        main = self._streams.open(self._streams.claim(target, name), source, target)
        side = side_name(name)
        if gone:
            self._leave_tables(main, gone)
        anew.stop_missing(main)
        if self._options.pipeline:
            schemas = [*(state.schema for state in plan.known.values()), *(new.schema for new in plan.new)]
            source.narrow(name, schemas)
        beside = target.peek(side)
        if beside is None or beside.position is None:
            # A run died before the side stream began, or after it had joined.
            self._streams.take_away(side, source, target)
            beside = None
        new = plan.new
        if main.has_live or beside is not None:
            while beside is not None or new:
                # What is on its way comes first; of its tables those whose copy begins anew as well.
                now = [table for table in new if beside is None or table.schema.table in beside.tables]
                self._entry.add_beside(main, side, now)
                new, beside = [table for table in new if table not in now], None
        else:
            self._entry.enter(main, new, source)
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
        left_out = {table.table: table.detail for table in self.report.tables}
        arrivals = Arrivals(self._options, self._observer.notice, left_out)
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
            streams.append(
                self._streams.open(self._streams.claim(main.target, side), main.lookup, main.target)
            )
        for stream in streams:
            anew.leave(stream, [table for table in gone if table in stream.states])

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
            self._entry.add_beside(main, side, new)
        except Refused as error:
            self._observer.notice(f"leaving out table {names}: {error}")
            self._streams.take_away(side, main.lookup, main.target)

    def _mend(self, main: Stream, side: str) -> None:
        """Compare the suspects between batches, and copy anew what is not equal (Promise 4, Race 7)."""
        self._tell_left(main.left, main.target)
        main.left = []
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
            main.catch_up(main.position)  # and to the end of those that were dropped
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
                self._entry.add_beside(main, side, new)

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
        self._streams.remove(main)
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
                target.mark_removing(self._streams.claim(target, stream))
            if known is None and not source.attached(stream):
                continue
            self.report.notes.append(f"stream {stream} is taken away from both ends")
            if not self._options.dry_run:
                self._streams.take_away(stream, source, target)
        if not self.report.notes:
            self.report.notes.append("there was nothing to take away")
        return self.report
