"""Keeps a worker running for each pipeline: starts, restarts, pauses, schedules and stops them.

It holds nothing that its end would lose. Workers notice that end by themselves; a later supervisor finds
what is wished in the state database, and where each stream stands in its target.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import Interrupted, Refused, SynclineError
from ..observe.alarms import Raised
from ..observe.logs import Format, append
from .child import Child
from .processes import HOST, Lock, key_of
from .project import Project
from .reload import ConfigurationFile, differs, left_to_a_start
from .state import StateDatabase, open_state
from .stored import STALE_SECONDS, Phase, Wish, WorkerRow
from .stores import redact
from .supervision import Supervision
from .watch import Watch

if TYPE_CHECKING:
    from .model import PipelineSection
    from .timetable import Timetable

LOOK_SECONDS = 1.0
BEAT_SECONDS = 5.0


class Supervisor:
    """Runs pipelines of a project, each in a worker of its own, until `stop`, or with `once` until each has
    ended. `echo` lets their lines appear on stderr, in that form."""

    def __init__(
        self, project: Project, names: Sequence[str] = (), *, once: bool = False, echo: Format | None
    ):
        sections = project.pipelines(names)
        if not sections:
            raise Refused("run", str(project.path), "it has no pipelines", "add one, as [pipelines.NAME]")
        self._project, self._once, self._echo = project, once, echo
        self._state: StateDatabase = open_state(project)
        self._named, self._sections = tuple(names), sections
        self._began, self._file, self._remark = project, ConfigurationFile(project), ""
        self._pipelines: dict[str, Supervision] = {}
        self._watch: Watch | None = None
        self._timetable: Timetable | None = None
        self._locks: dict[str, Lock] = {}
        self._rows: dict[str, WorkerRow] = {}
        self._wishes: dict[str, Wish] = {}
        self._signal = 0
        self._failing = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def run(self) -> dict[str, dict[str, Any]]:
        """Work until the end; what each pipeline's last worker said. Refused when another supervisor of this
        machine has one of the pipelines, Interrupted after `stop`."""
        mended = time.monotonic()
        try:
            for name in self._sections:
                self._add(name)
            self._watch = Watch(self._project, self._sections, self._note, time.time())
            self._try(self._keep_configuration)
            if self._schedules():
                self._timetable = self._new_timetable()
            while not self._over():
                self._look()
                if time.monotonic() - mended >= BEAT_SECONDS:
                    self._try(self._keep_schedules)
                    mended = time.monotonic()
                self._wait()
        finally:
            if self._timetable is not None:
                self._timetable.close()
            self._end()
        if self._signal:
            raise Interrupted(self._signal)
        return self.words

    @property
    def words(self) -> dict[str, dict[str, Any]]:
        """What each pipeline's last worker said at its end."""
        return {name: one.word for name, one in self._pipelines.items() if one.word is not None}

    def stop(self, signal_number: int = 2) -> None:
        """End: workers are asked to finish cleanly. From a signal handler or any thread."""
        self._signal = signal_number
        self._wake()

    def kill(self) -> None:
        """End every worker at once."""
        for one in self._pipelines.values():
            if one.child is not None:
                one.child.kill()

    def _add(self, name: str) -> None:
        """Take a pipeline over. Refused while another supervisor has it."""
        lock = Lock(self._project.lock_of(name, "supervisor"))
        if not lock.take():
            pid = lock.holder().partition(":")[0]
            remedy = "leave it to that one, or stop it first"
            raise Refused("run", f"pipeline {name}", f"process {pid} of this machine runs it", remedy)
        found: dict[str, WorkerRow] = {}
        self._try(lambda: found.update(self._state.workers()))
        row = found.get(name)
        elsewhere = row is not None and row.host != HOST and row.phase != Phase.STOPPED
        if row is not None and elsewhere and time.time() - row.beat < STALE_SECONDS:
            lock.release()
            remedy = "stop that one first, or give this one a state database of its own"
            raise Refused("run", f"pipeline {name}", f"machine {row.host} runs it", remedy)

        self._locks[name] = lock

        def start(mode: str) -> Child:
            return Child(self._project, name, "follow" if mode == "follow" else "once", echo=self._echo)

        self._pipelines[name] = Supervision(name, self._mode(name), start, time.time())

    def _leave(self, name: str) -> None:
        """Have nothing more to do with a pipeline whose worker has ended."""
        del self._pipelines[name]
        self._rows.pop(name, None)
        self._locks.pop(name).release()

    def _mode(self, name: str) -> str:
        return "once" if self._once else "scheduled" if name in self._schedules() else "follow"

    def _schedules(self) -> dict[str, str]:
        found = {name: section.schedule for name, section in self._sections.items()}
        return {name: text for name, text in found.items() if text and not self._once}

    def _new_timetable(self) -> Timetable:
        from .timetable import Timetable  # late: most have no schedule, and it costs memory

        made = Timetable(self._state, self._schedules(), self._due)
        try:
            made.start()
        except SynclineError:
            made.close()
            raise
        return made

    def _keep_configuration(self) -> None:
        configuration = self._project.configuration.model_dump(mode="json", by_alias=True)
        self._state.add_configuration(configuration)

    def _over(self) -> bool:
        everything = self._pipelines.values()
        if any(one.child is not None for one in everything):
            return False
        return bool(self._signal) or all(one.phase in (Phase.ENDED, Phase.HALTED) for one in everything)

    def _look(self) -> None:
        """One round: what is wished, what is due, what is to be shown."""
        self._try(self._read_wishes)
        self._look_at_file()
        now = time.time()
        for name, one in self._pipelines.items():
            if self._signal or name not in self._sections:
                one.stop(now)
            elif one.look(now, Wish() if self._once else self._wishes.get(name, Wish())):
                assert one.child is not None
                self._selector.register(one.child.link, selectors.EVENT_READ, one)
        if self._watch is not None:
            self._watch.look(self._pipelines, now)
            if self._watch.reads:
                self._try(self._read_figures)
        for name, one in list(self._pipelines.items()):
            self._show(one, now)
            if name not in self._sections and one.child is None:
                self._leave(name)

    def _read_figures(self) -> None:
        assert self._watch is not None
        self._watch.look_at(self._state.figures(), self._pipelines, time.time())

    def _look_at_file(self) -> None:
        """Take over a changed syncline.toml. One that cannot be used is told, and changes nothing."""
        if self._once or self._signal:
            return
        try:
            project = self._file.look()
            if project is not None:
                there = project.configuration.pipelines
                named = [name for name in self._named if name in there]
                if not (named if self._named else there):
                    raise Refused("take over", str(project.path), "it has none of the pipelines that run")
                self._take_over(project, project.pipelines(named))
        except SynclineError as error:
            self._remark = f"{error}; pipelines go on as they were"
            self._note("supervisor", self._remark)

    def _take_over(self, project: Project, sections: dict[str, PipelineSection]) -> None:
        """Run what the file says by now: pipelines come, go, and begin anew where they are changed. These
        find by themselves which tables are new and which are gone."""
        old, self._project = self._project, project
        before, self._sections = self._sections, sections
        now = time.time()
        for name in before.keys() - sections.keys():
            remedy = f"syncline remove FROM TO --name {name} takes away what it has at both ends"
            self._note(name, f"it is gone from {project.path.name} and stops; {remedy}")
        for name in sections:
            mode = self._mode(name)
            if name not in self._pipelines:
                self._note(name, f"it is new in {project.path.name} and begins")
                self._try_to_add(name)
            elif name not in before or self._pipelines[name].mode != mode or differs(old, project, name):
                self._note(name, "its configuration has changed: it begins anew with it")
                self._pipelines[name].begin_anew(mode, now)
        assert self._watch is not None
        self._watch.watch_over(project, self._sections, now)
        self._try(self._keep_schedules)
        self._try(self._keep_configuration)
        self._remark = left_to_a_start(self._began, project)
        if self._remark:
            self._note("supervisor", self._remark)

    def _try_to_add(self, name: str) -> None:
        try:
            self._add(name)
        except SynclineError as error:
            self._note(name, str(error))
            self._sections = {other: section for other, section in self._sections.items() if other != name}

    def _keep_schedules(self) -> None:
        if self._timetable is not None:
            self._timetable.keep(self._schedules())
        elif self._schedules():
            self._timetable = self._new_timetable()

    def _read_wishes(self) -> None:
        self._wishes = self._state.wishes()

    def _wait(self) -> None:
        """Until something happens, or it is time for the next round."""
        waiting = [one for one in self._pipelines.values() if one.phase is Phase.WAITING]
        due = [one.retry_at - time.time() for one in waiting if one.retry_at is not None]
        for key, _ in self._selector.select(max(0.0, min([LOOK_SECONDS, *due]))):
            one = key.data
            if one is None:
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif one.child is not None and one.child.hear():
                self._part(one, one.child)

    def _part(self, one: Supervision, child: Child) -> None:
        """Let a worker go that has said all, once that is stored: status must not take it for one that died
        when its process is gone, and not for one that is gone before."""
        self._selector.unregister(child.link)
        now = time.time()
        one.ended(now)
        self._show(one, now, child)
        child.dismiss()
        self._note_end(one)

    def _note_end(self, one: Supervision) -> None:
        assert one.word is not None
        word = one.word
        if "tables" in word:
            self._try(lambda: self._state.add_report(one.name, int(word["exit"]), word))
        trouble = one.trouble
        if trouble is None:
            return
        text = trouble.message
        if one.phase is Phase.HALTED:
            text += f"; it is not started again until syncline resume {one.name}"
        elif one.retry_at is not None:
            text += f"; starting again in {max(0.0, one.retry_at - time.time()):.1f} s"
        self._note(one.name, text, echo=not self._once)

    def _show(self, one: Supervision, now: float, parting: Child | None = None) -> None:
        """Store how a pipeline stands, when that changed, and now and then."""
        child = one.child or parting
        row = WorkerRow(
            phase=str(one.phase),
            host=HOST,
            supervisor=key_of(os.getpid()),
            worker=child.key if child else None,
            since=one.since,
            beat=now,
            retry_at=one.retry_at,
            exit_code=one.word["exit"] if one.word else None,
            trouble=one.trouble,
            alarms=self._alarms(one),
            remark=self._remark,
        )
        old = self._rows.get(one.name)
        if old is not None and old.says_the_same(row) and now - old.beat < BEAT_SECONDS:
            return
        self._rows[one.name] = row
        self._try(lambda: self._state.put_worker(one.name, row))

    def _alarms(self, one: Supervision) -> tuple[Raised, ...]:
        """Those that are raised; while it is paused nothing is judged."""
        if self._watch is None or one.phase is Phase.PAUSED:
            return ()
        return tuple(self._watch.raised(one.name))

    def _due(self, name: str) -> None:
        """Called by the timetable's threads."""
        one = self._pipelines.get(name)
        if one is not None and not self._signal:
            one.ask(self._wake)

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"!")

    def _try(self, work: Callable[[], None]) -> None:
        """Use the state database; its trouble is said once and stops no pipeline."""
        try:
            work()
        except SynclineError as error:
            if not self._failing:
                self._note("supervisor", f"{error}; pipelines go on")
            self._failing = True
        else:
            self._failing = False

    def _note(self, name: str, text: str, *, echo: bool = True, event: str = "trouble", **more: Any) -> None:
        shown = self._echo if echo else None
        append(self._project.log_of(name), name, redact(text), echo=shown, event=event, **more)

    def _end(self) -> None:
        """Leave nothing behind; workers that still run end with the link."""
        now = time.time()
        for one in self._pipelines.values():
            one.stop(now)
            if self._locks:
                self._show(one, now)
            if one.child is not None:
                one.child.link.close()
        if self._watch is not None:
            self._watch.look(self._pipelines, now)  # how the last ones ended
            self._watch.close()
        for lock in self._locks.values():
            lock.release()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._state.close()


def worst(words: Mapping[str, Mapping[str, Any]]) -> int:
    """The exit code of several pipelines: the worst of theirs."""
    return max((int(word["exit"]) for word in words.values()), default=0)
