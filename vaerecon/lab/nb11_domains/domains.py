"""In which domain something costs the most, and whether the intervals say so.

Notebook: ``11_domains``.
"""

from __future__ import annotations

from collections.abc import Mapping

from vaerecon.comparison.intervals import FEWEST, Interval
from vaerecon.lab.tables import count
from vaerecon.metrics.scores import METRICS


def worst_domain(costs: Mapping[str, Interval]) -> str:
    """The domain of the highest mean."""
    return max(costs, key=lambda name: costs[name].mean)


def domain_text(costs: Mapping[str, Interval], metric: str = "log_mel_mae") -> str:
    """The domain that costs the most, and whether its interval is above all others; Markdown.

    ``costs``: domain -> the mean cost, in the unit of ``metric``, and its interval.
    """
    worst, text = worst_domain(costs), METRICS[metric].text
    cost = costs[worst]
    first = f"The VAE costs the most in **{worst}**: {text(cost.mean)} {METRICS[metric].unit}"
    few = [f"{name} ({count(c.n, 'clip')})" for name, c in costs.items() if c.n < FEWEST]
    if cost.n >= FEWEST:
        first += f", {text(cost.lower)} to {text(cost.upper)}"
    first += f" ({count(cost.n, 'clip')})."
    # without an interval (NaN), the comparison is False
    near = [name for name, c in costs.items() if name != worst and c.upper >= cost.lower]
    without = f"No interval, so not settled: {', '.join(few)}." if few else ""
    overlap = f"**Not settled** against {', '.join(near)}: the intervals overlap." if near else ""
    settled = "**Settled**: its interval is above all others."
    return " ".join(filter(None, [first, overlap, without])) + (
        "" if near or few else f" {settled}"
    )
