"""What `syncline.toml` may hold: its tables and keys, with their meaning, bounds and defaults.

The descriptions are what `syncline schema` publishes, and so what an editor shows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from .rules import TableRules
from .schedule import check_schedule
from .stores import check_reference
from .units import DURATION_PATTERN, SIZE_PATTERN, parse_bytes, parse_seconds

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

    command: str | None = Field(default=None, min_length=1, description="A command line for the shell.")
    webhook: Annotated[str, AfterValidator(_check_webhook)] | None = Field(
        default=None, description="An address that is posted to: https://…, env:NAME or file:PATH."
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
    budget: Budget = Budget()


class Configuration(Section):
    """syncline.toml."""

    state: StateSection = StateSection()
    stores: dict[Name, Reference] = Field(
        default={}, description="Names for stores: a URL, env:NAME or file:PATH."
    )
    pipelines: dict[Name, PipelineSection] = Field(default={}, description="Pipelines by their names.")
    alarm: Alarm = Alarm()


def json_schema() -> dict[str, Any]:
    """The JSON schema of `syncline.toml`, for editors."""
    schema = Configuration.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "syncline.toml"}
