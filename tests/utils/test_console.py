"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX"),
]


def run(code: str) -> subprocess.CompletedProcess:
    """A program, in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


# Sends SIGTERM while a C extension of numpy is loaded; prints whether it was loaded to the end
# before the interrupt.
INTERRUPTED_IMPORT = """
import signal, sys
from vaerecon.utils.console import unwind_on_signals

def interrupt(event, args):
    frame = sys._getframe() if event == "import" and not extensions else None
    while frame:
        if frame.f_code.co_qualname == "ExtensionFileLoader.exec_module":
            extensions.append(frame.f_locals["module"].__name__)
            signal.raise_signal(signal.SIGTERM)
            return
        frame = frame.f_back

extensions = []
unwind_on_signals()
sys.addaudithook(interrupt)
try:
    import numpy
    while True:
        pass
except KeyboardInterrupt:
    print(len(extensions), extensions[0] in sys.modules)
"""


def test_an_interrupt_waits_while_a_c_extension_is_loaded():
    """NumPy's C interface, for one, prints the interrupt and raises an ImportError in its place."""
    done = run(INTERRUPTED_IMPORT)
    assert (done.stdout, done.stderr) == ("1 True\n", "")


INTERRUPTED_DESTRUCTOR = """
import signal
from vaerecon.utils.console import unwind_on_signals

class Noisy:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        while True:
            pass

unwind_on_signals()
try:
    Noisy()
    while True:
        pass
except KeyboardInterrupt:
    print("ended")
"""


def test_an_interrupt_in_a_destructor_is_not_lost():
    """Python can raise nothing there: it would print a traceback and go on."""
    done = run(INTERRUPTED_DESTRUCTOR)
    assert (done.stdout, done.stderr) == ("ended\n", "")


REPLACED_INTERRUPT = """
import signal, click
from vaerecon.utils.console import run_command

@click.command()
def command():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise ValueError("could not determine the shape of an object")

run_command(command)
"""


def test_another_error_in_the_place_of_the_interrupt_is_still_one():
    """torch.tensor, for one, makes a ValueError of an interrupt while it looks at a sequence."""
    done = run(REPLACED_INTERRUPT)
    assert done.returncode == 130
    assert done.stderr == "interrupted; nothing half-written is left\n"
