"""How every command of the project ends: exit status, one line for what the user can mend."""

from __future__ import annotations

import signal
import sys

import click


def unwind_on_sigterm() -> None:
    """Make SIGTERM end the program as Ctrl-C does, so that unfinished results are cleaned up."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def run_command(command: click.Command) -> None:
    """Run a click command: status 2 and one line for bad input, 130 for an interrupt."""
    unwind_on_sigterm()
    try:
        command(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing half-written is left", err=True)
        sys.exit(130)
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
        click.echo(f"error: {text}", err=True)
        sys.exit(2)
