"""The commands of `tidelog` beside `serve`: a typer application on confluent-kafka. Runs in the
user's shell.

A failure is one clear line on standard error and a status that is not 0: 1 when the cluster
refused or could not be reached, 2 for a wrong command line.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tidelog.cli.cluster import CommandError, give_up_output

#: typer carries a click of its own, or uses the installed one, depending on its version; only
#: these are sure to be its.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

#: The commands, each with its module and what is taken from there: an application of subcommands,
#: or the command itself. Only the one that is called is imported: all together take half a second.
_COMMANDS = {
    "topics": ("topics", "app"),
    "produce": ("produce", "produce"),
    "consume": ("consume", "consume"),
    "offsets": ("offsets", "offsets"),
    "groups": ("groups", "app"),
    "top": ("top", "top"),
    "bench": ("bench", "app"),
    "profile": ("profile", "app"),
    "configs": ("configs", "app"),
    "metadata": ("metadata", "app"),
    "cluster": ("cluster_status", "app"),
    "transactions": ("transactions", "app"),
    "dump-log": ("dump_log", "dump_log"),
    "scrub": ("scrub", "scrub"),
}


def application(arguments: Sequence[str]) -> typer.Typer:
    """What runs these arguments: with the command that comes first; if that is none, with all."""
    app = typer.Typer(
        name="tidelog",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_nothing)  # it stays a group, though it has one command
    called = arguments[0] if arguments else ""
    for name in [called] if called in _COMMANDS else _COMMANDS:
        module, taken = _COMMANDS[name]
        what = getattr(importlib.import_module(f"tidelog.cli.{module}"), taken)
        if isinstance(what, typer.Typer):
            app.add_typer(what, name=name)
        else:
            app.command(name)(what)
    app.command(
        "serve",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(serve)
    return app


def _nothing() -> None:
    """A commit-log engine that speaks Kafka's wire protocol."""


def serve(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    """Start a broker (tidelog serve --help)."""
    from tidelog.process.serve import main

    raise typer.Exit(main(arguments or []))


def run(arguments: Sequence[str]) -> int:
    """Runs a command; returns its exit status."""
    command = typer.main.get_command(application(arguments))
    try:
        status = command.main(list(arguments), prog_name="tidelog", standalone_mode=False)
    except CommandError as error:
        return _complain(str(error), 1)
    except _ClickError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            # It is made of the help, and a wrong command line all the same.
            typer.echo(error.format_message(), err=True)  # type: ignore[attr-defined]
            return 2
        return _complain(*_explained(error))
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            return give_up_output()
        raise
    except typer.Abort:
        return _complain("stopped", 130)
    return status if isinstance(status, int) else 0


def _explained(error: Any) -> tuple[str, int]:
    """A wrong command line in words, with its exit status."""
    text = str(error.format_message())
    if isinstance(error, _UsageError):
        context = getattr(error, "ctx", None)
        text += f" ({context.command_path if context else 'tidelog'} --help)"
    return text, int(error.exit_code)


def _complain(problem: str, status: int) -> int:
    typer.echo(f"tidelog: {' '.join(problem.split())}", err=True)
    return status
