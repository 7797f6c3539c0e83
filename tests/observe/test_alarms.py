"""Alarms: raised once, cleared once, told to a real command and a real HTTP server."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from syncline.observe import notify
from syncline.observe.alarms import Alarm, Alarms, Condition, Limits, conditions, keyed
from syncline.observe.figures import Figures, TableFigures
from syncline.observe.notify import Address, Notifier
from tests.control.project import wait_until

ALARM = Alarm("raised", "orders", Condition("lag", "the target is behind; $(touch x) `y`", "t"), 1.0, 2.0)
LIVE = (TableFigures("t", "live"),)


def judged(alarms: Alarms, limits: Limits, figures: Figures, now: float) -> None:
    alarms.judge(keyed(conditions(limits, figures, now, alarms.held)), now)


def test_an_alarm_is_raised_once_repeated_seldom_and_cleared_once() -> None:
    told: list[tuple[str, str]] = []
    alarms = Alarms("orders", 100.0, lambda alarm: told.append((alarm.event, alarm.condition.kind)))
    limits = Limits(retained_log=1000, lag=10.0, parked=1, standstill=60.0)
    fine = Figures(tables=LIVE, synced_at=1000.0, retained=1000, parked=1)
    judged(alarms, limits, fine, 1010.0)
    assert told == [], "a budget that is just met is met"
    over = Figures(tables=LIVE, synced_at=1010.0, retained=1001, parked=1)
    for now in (1010.0, 1011.0, 1012.0):
        judged(alarms, limits, over, now)
    assert told == [("raised", "retained_log")]
    judged(alarms, limits, Figures(tables=LIVE, synced_at=1015.0, retained=900), 1015.0)
    assert told == [("raised", "retained_log")], "not met with something to spare"
    judged(alarms, limits, Figures(tables=LIVE, synced_at=1110.0, retained=900), 1111.0)
    assert told[1:] == [("repeated", "retained_log")]
    judged(alarms, limits, Figures(tables=LIVE, synced_at=1112.0, retained=800), 1112.0)
    judged(alarms, limits, Figures(tables=LIVE, synced_at=1112.0, retained=800), 1113.0)
    assert told[2:] == [("cleared", "retained_log")]


def test_what_raises_an_alarm() -> None:
    def kinds(figures: Figures, now: float) -> set[str]:
        limits = Limits(retained_log=1000, lag=10.0, parked=1, standstill=60.0)
        return {condition.kind + condition.table for condition in conditions(limits, figures, now, set())}

    assert kinds(Figures(), 1e9) == set(), "nothing is known yet"
    assert kinds(Figures(tables=LIVE, synced_at=1000.0), 1011.0) == {"lag"}, "figures that get old count"
    assert kinds(Figures(tables=LIVE, lag_since=1000.0), 1011.0) == {"lag"}, "never at the log's end"
    copying = (TableFigures("t", "copying"),)
    assert kinds(Figures(tables=copying, lag_since=1000.0), 1011.0) == set(), "a copy is not behind"
    assert kinds(Figures(still_since=1000.0), 1061.0) == {"standstill"}
    assert kinds(Figures(parked=2), 0) == {"parked"}
    assert kinds(Figures(retained=10**9, lag_unit="rows"), 0) == set(), "rows are not bytes"
    broken = (TableFigures("a", "gap"), TableFigures("b", "failed"), TableFigures("c", "live"))
    assert kinds(Figures(tables=broken), 0) == {"tablea", "tableb"}


@contextmanager
def notifier() -> Iterator[tuple[Notifier, list[str]]]:
    notes: list[str] = []
    made = Notifier(lambda pipeline, text: notes.append(f"{pipeline}: {text}"))
    try:
        yield made, notes
    finally:
        made.close()


def python(code: str, *arguments: object) -> str:
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


def test_a_command_gets_the_alarm_and_no_shell_sees_it(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code = (
        "import json, os, sys; told = [json.load(sys.stdin), json.loads(os.environ['SYNCLINE_ALARM']),"
        " os.environ['SYNCLINE_MESSAGE'], sys.argv[2]];"
        " open(sys.argv[1] + '.new', 'w').write(json.dumps(told));"
        " os.rename(sys.argv[1] + '.new', sys.argv[1])"
    )
    with notifier() as (made, notes):
        made.tell(ALARM, Address(command=python(code, out, "$HOME")))
        wait_until(out.exists, "the file")
    stdin, environment, message, argument = json.loads(out.read_text())
    assert stdin == environment == ALARM.to_json()
    assert (stdin["event"], stdin["kind"], stdin["table"]) == ("raised", "lag", "t")
    assert message == ALARM.condition.message
    assert argument == "$HOME"
    assert notes == []


def test_commands_that_hang_or_fail_are_noted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with notifier() as (made, notes):
        hangs = "import subprocess; subprocess.run(['sleep', '300'])"
        made.tell(ALARM, Address(command=python(hangs), timeout=0.5))
        made.tell(ALARM, Address(command=python("raise SystemExit(7)")))
        made.tell(ALARM, Address(command="/no/such/command"))
        made.tell(ALARM, Address(command=python("open(__import__('sys').argv[1], 'w')", out)))
        wait_until(out.exists, "the command after them")
    assert [note.partition("command: ")[2].partition(";")[0] for note in notes] == [
        "it did not end within 0 s",
        "it ended with code 7",
        "no such file or directory",
    ]


class Web:
    """An HTTP server that answers with these codes, and then 200."""

    def __init__(self, *codes: int) -> None:
        self.got: list[tuple[str, Any]] = []
        web, answers = self, list(codes)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                web.got.append((self.headers["Content-Type"], json.loads(body)))
                self.send_response(answers.pop(0) if answers else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/s3cret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("codes", "times", "why"),
    [
        ((), 1, ""),
        ((503, 429), 3, ""),
        ((500, 500, 500), 3, "it answered 500, three times"),
        ((404,), 1, "it answered 404"),
        ((302,), 1, "it answered 302"),
    ],
)
def test_a_webhook_is_posted_to(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], times: int, why: str
) -> None:
    monkeypatch.setattr(notify, "PAUSES_SECONDS", (0.01, 0.01))
    web = Web(*codes)
    with notifier() as (made, notes):
        made.tell(ALARM, Address(webhook=lambda: web.url))
        wait_until(lambda: len(web.got) == times, "the requests")
    web.close()
    assert web.got == [("application/json", ALARM.to_json())] * times
    assert notes == (
        [f"orders: cannot tell an alarm by the webhook: {why}; the pipeline goes on"] if why else []
    )
    assert "s3cret" not in "".join(notes)


def test_a_webhook_that_is_not_there_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PAUSES_SECONDS", (0.01, 0.01))
    web = Web()
    web.close()
    with notifier() as (made, notes):
        made.tell(ALARM, Address(webhook=lambda: web.url))
        wait_until(lambda: bool(notes), "the note")
    assert "Connection refused, three times" in notes[0]
    assert "s3cret" not in notes[0]
