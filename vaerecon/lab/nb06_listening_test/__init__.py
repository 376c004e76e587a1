"""What notebook ``06_listening_test`` uses, and its example answers as CSV files."""

from pathlib import Path

EXAMPLES = Path(__file__).parent  # written by tools/example_answers.py
