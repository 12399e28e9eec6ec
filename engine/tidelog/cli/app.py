"""The commands of `tidelog` beside `serve`: a typer application on confluent-kafka. Runs in the
user's shell.

A failure is one clear line on standard error and a status that is not 0: 1 when the cluster
refused or could not be reached, 2 for a wrong command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tidelog.cli import (
    bench,
    cluster_status,
    configs,
    groups,
    metadata,
    profile,
    topics,
    transactions,
)
from tidelog.cli.cluster import CommandError, give_up_output
from tidelog.cli.consume import consume
from tidelog.cli.dump_log import dump_log
from tidelog.cli.offsets import offsets
from tidelog.cli.produce import produce
from tidelog.cli.scrub import scrub
from tidelog.cli.top import top

#: typer carries a click of its own, or uses the installed one, depending on its version; only
#: these are sure to be its.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="tidelog",
    help="A commit-log engine that speaks Kafka's wire protocol.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(topics.app, name="topics")
app.command("produce")(produce)
app.command("consume")(consume)
app.command("offsets")(offsets)
app.add_typer(groups.app, name="groups")
app.command("top")(top)
app.add_typer(bench.app, name="bench")
app.add_typer(profile.app, name="profile")
app.add_typer(configs.app, name="configs")
app.add_typer(metadata.app, name="metadata")
app.add_typer(cluster_status.app, name="cluster")
app.add_typer(transactions.app, name="transactions")
app.command("dump-log")(dump_log)
app.command("scrub")(scrub)


@app.command(
    "serve",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    """Start a broker (tidelog serve --help)."""
    from tidelog.process.serve import main

    raise typer.Exit(main(arguments or []))


def run(arguments: Sequence[str]) -> int:
    """Runs a command; returns its exit status."""
    command = typer.main.get_command(app)
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
