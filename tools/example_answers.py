"""Example answers to both listening tests: drawn at random by a seed, given by nobody.

They show an analysis before there are answers, and say nothing about any method.
``python -m tools.example_answers`` writes their CSV files. Notebook: ``06_listening_test``.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from vaerecon.lab.listening.statistics import (
    ABX_COLUMNS,
    ANCHOR,
    HIDDEN_REFERENCE,
    MUSHRA_COLUMNS,
    abx_order,
)
from vaerecon.lab.nb06_listening_test import EXAMPLES

PAIRS = {("example A", "example B"): 0.9, ("example A", "example C"): 0.5}  # share of right answers
SCORES = {  # mean and standard deviation
    HIDDEN_REFERENCE: (99, 2),
    "example B": (76, 9),
    "example C": (70, 9),
    "example D": (40, 9),
    ANCHOR: (30, 9),
}
LISTENERS = [f"example listener {i}" for i in range(1, 9)]
CARELESS = LISTENERS[2]  # rates at random
ITEMS = [f"example item {i}" for i in range(1, 5)]


def make_examples(seed: int = 0) -> dict[str, pd.DataFrame]:
    """Answers to both tests, by the name of their file, with its columns."""
    rng = np.random.default_rng(seed)
    shared = {"timestamp": "2000-01-01T00:00:00+00:00", "title": "example answers", "seed": seed}
    abx: list[dict[str, object]] = []
    mushra: list[dict[str, object]] = []
    for ((a, b), share), name in product(PAIRS.items(), LISTENERS[:3]):
        order = abx_order(16, len(abx))
        right = rng.random(16) < share
        answers = "".join(
            x if r else "BA"["AB".index(x)] for x, r in zip(order, right, strict=True)
        )
        row = {"listener": name, "a": a, "b": b, "order": order, "answers": answers}
        abx.append(shared | row | {"seed": len(abx)})
    for name, item in product(LISTENERS, ITEMS):
        for label, (condition, (mean, deviation)) in zip("ABCDE", SCORES.items(), strict=True):
            drawn = rng.uniform(0, 100) if name == CARELESS else rng.normal(mean, deviation)
            row = {"listener": name, "item": item, "condition": condition, "label": label}
            mushra.append(shared | row | {"score": round(float(np.clip(drawn, 0, 100)))})
    return {
        "example_abx.csv": pd.DataFrame(abx, columns=list(ABX_COLUMNS)),
        "example_mushra.csv": pd.DataFrame(mushra, columns=list(MUSHRA_COLUMNS)),
    }


if __name__ == "__main__":
    for file, table in make_examples().items():
        table.to_csv(EXAMPLES / file, index=False, lineterminator="\n")
