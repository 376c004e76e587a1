"""Run a command: its exit status, and a one-line message for errors that the user can fix."""

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
_received: list[int] = []  # signals that interrupted the command


def interrupted() -> bool:
    """Whether a signal interrupted the command; C code may turn that into another exception."""
    return bool(_received)


def unwind_on_signals() -> None:
    """Make SIGTERM raise KeyboardInterrupt as Ctrl-C does, so that unfinished results are removed.

    While a C extension is being imported, both signals are delayed: its code, such as NumPy's, may
    turn the interrupt into an ImportError. In a destructor or a callback from C code, Python would
    only print the interrupt and continue; in that case the signal is sent again.
    """
    _received.clear()
    can_retry = hasattr(signal, "setitimer")  # not on Windows
    show_unraisable = sys.unraisablehook

    def retry(unraisable: "sys.UnraisableHookArgs") -> None:
        if can_retry and unraisable.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, RETRY)  # SIGALRM calls `stop`
        else:
            show_unraisable(unraisable)

    def stop(number: int, frame: FrameType | None) -> None:
        frames = [each.f_code.co_qualname for each, _ in walk_stack(frame)]
        if can_retry and any(name.startswith("ExtensionFileLoader.") for name in frames):
            signal.setitimer(signal.ITIMER_REAL, RETRY)
        else:
            _received.append(number)
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGALRM"):
        number = getattr(signal, name, None)  # Windows has no SIGALRM
        # a shell makes a program in the background ignore Ctrl-C
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    sys.unraisablehook = retry


def spare_collector() -> None:
    """Make garbage collection rare, and skip it at exit, so that short runs are faster.

    torch, diffusers and transformers create nearly a million objects that live until the exit.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def open_missing_streams() -> None:
    """Replace a standard stream that is closed (``>&-``, or in a service) by the null device.

    Otherwise the next opened file gets its descriptor, and with it the output of C libraries.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their file descriptors
        if getattr(sys, name) is None:
            stream = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115 (stays open)
            os.set_inheritable(stream.fileno(), True)  # worker processes need it as well
            setattr(sys, name, stream)


def printable(text: str) -> str:
    """Return ``text`` in one line, without control characters, which file names may contain."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def run_command(command: click.Command) -> None:
    """Run a click command: status 2 and one line for bad input, 130 for an interrupt."""
    spare_collector()
    unwind_on_signals()
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not every encoding has all characters, such as arrows
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
    """Whether ``error`` is a MemoryError or torch's RuntimeError, whose text differs by device."""
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def _one_line(message: object) -> str:
    return printable(" ".join(str(message).split()))


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    """Show the kit's own warnings in one line, warnings of libraries as Python does."""
    if issubclass(category, UserWarning) and file is None:
        click.echo(f"warning: {_one_line(message)}", err=True)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(text)
