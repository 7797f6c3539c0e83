"""Rules as users write them: TOML sections, options of the command line, registered functions."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

import syncline
from syncline.control.rules import TableRules, command_line_rules
from syncline.engine.transform import registry
from syncline.engine.transform.registry import find_function, find_functions
from syncline.engine.transform.rules import Fixed, Hash, Null, Partial, Rules, rules_of
from syncline.errors import Refused
from syncline.model import Deletes

WHOLE = """
rename = "crm.people"
columns = ["id", "email", "phone", "note", "city", "total"]
rename_columns = { total = "amount" }
where = "status <> 'draft'"
mask = { email = { hash = "env:MASK_KEY" }, phone = { keep_last = 2 }, note = "null", city = { fixed = "x" } }
constants = { origin = "shop", version = 3, live = true }
cast = { total = "text" }
deletes = "mark"
deleted_at = "gone_at"
synced_at = "_synced_at"
transform = "tests.transform.functions:picky"
"""


def test_a_whole_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASK_KEY", "secret")
    rules = TableRules.model_validate(tomllib.loads(WHOLE)).rules()
    assert rules == Rules(
        rename="crm.people",
        columns=("id", "email", "phone", "note", "city", "total"),
        rename_columns={"total": "amount"},
        where="status <> 'draft'",
        mask={"email": Hash(b"secret"), "phone": Partial(last=2), "note": Null(), "city": Fixed("x")},
        constants={"origin": "shop", "version": 3, "live": True},
        cast={"total": "text"},
        deletes=Deletes.MARK,
        deleted_at="gone_at",
        synced_at="_synced_at",
        function="tests.transform.functions:picky",
    )
    assert "secret" not in repr(rules) + rules.told()


def test_an_empty_section_is_no_rule() -> None:
    assert TableRules().rules() == Rules()
    assert Rules().told() == ""


@pytest.mark.parametrize(
    "text",
    [
        "were = 'x'",
        "columns = []",
        "deletes = 'soft'",
        "mask = { a = 'nil' }",
        "mask = { a = { hash = 'secret' } }",
        "mask = { a = { keep_first = -1 } }",
        "mask = { a = { keep_first = 1, fixed = 'x' } }",
        "constants = { a = [1] }",
        "rename = ''",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TableRules.model_validate(tomllib.loads(text))


def test_a_missing_key_and_an_unknown_type_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASK_KEY", raising=False)
    with pytest.raises(Refused, match="MASK_KEY is not set"):
        TableRules.model_validate({"mask": {"a": {"hash": "env:MASK_KEY"}}}).rules()
    with pytest.raises(ValidationError, match=r'no column can be cast to "txt"; did you mean text\?'):
        TableRules.model_validate({"cast": {"a": "txt"}})


def test_options_of_the_command_line() -> None:
    rules = command_line_rules(
        ["sales.orders.total=text", "sales.orders.ratio=text"],
        ["sales.orders=a = 'b=c'"],
        ["tests.transform.functions"],
    )
    assert rules["sales.orders"] == Rules(cast={"total": "text", "ratio": "text"}, where="a = 'b=c'")
    assert rules["orders"].function.startswith("tests.transform.functions:")


@pytest.mark.parametrize("text", ["total=text", "orders.total", "orders.total=", "=text"])
def test_a_form_without_a_place_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"it is not TABLE\.COLUMN=FORM"):
        command_line_rules([text])


@pytest.mark.parametrize("text", ["orders", "=x", "orders="])
def test_a_condition_without_a_table_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="it is not TABLE=CONDITION"):
        command_line_rules([], [text])


def test_a_tables_own_name_wins_over_globs_and_later_over_earlier() -> None:
    patterns = {
        "orders": Rules(where="a"),
        "*": Rules(where="b", synced_at="at", cast={"x": "text"}),
        "o*": Rules(cast={"y": "text"}, deletes=Deletes.MARK),
    }
    assert rules_of(patterns, "orders") == Rules(
        where="a", synced_at="at", cast={"x": "text", "y": "text"}, deletes=Deletes.MARK
    )
    assert rules_of(patterns, "items") == patterns["*"]
    assert rules_of({"odd[1]": Rules(where="c")}, "odd[1]") == Rules(where="c")


def test_what_is_given_counts_also_where_it_is_the_default() -> None:
    patterns = {
        "*": TableRules.model_validate({"deletes": "mark"}).rules(),
        "orders": TableRules.model_validate({"deletes": "apply"}).rules(),
    }
    assert rules_of(patterns, "orders") == Rules()
    assert rules_of(patterns, "items") == Rules(deletes=Deletes.MARK)


def test_functions_are_found_and_say_what_they_take() -> None:
    taxed, picky = (find_function(f"tests.transform.functions:{name}") for name in ("taxed", "picky"))
    assert (taxed.table, taxed.form) == ("orders", "pandas")
    assert (picky.table, picky.form) == ("orders", "arrow")
    assert find_function("tests.transform.functions:rekeyed").form == "arrow"
    assert {found.name for found in find_functions("tests.transform.functions")} == {taxed.name, picky.name}
    with pytest.raises(Refused, match="it registers none"):
        find_functions("tomllib")
    with pytest.raises(Refused, match="does not say what it takes"):
        syncline.transform("t")(lambda rows: rows)
    given = syncline.transform("t", form="arrow")(lambda rows: rows)
    assert given(pa.table({})) == pa.table({})


def test_an_entry_point_is_a_short_name(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        name: EntryPoint(name, value, registry.GROUP)
        for name, value in {
            "shop": "tests.transform.functions",
            "tax": "tests.transform.functions:taxed",
        }.items()
    }
    monkeypatch.setattr(
        registry, "entry_points", lambda group, name: [points[name]] if name in points else []
    )
    assert find_function("tax").name == "tests.transform.functions:taxed"
    assert len(find_functions("shop")) == 2
    assert [found.name for found in find_functions("tax")] == ["tests.transform.functions:taxed"]


def test_importing_the_package_stays_light() -> None:
    code = "import sys, syncline; from syncline import transform; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def run(*arguments: str) -> Any:
    code = "from syncline.cli import main; raise SystemExit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("option", "text", "line"),
    [
        ("--store", "orders.totl=text", "there is no column totl; did you mean total?"),
        ("--store", "ordrs.total=text", "has no such table; did you mean orders?"),
        (
            "--store",
            "orders.total=txt",
            "cannot read the type 'txt': no column can be cast to \"txt\"; did you mean text?",
        ),
        ("--where", "orders=totl > 1", "did you mean total?"),
        ("--transforms", "nowhere", "No module named 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line_and_touches_nothing(tmp_path: Path, option: str, text: str, line: str) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "s.db") as file:
        file.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total DECIMAL)")
    done = run("sync", f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/t.db", option, text)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "t.db").exists()
