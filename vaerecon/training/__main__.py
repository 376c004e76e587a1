"""``python -m vaerecon.training`` is ``vaerecon train``."""

from vaerecon.console import run_command
from vaerecon.training.commands import train

if __name__ == "__main__":
    run_command(train)
