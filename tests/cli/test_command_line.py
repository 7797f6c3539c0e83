"""What the command says and answers when no store is to blame."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import syncline as package
from syncline.cli import main
from syncline.engine.pipeline import Pipeline
from syncline.errors import Corruption, Interrupted, NeedsOperator, Refused, Superseded, Transient
from syncline.kernels import COMPILED

from .command import environment, syncline

SYNC = ["sync", "memory://cli-a", "memory://cli-b"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command inside this process."""
    monkeypatch.setattr(sys, "argv", ["syncline", *arguments])
    return main()


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every run end with this error."""

    def run(self: Pipeline) -> None:
        raise error

    monkeypatch.setattr(Pipeline, "run", run)


def test_the_version_is_shown() -> None:
    outcome = syncline("--version")
    kernels = "compiled" if COMPILED else "uncompiled"
    expected = f"syncline {package.__version__} ({kernels} kernels)\n"
    assert (outcome.code, outcome.out, outcome.err) == (0, expected, "")


def test_the_bare_command_shows_its_help() -> None:
    outcome = syncline()
    assert outcome.code == 0
    assert "sync" in outcome.out
    assert "demo" in outcome.out


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["sync", "--help"], ["demo", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom syncline.cli import main\n"
        f"sys.argv = ['syncline', *{arguments!r}]\ncode = main()\n"
        "heavy = {'pyarrow', 'psycopg', 'sqlite3', 'syncline.model'} & set(sys.modules)\n"
        "sys.stderr.write(f'{code} {sorted(heavy)}')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.stderr == "0 []"


@pytest.mark.parametrize(
    "option", ["--replace", "--follow", "--remove", "--json", "--tables", "--give-up-after"]
)
def test_help_names_every_option(option: str) -> None:
    assert option in syncline("sync", "--help", env={"COLUMNS": "120"}).out


def test_help_says_what_replace_does() -> None:
    text = " ".join(syncline("sync", "--help", env={"COLUMNS": "200"}).out.split())
    assert "DANGEROUS" in text
    assert "built aside, then swapped" in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["sync"], "Missing argument 'FROM TO | PIPELINE'; see syncline sync --help"),
        ([*SYNC, "--folow"], "No such option: --folow (Possible options: --follow); see"),
        (
            [*SYNC, "postgresql://me:secret@host/db"],
            "FROM and TO, or one pipeline; 3 words were given",
        ),
        ([*SYNC, "--give-up-after", "soon"], "'--give-up-after': Input should be a valid number"),
        ([*SYNC, "--give-up-after", "-1"], "greater than or equal to 0"),
        (["snyc"], "No such command 'snyc'"),
        ([*SYNC, "--remove", "--tables", "orders"], "--remove takes away all of the stream"),
        ([*SYNC, "--remove", "--dry-run"], "leave --dry-run away"),
    ],
)
def test_a_mistyped_command_is_one_line_and_2(arguments: list[str], why: str) -> None:
    outcome = syncline(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("syncline: cannot read the command line: ")
    assert outcome.err.count("\n") == 1
    assert why in outcome.err
    assert "secret" not in outcome.err


def test_a_mistyped_command_is_json_too() -> None:
    outcome = syncline(*SYNC, "--json", "--folow")
    assert outcome.document["exit"] == outcome.code == 2
    assert outcome.document["error"]["code"] == "refused"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("sync", "shop", "it makes no sense", "do better"), 2),
        (Transient("read", "shop", "it is away"), 3),
        (NeedsOperator("read", "shop", "its slot is lost", "run with --replace"), 3),
        (Superseded("write to", "shop", "another worker holds it"), 3),
        (Corruption("apply orders to", "shop", "the position moved"), 4),
        (Interrupted(2), 130),
        (Interrupted(15), 143),
    ],
)
def test_every_error_has_its_line_document_and_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    fail(monkeypatch, error)
    assert call(monkeypatch, *SYNC, "--json") == code
    out, err = capsys.readouterr()
    assert err == f"syncline: {error}\n"
    document = json.loads(out)
    assert document["exit"] == code
    assert document["error"]["message"] == str(error)
    assert document["error"].keys() == {"code", "operation", "subject", "reason", "remedy", "message"}
    assert document["error"]["code"] == type(error).__name__.lower()


def test_a_bug_is_one_line_that_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SYNCLINE_DEBUG", raising=False)
    fail(monkeypatch, KeyError("lost postgresql://me:secret@host/db"))
    assert call(monkeypatch, *SYNC) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "this is a bug in Syncline (KeyError: 'lost postgresql://me@host/db')" in err
    assert "SYNCLINE_DEBUG=1" in err


def test_a_bug_shows_its_traceback_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNCLINE_DEBUG", "1")
    fail(monkeypatch, KeyError("lost postgresql://me:secret@host/db"))
    assert call(monkeypatch, *SYNC) == 3
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "secret" not in err


def test_a_users_mistake_shows_no_traceback_even_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNCLINE_DEBUG", "1")
    assert call(monkeypatch, "sync", "env:SYNCLINE_NO_SUCH", "memory://cli-b") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_error_with_escape_codes_cannot_paint_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, Refused("sync", "table \x1b[31mred\n", "no"))
    call(monkeypatch, *SYNC)
    assert capsys.readouterr().err == "syncline: cannot sync table \\x1b[31mred: no\n"


def test_a_name_that_no_terminal_can_show_is_no_crash(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as file:
        file.execute("CREATE TABLE grüße (id INTEGER PRIMARY KEY)")
    stores = [f"sqlite:///{tmp_path}/shop.db", f"sqlite:///{tmp_path}/copy.db"]
    outcome = syncline("sync", *stores, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert outcome.code == 0, outcome
    assert "gr\\xfc\\xdfe" in outcome.out


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    done = subprocess.run(
        [f"{sys.executable} -m syncline sync --help | head -c 1"],
        shell=True,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
