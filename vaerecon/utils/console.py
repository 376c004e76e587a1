"""How every command of the project ends: exit status, one line for what the user can mend."""

import atexit
import gc
import os
import signal
import sys
import warnings
from traceback import walk_stack
from types import FrameType
from typing import TextIO

import click

from vaerecon.utils import plugins

RETRY = 0.02  # s
SAVE_MEMORY = (
    "to take less: --chunk-seconds 8 or --max-length, in training a smaller --batch-size; "
    "--device cpu does without a graphics card's memory"
)
_came: list[int] = []  # signals that ended what was running


def interrupted() -> bool:
    """Whether a signal has ended what was running: C code may have made another error of it."""
    return bool(_came)


def unwind_on_signals() -> None:
    """Make SIGTERM end the program as Ctrl-C does, so that unfinished results are cleaned up.

    While a C extension is loaded both wait: its code may make an ImportError of the interrupt, as
    NumPy's does. Where Python can raise nothing, in a destructor or a callback of C code, it would
    print the interrupt and go on: there it comes again.
    """
    _came.clear()
    waits = hasattr(signal, "setitimer")  # not on Windows
    show_unraisable = sys.unraisablehook

    def again(unraisable: "sys.UnraisableHookArgs") -> None:
        if waits and unraisable.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, RETRY)  # SIGALRM comes to `stop`
        else:
            show_unraisable(unraisable)

    def stop(number: int, frame: FrameType | None) -> None:
        frames = [each.f_code.co_qualname for each, _ in walk_stack(frame)]
        if waits and any(name.startswith("ExtensionFileLoader.") for name in frames):
            signal.setitimer(signal.ITIMER_REAL, RETRY)
        else:
            _came.append(number)
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGALRM"):
        number = getattr(signal, name, None)  # Windows has no SIGALRM
        # a shell has a program in the background ignore Ctrl-C
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    sys.unraisablehook = again


def spare_collector() -> None:
    """Have the garbage collector look seldom, and not at the end: a short run is quicker for it.

    Loading torch, diffusers and transformers makes nearly a million objects that stay to the end.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def open_missing_streams() -> None:
    """Put the null device in the place of a standard stream that is closed (``>&-``, a service).

    The next file to be opened would get its number, and what a library in C prints.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers
        if getattr(sys, name) is None:
            stream = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115 (stays open)
            os.set_inheritable(stream.fileno(), True)  # worker processes need it as well
            setattr(sys, name, stream)


def printable(text: str) -> str:
    """``text`` in one line, without what could command a terminal: names of files may hold it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def run_command(command: click.Command) -> None:
    """Run a click command: status 2 and one line for bad input, 130 for an interrupt."""
    spare_collector()
    unwind_on_signals()
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a pipe of another encoding has no arrows
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            command(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (Exception, KeyboardInterrupt) as error:
        if interrupted() or isinstance(error, KeyboardInterrupt | click.Abort):
            click.echo("interrupted; nothing half-written is left", err=True)
            sys.exit(130)
        if isinstance(error, click.ClickException):
            error.show()
        elif _is_out_of_memory(error):
            click.echo(f"error: out of memory; {SAVE_MEMORY}", err=True)
        elif (place := plugins.place_of(error)) or isinstance(error, ValueError | OSError):
            click.echo(f"error: {place}{_one_line(error)}", err=True)
        else:
            raise
        sys.exit(2)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it is Python's error, or torch's RuntimeError, whose words differ by device."""
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "out of memory" in said or "allocate memory" in said


def _one_line(message: object) -> str:
    return printable(" ".join(str(message).split()))


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    """A warning of ours in one line; a library's as Python shows it."""
    if issubclass(category, UserWarning) and file is None:
        click.echo(f"warning: {_one_line(message)}", err=True)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(text)
