"""`syncline check FROM TO`: everything that would go wrong with a sync, before it is tried."""

from __future__ import annotations

import sys
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import Refused
from ..chosen import Config, Exclude, Json, Pair, Store, Tables, Transforms, Where, read_rules
from ..output import close_pipe, write_json

if TYPE_CHECKING:
    from ...engine.check import Check, Findings
    from ...engine.report import Options

EPILOG = (
    "Exit codes: 0 nothing stands in the way · 1 a sync would leave out, park or wait for what is listed ·"
    " 2 a sync would be refused · 3 a store went away · 130, 143 interrupted."
)


def check(
    stores: Pair,
    tables: Tables = None,
    exclude: Exclude = None,
    store: Store = None,
    where: Where = None,
    transforms: Transforms = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Check what `sync --replace` would do; nothing is replaced.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also read every row of FROM for values that would be parked, and look through all of a"
            " SQLite file for damage. Takes as long as a copy.",
        ),
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Offer to run those of the remedies that are safe: grants, schemas, extensions, replica"
            " identities, WAL mode, slots and publications of our own that were left behind. Nothing that"
            " touches rows or restarts a server.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: run them without asking.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List everything that would go wrong with a sync, each with what to do about it.

    Looks at rights, settings, keys, types, what the target holds, who would be waited for, and more; touches
    nothing. What a sync would refuse is said in the same words.
    """
    from ...control.pairs import resolve_alone

    _refuse_contradictions(fix, yes, as_json)
    pair = resolve_alone(stores, "check", config)
    rules = read_rules(store, where, transforms)
    if pair.project is not None and rules:
        why = f"the rules of pipeline {pair.name} are in {pair.project.path}"
        raise Refused("read", "the command line", why, "leave --store, --where and --transforms away")
    options = changed(
        pair.options,
        tables=tuple(tables or ()) or pair.options.tables,
        exclude=(*pair.options.exclude, *(exclude or ())),
        rules=rules or pair.options.rules,
        replace=replace,
    )
    return _check(pair.source, pair.target, options, deep=deep, fix=fix, yes=yes, as_json=as_json)


def _refuse_contradictions(fix: bool, yes: bool, as_json: bool) -> None:
    why = remedy = ""
    if yes and not fix:
        why, remedy = "--yes answers what only --fix asks", "add --fix, or leave --yes away"
    elif fix and not yes and (as_json or not sys.stdin.isatty()):
        why, remedy = "--fix asks before it runs anything, and nobody can answer here", "add --yes"
    if why:
        raise Refused("read", "the command line", why, remedy)


def _check(
    source: str,
    target: str,
    options: Options,
    *,
    deep: bool,
    fix: bool,
    yes: bool,
    as_json: bool,
) -> int:
    from ...control.service import check as look
    from ...control.signals import Stopper
    from ..findings import members

    stopper = Stopper(lambda text: typer.echo(text, err=True))
    run = look(source, target, options, deep=deep)
    stopper.watch(run)
    findings = stopper.run(run.run)
    fixed: list[dict[str, str]] = []
    if fix and any(found.problem.safe for found in findings.problems):
        if not as_json:
            _show(findings)
        fixed = _fix(run, findings, yes=yes)
        findings = stopper.run(run.run)
    if as_json:
        return write_json(members(findings) | ({"fixed": fixed} if fix else {}), findings.exit_code)
    return _show(findings)


def _show(findings: Findings) -> int:
    from rich.console import Console

    from ..findings import show

    try:
        show(findings, Console())
        sys.stdout.flush()
    except BrokenPipeError:
        return close_pipe(findings.exit_code)
    return findings.exit_code


def _fix(run: Check, findings: Findings, *, yes: bool) -> list[dict[str, str]]:
    """Run what is safe; each statement is shown before and its result after, on stderr."""
    from ...errors import SynclineError
    from ..figures import printable

    done: list[dict[str, str]] = []
    for found in findings.problems:
        if not found.problem.safe:
            continue
        statement, result = found.problem.statement, "done"
        typer.echo(printable(f"at the {found.end}: {statement}"), err=True)
        if not yes and not typer.confirm("run it?", err=True):
            result = "left"
        else:
            try:
                run.mend(found)
            except SynclineError as error:
                result = f"failed: {error}"
        typer.echo(printable(f"  {result}"), err=True)
        done.append({"at": str(found.end), "statement": statement, "result": result})
    return done
