"""Listening: the A/B player, level matching, blind tests and their statistics."""
