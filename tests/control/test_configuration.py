"""syncline.toml: where it is found, what it may hold, and how a mistake in it is answered."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.control.lines import line_of
from syncline.control.model import Configuration, json_schema
from syncline.control.problems import check
from syncline.control.project import Misconfigured, open_project
from syncline.control.schedule import trigger
from syncline.control.units import parse_bytes, parse_seconds
from syncline.errors import Refused

from .broken import BROKEN, GOOD, Broken

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the tester's own is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNCLINE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def test_a_good_file_is_read() -> None:
    Path("syncline.toml").write_text(GOOD)
    project = open_project()
    (pipeline,) = project.pipelines().values()
    assert project.reference(pipeline.source) == "env:SHOP_URL"
    assert (pipeline.schedule, pipeline.schema_policy, pipeline.compare) == (None, "evolve", True)


def test_everything_that_the_documentation_shows_is_right() -> None:
    texts = [(ROOT / "docs" / f"{name}.md").read_text() for name in ("configuration", "alarms", "metrics")]
    examples = [block.partition("```")[0] for text in texts for block in text.split("```toml\n")[1:]]
    assert len(examples) >= 4
    for example in examples:
        configuration, problems = check(example)
        assert configuration is not None, problems


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_mistake_is_one_line_with_its_place_and_its_remedy(broken: Broken) -> None:
    Path("syncline.toml").write_text(broken.text)
    with pytest.raises(Misconfigured) as caught:
        open_project()
    message = str(caught.value)
    assert message.startswith(f"cannot read syncline.toml: line {broken.line}: "), message
    assert "\n" not in message
    for part in broken.says:
        assert part in message, message
    assert caught.value.exit_code == 2
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_all_mistakes_are_told_by_line() -> None:
    _, problems = check(GOOD.replace("include", "inclde").replace("env:SHOP_URL", "env:"))
    assert [problem.line for problem in problems] == [2, 8]


def test_a_password_in_the_file_is_in_no_message() -> None:
    text = GOOD.replace("sqlite:///warehouse.db", "postgre://me:s3cret@h/db").replace(
        '"shop"', '"a:s3cret@b"', 1
    )
    Path("syncline.toml").write_text(text)
    with pytest.raises(Misconfigured) as caught:
        open_project()
    assert "s3cret" not in str(caught.value) + "".join(caught.value.problems)


def test_it_is_looked_for_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match=r"syncline init FROM TO"):
        open_project()
    places = [
        tmp_path / "xdg/syncline/syncline.toml",
        Path("syncline.toml"),
        Path("named.toml"),
        Path("c.toml"),
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(GOOD)
    assert open_project(places[3]).path == places[3].absolute()
    monkeypatch.setenv("SYNCLINE_CONFIG", "named.toml")
    assert open_project().path == places[2].absolute()
    monkeypatch.delenv("SYNCLINE_CONFIG")
    assert open_project().path == places[1].absolute()
    places[1].unlink()
    assert open_project().path == places[0]
    with pytest.raises(Refused, match=r"no such file"):
        open_project(Path("other.toml"))


def test_pipelines_are_chosen_by_name() -> None:
    Path("syncline.toml").write_text(GOOD)
    assert list(open_project().pipelines(["orders"])) == ["orders"]
    with pytest.raises(Refused, match=r"did you mean orders\?"):
        open_project().pipelines(["order"])


def test_amounts() -> None:
    assert [parse_bytes(text) for text in ("10 GiB", "1.5kB", "7 B")] == [10 << 30, 1500, 7]
    assert [parse_seconds(text) for text in ("30s", "5m", "2 h", "1d")] == [30, 300, 7200, 86400]


def test_cron_counts_weekdays_from_sunday() -> None:
    def days(field: str) -> str:
        found = str(trigger(f"0 3 * * {field}"))
        return found.partition("day_of_week='")[2].partition("'")[0]

    assert days("1-5") == "mon,tue,wed,thu,fri"
    assert days("0") == days("7") == "sun"
    assert days("0-4/2") == "sun,tue,thu"
    assert days("mon-fri") == "mon-fri"
    assert days("*/3") == "sun,wed,sat"


def documents() -> st.SearchStrategy[list[str]]:
    values = st.sampled_from(["1", '"x"', '[\n  "a",\n  "b",\n]', '"""a\nkey = 1\n[x]\n"""', "{ b = 1 }"])
    return st.lists(values | st.just("# note") | st.just(""), min_size=1, max_size=8)


@given(documents())
def test_lines_are_those_where_statements_begin(values: list[str]) -> None:
    text, expected = "", {}
    for number, value in enumerate(values):
        statement = value if value in ("", "# note") else f"k{number} = {value}"
        if statement.startswith("k"):
            expected[f"k{number}"] = text.count("\n") + 1
        text += statement + "\n"
    assert {key: line_of(text, (key,)) for key in expected} == expected


def test_the_published_schema_is_the_one_of_the_code() -> None:
    """`syncline schema > docs/syncline.schema.json` renews it."""
    published: Any = json.loads((ROOT / "docs" / "syncline.schema.json").read_text())
    assert published == json_schema()
    described = published["$defs"]["PipelineSection"]["properties"]
    assert described.keys() >= {"from", "to", "schema"}
    assert all(key.get("description") or "$ref" in key for key in described.values())
    assert Configuration.model_config["extra"] == "forbid"


def test_a_path_starts_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a command reads it that was started somewhere else."""
    folder = tmp_path / "there"
    folder.mkdir()
    place = folder / "syncline.toml"
    place.write_text(
        '[stores]\nshop = "sqlite:///shop.db?timeout=5"\nkept = "file:secret"\nold = "sqlite:////a.db"\n'
    )
    project = open_project(place)
    assert project.reference("shop") == f"sqlite:///{folder}/shop.db?timeout=5"
    assert project.reference("kept") == f"file:{folder}/secret"
    assert project.reference("old") == "sqlite:////a.db"
    assert project.reference("env:X") == "env:X"
    monkeypatch.chdir(folder)
    assert project.reference("shop") == "sqlite:///shop.db?timeout=5"
