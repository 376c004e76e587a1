"""Rules that recommend a method: ranks over clips, ties, and a sign test.

The table of scores has one row per clip, method and source: ``clip``, ``method``, ``vae`` (True:
through the VAE; only these rows are used), ``real_time_factor``, and the metrics.

References
----------
.. [1] W. Dixon and A. Mood, "The statistical sign test", JASA 1946.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from vaerecon.metrics.scores import METRICS, PANELS

if TYPE_CHECKING:
    import pandas as pd

BUDGETS = (0.1, 1.0, math.inf)  # real-time factors: interactive use; real time; no limit
CERTAIN = 0.05  # p-value below which a choice is "clear"


@dataclass(frozen=True)
class Recommendation:
    """The best of the methods within a time budget, by one panel of metrics."""

    panel: str  # of PANELS
    budget: float  # highest real-time factor allowed
    method: str | None  # None: no method is fast enough
    rank: float | None = None  # mean rank, 1 is best
    runner_up: str | None = None  # None: there is only one method
    wins: int = 0  # clips on which the method ranks before the runner-up
    losses: int = 0  # clips on which it ranks behind
    clips: int = 0  # clips that could be ranked

    @property
    def certainty(self) -> str:
        """Certainty of the choice in words, by a sign test [1]_ over the clips."""
        if self.method is None:
            return "none is fast enough"
        if self.runner_up is None:
            return "the only candidate"
        if self.wins > self.losses:
            if sign_test(self.wins, self.losses) < CERTAIN:
                return "clear"
            if sign_test(self.clips, 0) >= CERTAIN:
                return "too few clips to be sure"
        return "a draw"


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the sign test for these numbers of wins and losses."""
    n, most = wins + losses, max(wins, losses)
    p: float = 2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n
    return min(1.0, p)


def panel_metrics(panel: str) -> list[str]:
    """Return the names of the metrics of one of ``PANELS``."""
    return [name for name, metric in METRICS.items() if panel in metric.panels]


def pareto(scores: pd.DataFrame, metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """Return methods on the Pareto front of median real-time factor and mean metric, by speed."""
    rows = scores[scores["vae"] & scores["method"].isin(methods)].groupby("method", sort=False)
    cost, means = rows["real_time_factor"].median(), rows[metric].mean()
    return unbeaten(cost.to_frame().join(means).dropna(), metric, "real_time_factor")


def unbeaten(table: pd.DataFrame, metric: str, cost: str) -> pd.DataFrame:
    """Return the rows on the Pareto front of ``cost`` and ``metric``, lowest cost first."""
    ordered = table.assign(loss=-METRICS[metric].sign * table[metric])
    ordered = ordered.sort_values([cost, "loss"], kind="stable")
    loss = ordered.pop("loss")
    return ordered[loss < loss.cummin().shift(fill_value=np.inf)]


def ranks(scores: pd.DataFrame, metrics: Iterable[str], methods: Sequence[str]) -> pd.DataFrame:
    """Return the mean rank of methods over metrics, for each clip: clips x methods, 1 is best.

    On each clip, metrics that lack a value for one of the methods are left out; a clip without any
    metric is left out.
    """
    import pandas as pd

    rows = scores[scores["vae"]].set_index(["clip", "method"])
    known = [name for name in metrics if name in scores]
    table = {}
    for clip in scores["clip"].unique():
        of_clip = rows.loc[clip].loc[list(methods)]
        found = _ranks_by_metric({name: of_clip[name].to_list() for name in known})
        if found:
            table[clip] = np.mean(list(found.values()), axis=0)
    return pd.DataFrame.from_dict(table, orient="index", columns=list(methods))


def _ranks_by_metric(values: Mapping[str, list[float | None]]) -> dict[str, np.ndarray]:
    """Return the ranks of the methods by each metric that has a value for every method.

    A rank is 1, plus 1 for each value that is better by more than the metric's ``tie``, plus a half
    for each other value within it.
    """
    found = {}
    for name, given in values.items():
        metric, scores = METRICS[name], np.array(given, float)
        if not np.isfinite(scores).all():
            continue
        # [i, j]: by how much method i is worse than method j
        behind = metric.sign * (scores[None, :] - scores[:, None])
        ties = (np.abs(behind) <= metric.tie).sum(axis=1) - 1  # without itself
        found[name] = 1 + (behind > metric.tie).sum(axis=1) + ties / 2
    return found


def recommend_for_clip(
    scores: Mapping[str, Mapping[str, float | None]], panel: str
) -> tuple[str | None, str]:
    """Return the method with the best mean rank on one clip, at any cost, and the reason.

    ``scores`` are those through the VAE, by method; the rules are those of :func:`recommend`.
    The method is None if ``scores`` is empty, or no metric of the panel has a value for each.
    """
    methods = list(scores)
    if len(methods) < 2:
        return next(iter(methods), None), "nothing to choose from"
    values = {name: [scores[m].get(name) for m in methods] for name in panel_metrics(panel)}
    found = _ranks_by_metric(values)
    if not found:
        return None, "no metric has a value for every method"
    means = np.mean(list(found.values()), axis=0)
    best, *level = np.flatnonzero(means == means.min())
    labels = ", ".join(METRICS[name].label for name in found)
    basis = f"mean rank {means[best]:.1f} of {len(methods)} by {labels}"
    if level:
        basis += f"; level with {', '.join(methods[i] for i in level)}"
    return methods[best], basis


def recommend(scores: pd.DataFrame, methods: Sequence[str]) -> list[Recommendation]:
    """Return the best method by mean rank for each panel and budget of median real-time factor."""
    cost = scores[scores["vae"]].groupby("method", sort=False)["real_time_factor"].median()
    found = []
    for panel, budget in product(PANELS, BUDGETS):
        able = [name for name in methods if cost[name] <= budget]
        table = ranks(scores, panel_metrics(panel), able)
        if table.empty:
            found.append(Recommendation(panel, budget, None))
            continue
        order = table.mean().sort_values(kind="stable")
        best, second = order.index[0], order.index[1] if len(able) > 1 else None
        lead = table[second] - table[best] if second else table[best] * 0
        wins, losses = int((lead > 0).sum()), int((lead < 0).sum())
        rank = float(order.iloc[0])
        found.append(Recommendation(panel, budget, best, rank, second, wins, losses, len(table)))
    return found
