"""Measurements, one command each. They print tables; no test ever depends on a time."""
