"""The command line: finds the commands, runs one, turns whatever happens into an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

import typer

from .. import __version__
from ..kernels import COMPILED
from . import commands
from .output import close_pipe, write_json

app = typer.Typer(
    name="syncline",
    help="Keeps a database equal to another one: copies, follows its change log, proves the result.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> int:
    """Run the command line and return the exit code; never raises."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a table's name may not fit the terminal's encoding
    try:
        return int(app(prog_name="syncline", standalone_mode=False) or 0)
    except SystemExit as end:  # the reader of a help text went away
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:
        return close_pipe(3)
    except BaseException as error:  # whatever it is, the user gets one line and an exit code
        return _fail(error)


def _fail(error: BaseException) -> int:
    from ..control.failures import error_members, exit_status, show_traceback
    from . import failures

    arguments = sys.argv[1:]
    known_commands = [module.name for module in iter_modules(commands.__path__)]
    command = " ".join(["syncline", *(word for word in arguments[:1] if word in known_commands)])
    show_traceback(error)
    known = failures.explain(error, command)
    typer.echo(failures.line(known), err=True)
    status = exit_status(known)
    if "--json" in arguments:
        return write_json(error_members(known), status)
    return status


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"syncline {__version__} ({'compiled' if COMPILED else 'uncompiled'} kernels)")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def syncline(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Keeps a database equal to another one: copies, follows its change log, proves the result."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _add_commands() -> None:
    for found in iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{found.name}")
        if group := getattr(module, "app", None):
            app.add_typer(group)
        else:
            app.command(epilog=getattr(module, "EPILOG", None))(getattr(module, found.name))


_add_commands()
