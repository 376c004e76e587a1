"""``python -m tools.synthetic_corpus``: render the demo clips or the synthesized training audio."""

from tools.synthetic_corpus.synthesis import main
from vaerecon.utils.console import run_command

run_command(main)
