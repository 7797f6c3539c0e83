"""Store references: URLs, env:NAME and file:PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncline.connectors.memory import database
from syncline.control.stores import find_connector, redact, resolve, source_opener, target_opener
from syncline.errors import Refused


def test_a_url_means_itself() -> None:
    assert resolve("postgresql://me:secret@host/db") == "postgresql://me:secret@host/db"


def test_an_environment_variable_holds_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", " sqlite:///shop.db\n")
    assert resolve("env:SHOP") == "sqlite:///shop.db"


def test_the_first_line_of_a_file_holds_the_url(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("  postgresql://me:secret@host/db \n# written by the deployment\n")
    assert resolve(f"file:{secret}") == "postgresql://me:secret@host/db"


@pytest.mark.parametrize(("value", "why"), [(None, "not set"), ("", "empty"), ("  ", "empty")])
def test_a_missing_variable_is_refused(monkeypatch: pytest.MonkeyPatch, value: str | None, why: str) -> None:
    monkeypatch.delenv("SHOP", raising=False)
    if value is not None:
        monkeypatch.setenv("SHOP", value)
    with pytest.raises(Refused, match=rf"^cannot read env:SHOP: the environment variable SHOP is {why}"):
        resolve("env:SHOP")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "no such file or directory"), (b"", "its first line is empty"), (b"\xff\xfe", "not a text file")],
)
def test_an_unusable_file_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    secret = tmp_path / "url"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(Refused, match=why):
        resolve(f"file:{secret}")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is a directory"):
        resolve(f"file:{tmp_path}")


def test_the_nearest_and_all_known_schemes_are_named() -> None:
    with pytest.raises(Refused, match=r"did you mean postgresql\? known are: .*postgresql, sqlite"):
        find_connector("postgresq://me:secret@host/db")


def test_a_scheme_may_name_a_driver_as_sqlalchemy_does() -> None:
    assert find_connector("MEMORY+anything://x") is find_connector("memory://x")


@pytest.mark.parametrize(
    ("reference", "example"), [("shop.db", "sqlite:///shop.db"), ("/a/b.db", "sqlite:////a/b.db")]
)
def test_a_bare_path_is_refused_with_its_url(reference: str, example: str) -> None:
    with pytest.raises(Refused, match=rf"such as {example}$"):
        find_connector(reference)


@pytest.mark.parametrize(
    "reference", ["host=h password=secret", "secret word", "mysqll://me:secret@host/db", "x://me:se@cret@h/d"]
)
def test_a_reference_that_makes_no_sense_shows_no_password(reference: str) -> None:
    with pytest.raises(Refused) as refused:
        find_connector(reference)
    assert "secret" not in str(refused.value)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me@host/db"),
        ("postgresql://me:s@c/r:t@host/db failed", "postgresql://me@host/db failed"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("no connection: 'host=h password=secret user=me'", "no connection: 'host=h password=*** user=me'"),
        ("postgresql://h/db?sslpassword=secret&x=1", "postgresql://h/db?sslpassword=***&x=1"),
        ("password authentication failed", "password authentication failed"),
    ],
)
def test_passwords_are_taken_out_of_texts(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_an_opener_opens_lazily_and_shows_no_url() -> None:
    database("cli-opener")
    opener = source_opener("memory://cli-opener")
    assert "cli-opener" not in repr(opener)
    assert opener().identity() == target_opener("memory://cli-opener")().identity()
