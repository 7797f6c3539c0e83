"""The run before an application moves from the source to the target.

It owns the stream, as any run does, waits until nobody writes to the source, proves both equal, lets the
target's numbering go on after the source's, and only then says `switch now`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..connector import Source, Target
from ..model import Schema, State, Writer
from .pipeline import Pipeline
from .report import Observer, Options, Report, Verdict
from .shared import side_name
from .stream import Stream

LOOK_SECONDS = 0.5
TELL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Switch:
    """What is asked of a cutover: the source is quiet when nothing has changed for `quiet_seconds`; after
    `give_up_after` seconds of waiting for that it ends; `remove`: the stream goes when all is well."""

    quiet_seconds: float = 5.0
    give_up_after: float = 300.0
    remove: bool = False


class Cutover(Pipeline):
    """A run of `syncline cutover`. Until the source is quiet and both ends are equal it changes nothing but
    what a sync changes."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        open_target: Callable[[], Target],
        options: Options,
        observer: Observer,
        switch: Switch,
    ) -> None:
        super().__init__(open_source, open_target, options, observer)
        self._switch = switch
        self._waiting_since: float | None = None
        self._told = 0.0
        self._who: list[str] = []

    def _conclude(self, main: Stream) -> Report:
        """Wait for quiet, compare, and look whether it was quiet all the while; over again if not."""
        self._waiting_since = self._waiting_since or time.monotonic()  # the same for every attempt
        while self._comes_to_rest(main):
            main.inspect()
            self._mend(main, side_name(main.claim.stream))
            live = [state.schema for state in main.states.values() if state.state is State.LIVE]
            self._judge(main, live)
            if not self._is_at_rest(main):
                continue
            good = (Verdict.EQUAL, Verdict.SKIPPED)
            bad = [str(table.table) for table in self.report.tables if table.verdict not in good]
            if bad:
                self.report.notes.append(f"do not switch: {', '.join(bad)} cannot be called equal")
                return self.report
            numbers = self._carry_numbers(main, live)
            if self._is_at_rest(main):
                return self._say_switch(main, live, numbers)
        return self._give_up(main)

    def _comes_to_rest(self, main: Stream) -> bool:
        """Apply what comes until nothing has come for long enough; False when that took too long."""
        assert self._waiting_since is not None
        end = self._waiting_since + self._switch.give_up_after
        since = time.monotonic()
        main.touched.clear()
        while (now := time.monotonic()) - since < self._switch.quiet_seconds:
            if now >= end:
                return False
            self._stores.wait(min(LOOK_SECONDS, self._switch.quiet_seconds))
            if not self._is_at_rest(main):
                since = time.monotonic()
                main.touched.clear()
        return True

    def _is_at_rest(self, main: Stream) -> bool:
        """Whether nothing came since `touched` was cleared and no transaction is open at the source."""
        main.catch_up(main.lookup.ceiling())
        writers = main.lookup.writers(self._switch.quiet_seconds)
        resting = not main.touched and not any(writer.open for writer in writers)
        if not resting:
            self._tell_writers(writers)
        return resting

    def _tell_writers(self, writers: Sequence[Writer]) -> None:
        """Say who still writes, now and then."""
        open_first = sorted(writers, key=lambda writer: not writer.open)
        self._who = [writer.who for writer in open_first] or self._who
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            self._observer.notice(f"waiting until nobody writes to the source: {self._still_writing()}")

    def _still_writing(self) -> str:
        if not self._who:
            return "changes still come, and the source does not tell whose"
        more = f" and {len(self._who) - 3} more" if len(self._who) > 3 else ""
        return ", ".join(self._who[:3]) + more

    def _carry_numbers(self, main: Stream, live: Sequence[Schema]) -> dict[str, int]:
        """Let each numbered column go on at the target after the source's last number."""
        carried: dict[str, int] = {}
        for schema in live:
            numbers = main.lookup.sequences(schema)
            main.target.advance_sequences(schema, numbers)
            carried |= {f"{schema.table}.{column}": number for column, number in numbers.items()}
        return carried

    def _say_switch(self, main: Stream, live: Sequence[Schema], numbers: dict[str, int]) -> Report:
        notes = self.report.notes
        if numbers:
            told = ", ".join(f"{column} after {number:,}" for column, number in sorted(numbers.items()))
            notes.append(f"numbering goes on at the target: {told}")
        stream = main.claim.stream
        if self._switch.remove:
            self._streams.remove(main)
            notes.append(f"stream {stream} was taken away from both ends")
        else:
            name = self._options.pipeline
            go_on = f"syncline resume {name}" if name else "syncline sync FROM TO --follow"
            take_away = f"syncline remove {name}" if name else "syncline sync FROM TO --remove"
            notes.append(
                f"stream {stream} stays at both ends: `{go_on}` goes on if you do not switch, `{take_away}`"
                " takes it away when you have"
            )
        tables = f"{len(live):,} table{'' if len(live) == 1 else 's'}"
        quiet = f"nothing has changed at the source for {self._switch.quiet_seconds:g} s"
        notes.append(f"switch now: {tables} equal, and {quiet}")
        return self.report

    def _give_up(self, main: Stream) -> Report:
        for table in self.report.tables:
            if table.verdict is not Verdict.SKIPPED:
                table.verdict, table.detail = Verdict.NOT_COMPARED, ""
        self.report.notes.append(
            f"do not switch: the source was not quiet for {self._switch.quiet_seconds:g} s within"
            f" {self._switch.give_up_after:g} s: {self._still_writing()}; nothing was changed, stop them and"
            " run again"
        )
        return self.report
