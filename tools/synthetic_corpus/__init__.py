"""The synthesized training audio and the demo clips, made by programs. Not in the wheel."""
