"""The pages of docs/ that code and committed figures write, the JSON schema, and the list of decisions.

python -m tools.pages      writes them; a test notices when one is old
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from bench import page
from syncline import errors
from syncline.cli.app import app
from syncline.control.model import json_schema

DOCS = Path(__file__).resolve().parents[1] / "docs"
_NOTE = "<!-- Written by `python -m tools.pages`; change the code, not this page. -->"

_FORM = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_MEANINGS = {
    0: "done; every table is equal (in a dry run: would be synced)",
    1: "done, but a table named in the report differs, was skipped, has parked keys, or kept changing too"
    " fast to be compared",
    errors.Refused.exit_code: "refused: a mistake in what was asked; nothing was touched",
    errors.NeedsOperator.exit_code: "gave up: a store was away for too long, or you are needed; the same"
    " command goes on",
    errors.Corruption.exit_code: "what was read cannot be what was written: stopped at once",
}


_SECTIONS = {
    "StateSection": "[state]",
    "PipelineSection": "[pipelines.NAME]",
    "TableRules": '[pipelines.NAME.tables."TABLE"]',
    "Budget": "[pipelines.NAME.budget]",
    "Alarm": "[alarm], [pipelines.NAME.alarm]",
    "Metrics": "[metrics]",
    "Log": "[log]",
    "HashMask": "hash",
    "FixedMask": "fixed",
    "PartialMask": "keep_first, keep_last",
}
"""What the sections of the schema are called in the file."""


def pages() -> dict[Path, str]:
    """Each page with its text."""
    measured = page.results("postgres")
    return {
        DOCS / "benchmarks.md": f"# Benchmarks\n\n{_NOTE}\n\n{page.page(measured)}",
        DOCS / "pictures/benchmarks.svg": page.picture(measured),
        DOCS / "reference/cli.md": "\n".join(_command_line()),
        DOCS / "reference/configuration.md": "\n".join(_configuration()),
        DOCS / "reference/errors.md": "\n".join(_errors()),
        DOCS / "adr/index.md": "\n".join(_decisions()),
        DOCS / "syncline.schema.json": orjson.dumps(json_schema(), option=_FORM).decode(),
    }


def _command_line() -> Iterator[str]:
    yield from ("# The command line", "", _NOTE, "")
    yield "`syncline COMMAND --help` says the same. A store is a URL (`postgresql://…`, `sqlite:///…`),"
    yield "`env:NAME` or `file:PATH`; [Errors and exit codes](errors.md) are those of every command."
    yield ""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    for command in sorted(_walk(root, "syncline"), key=lambda found: found[0]):
        yield from _command(*command)


def _walk(group: TyperGroup, path: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _command(path: str, command: TyperCommand) -> Iterator[str]:
    arguments = [one.metavar or "" for one in command.params if isinstance(one, TyperArgument)]
    usage = " ".join([path, *arguments, "[OPTION]…"])
    yield from (f"## {path}", "", f"    {usage}", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    rows = [row for parameter in command.params if (row := _parameter(parameter))]
    if rows:
        yield from ("| | what it means |", "|---|---|", *rows, "")
    if command.epilog:
        yield from (command.epilog, "")


def _parameter(parameter: TyperArgument | TyperOption) -> str:
    if parameter.name == "help":
        return ""
    if isinstance(parameter, TyperArgument):
        name = f"`{parameter.metavar}`"
    else:
        value = f" {parameter.metavar}" if parameter.metavar else ""
        name = ", ".join(f"`{flag}{value}`" for flag in parameter.opts)
    told = (parameter.help or "").rstrip(".")
    default = parameter.default
    if isinstance(default, int | float) and not isinstance(default, bool):
        told += f"; without it {default:g}"
    return f"| {_cell(name)} | {_cell(told)} |"


def _configuration() -> Iterator[str]:
    yield from ("# What syncline.toml may hold", "", _NOTE, "")
    yield "[syncline.toml](../configuration.md) shows it in use; `syncline schema` prints its JSON schema."
    yield ""
    schema = json_schema()
    yield from ("## The file", "", *_members(schema), "")
    for name, members in schema["$defs"].items():
        if members.get("type") != "object":
            continue
        yield from (f"## {_SECTIONS.get(name, name)}", "", *_described(members), *_members(members), "")


def _described(members: Mapping[str, Any]) -> Iterator[str]:
    if text := members.get("description"):
        yield from (" ".join(text.split()), "")


def _members(members: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| key | holds | without it | what it means |", "|---|---|---|---|")
    required = members.get("required", ())
    for key, value in members.get("properties", {}).items():
        default = value.get("default")
        absent = "needed" if key in required else "" if default in (None, [], {}, ()) else f"`{default}`"
        if isinstance(default, dict):
            absent = ""
        if isinstance(default, bool):
            absent = f"`{str(default).lower()}`"
        elif isinstance(default, float):
            absent = f"`{default:g}s`"
        told = " ".join(value.get("description", "").split()).rstrip(".")
        yield f"| `{key}` | {_cell(_kind(value))} | {_cell(absent)} | {_cell(told)} |"


def _kind(value: Mapping[str, Any]) -> str:
    """What a member may hold, in words."""
    if reference := value.get("$ref"):
        name = str(reference.rpartition("/")[2])
        return _SECTIONS.get(name, name)
    for several in ("anyOf", "allOf", "oneOf"):
        if several in value:
            return " or ".join(
                dict.fromkeys(kind for one in value[several] if (kind := _kind(one)) != "null")
            )
    if "enum" in value:
        return " or ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = str(value.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(value.get('items', {}))}"
    if kind == "object" and isinstance(more := value.get("additionalProperties"), dict):
        return f"table of {_kind(more)}"
    least, most = value.get("minimum"), value.get("maximum")
    bounds = f", {least} to {most}" if most is not None else f", from {least}" if least is not None else ""
    return {"object": "table", "boolean": "true or false", "string": "text", "integer": "number"}.get(
        kind, kind
    ) + bounds


def _errors() -> Iterator[str]:
    yield from ("# Errors and exit codes", "", _NOTE, "")
    yield "A command that goes wrong says so in one line on stderr,"
    yield "`cannot <do what> <to what>: <why>; <what to do>`, without a password and without a traceback,"
    yield "and ends with a code that says what kind it was."
    yield ""
    yield from ("| code | meaning |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in sorted(_MEANINGS.items()))
    yield "| 130, 143 | interrupted by Ctrl-C or SIGTERM, cleanly; the same command goes on |"
    yield from ("", "## Kinds of errors", "")
    yield "`error.code` of `--json`, and `code` of the last error in `status --json`, is one of these."
    yield from ("", "| code | what it means | exit code |", "|---|---|---|")
    for kind in _kinds(errors.SynclineError):
        code = kind("", "", "").code if kind is not errors.Interrupted else kind().code
        ends = "130, 143" if kind is errors.Interrupted else str(kind.exit_code)
        yield f"| `{code}` | {_cell(' '.join((kind.__doc__ or '').split()))} | {ends} |"
    yield from (
        "",
        "A `transient` error is retried; it ends a run only after `--give-up-after`, and `syncline run` and",
    )
    yield from (
        "`--follow` never. `SYNCLINE_DEBUG=1` shows the traceback of what is none of these, a bug.",
        "",
    )


def _kinds(root: type[errors.SynclineError]) -> Iterator[type[errors.SynclineError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _kinds(kind)


def _decisions() -> Iterator[str]:
    yield from ("# Decisions", "", _NOTE, "")
    yield "Each is a page, and is never edited afterwards: a later one supersedes an earlier one."
    yield ""
    for path in sorted((DOCS / "adr").glob("0*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        yield f"- [{title}]({path.name})"
    yield ""


def _cell(text: str) -> str:
    """The text as a cell of a table: a bar in it would end the cell."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
