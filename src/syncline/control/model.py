"""What `syncline.toml` may hold: its tables and keys, with their meaning, bounds and defaults.

The descriptions are what `syncline schema` publishes, and so what an editor shows.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from .rules import TableRules
from .schedule import check_schedule
from .stores import check_reference
from .units import (
    DURATION_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    check_rate,
    parse_bytes,
    parse_seconds,
)

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]*$"


def _check_store(text: str) -> str:
    return check_reference(text) if ":" in text else text


def _check_state(text: str) -> str:
    if check_reference(text).partition(":")[0].partition("+")[0] not in (
        "sqlite",
        "postgresql",
        "env",
        "file",
    ):
        raise ValueError("the state is kept in SQLite or PostgreSQL; write sqlite:///… or postgresql://…")
    return text


def _check_webhook(text: str) -> str:
    if not text.startswith(("http://", "https://", "env:", "file:")):
        raise ValueError("it is no web address; write https://…, env:NAME or file:PATH")
    return text


def _check_command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError("its quotes do not match; close each of them") from None
    if not words:
        raise ValueError("it is empty; write a command line, such as /usr/local/bin/page-me")
    return text


def _check_address(text: str) -> str:
    port = text.rpartition(":")[2]
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f'"{text}" is no address; write it like 127.0.0.1:8125')
    return text


def _check_glob(text: str) -> str:
    if not text.strip():
        raise ValueError("an empty name means no table; write one such as orders or sales.*")
    return text


Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=60)]
Reference = Annotated[str, AfterValidator(check_reference)]
End = Annotated[str, AfterValidator(_check_store)]
Glob = Annotated[str, AfterValidator(_check_glob)]
Schedule = Annotated[str, AfterValidator(check_schedule)]
Size = Annotated[
    int, BeforeValidator(parse_bytes), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})
]
Duration = Annotated[
    float, BeforeValidator(parse_seconds), WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})
]


class Section(BaseModel):
    """A table of the file: no unknown keys, no value of another type taken for the right one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class StateSection(Section):
    """Where status and reports are kept. Losing them loses no data."""

    url: Annotated[str, AfterValidator(_check_state)] | None = Field(
        default=None,
        description="A SQLAlchemy URL of SQLite or PostgreSQL, env:NAME or file:PATH. Default: a file in"
        " the XDG state folder.",
    )


class Budget(Section):
    """Bounds whose crossing raises an alarm; an absent one is not watched."""

    retained_log: Size | None = Field(
        default=None, description="How much of its log the source may keep for this pipeline: 10 GiB."
    )
    lag: Duration | None = Field(default=None, description="How far the target may be behind: 5m.")
    parked: int | None = Field(default=None, ge=0, description="How many keys may be parked.")
    standstill: Duration | None = Field(
        default=None, description="How long the position may stand still while the source's log grows: 10m."
    )


class Alarm(Section):
    """Who is told when a pipeline needs somebody."""

    command: Annotated[str, AfterValidator(_check_command)] | None = Field(
        default=None,
        description="A command line, run without a shell; the alarm is in its environment, and as JSON on"
        " stdin.",
    )
    webhook: Annotated[str, AfterValidator(_check_webhook)] | None = Field(
        default=None, description="An address that is posted to: https://…, env:NAME or file:PATH."
    )
    repeat: Duration = Field(
        default=3600.0, description="How much time lies at least between two tellings of one alarm: 1h."
    )
    timeout: Duration = Field(default=30.0, description="How long a command or a request may take: 30s.")


class Metrics(Section):
    """Where figures are told to others; nowhere unless it is said here."""

    prometheus: Annotated[str, AfterValidator(_check_address)] | None = Field(
        default=None,
        description="A port, or HOST:PORT, that answers with Prometheus text: 9187; without a host it is"
        " 127.0.0.1.",
    )
    dogstatsd: Annotated[str, AfterValidator(_check_address)] | None = Field(
        default=None, description="The HOST:PORT of a DogStatsD agent: 127.0.0.1:8125."
    )
    every: Duration = Field(default=10.0, description="How often DogStatsD is sent to: 10s.")
    tags: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="Tags that are added to everything that DogStatsD is sent: env:prod."
    )


class Log(Section):
    """What syncline run writes to stderr."""

    format: Literal["text", "json"] = Field(
        default="text", description="text, or json: an object a line. Log files are JSON always."
    )


class PipelineSection(Section):
    """One source feeding one target."""

    source: End = Field(alias="from", description="The store to read: a name of [stores], or a reference.")
    target: End = Field(alias="to", description="The store to make equal to it, written the same way.")
    include: list[Glob] = Field(
        default=[],
        description="Tables by name or glob, such as orders or sales.*; absent: every table. A plain name"
        " must be there and must be possible to sync.",
    )
    exclude: list[Glob] = Field(default=[], description="Not these tables, by name or glob.")
    schedule: Schedule | None = Field(
        default=None, description="every 15m, or cron's five fields such as 0 3 * * *; absent: continuously."
    )
    schema_policy: Literal["evolve", "freeze"] = Field(
        default="evolve",
        alias="schema",
        description="When a source table changes its columns: evolve changes the target's too, freeze stops"
        " the table.",
    )
    compare: bool = Field(
        default=True, description="Whether a run that ends (a scheduled one, --once) compares both sides."
    )
    workers: int = Field(default=2, ge=1, le=64, description="How many spans of tables are copied at once.")
    tables: dict[Glob, TableRules] = Field(
        default={},
        description="What becomes of a table on its way, by its name or a glob: names, columns, rows, masks.",
    )
    rate_limit: Annotated[str, AfterValidator(check_rate)] | None = Field(
        default=None,
        description="How fast the source is read while tables are copied and caught up: 20000 rows/s or"
        " 5 MiB/s.",
        json_schema_extra={"pattern": RATE_PATTERN},
    )
    budget: Budget = Budget()
    alarm: Alarm | None = Field(
        default=None, description="Who is told of this pipeline, instead of those of [alarm]."
    )


class Configuration(Section):
    """syncline.toml."""

    state: StateSection = StateSection()
    stores: dict[Name, Reference] = Field(
        default={}, description="Names for stores: a URL, env:NAME or file:PATH."
    )
    pipelines: dict[Name, PipelineSection] = Field(default={}, description="Pipelines by their names.")
    alarm: Alarm = Alarm()
    metrics: Metrics = Metrics()
    log: Log = Log()


def json_schema() -> dict[str, Any]:
    """The JSON schema of `syncline.toml`, for editors."""
    schema = Configuration.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "syncline.toml"}
