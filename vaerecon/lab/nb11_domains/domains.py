"""In which domain something costs the most, and whether the intervals say so.

Notebook: ``11_domains``.
"""

from collections.abc import Mapping

from vaerecon.comparison.intervals import FEWEST, Interval
from vaerecon.lab.tables import count
from vaerecon.metrics.scores import METRICS

MANY = 10  # clips; of fewer, an interval is somewhat too narrow: see `intervals`


def worst_domain(costs: Mapping[str, Interval]) -> str:
    """The domain of the highest mean."""
    return max(costs, key=lambda name: costs[name].mean)


def domain_text(costs: Mapping[str, Interval]) -> str:
    """The domain that costs the most, and whether its interval is above all others; Markdown.

    ``costs``: domain -> the mean cost in log-mel MAE, nepers, and its interval.
    """
    worst, text = worst_domain(costs), METRICS["log_mel_mae"].text
    cost = costs[worst]
    ends = f", {text(cost.lower)} to {text(cost.upper)}" if cost.n >= FEWEST else ""
    said = (
        f"The VAE costs the most in **{worst}**: {text(cost.mean)} nepers{ends} "
        f"({count(cost.n, 'clip')})."
    )
    # without an interval (NaN), the comparison is False
    near = [name for name, c in costs.items() if name != worst and c.upper >= cost.lower]
    few = [f"{name} ({count(c.n, 'clip')})" for name, c in costs.items() if c.n < FEWEST]
    if near:
        said += f" **Not settled** against {', '.join(near)}: the intervals overlap."
    if few:
        said += f" No interval, so not settled: {', '.join(few)}."
    if not near and not few:
        said += " **Settled** by these intervals: its own is above all others."
    if any(FEWEST <= c.n < MANY for c in costs.values()):
        said += f" Intervals of fewer than {MANY} clips are somewhat too narrow."
    return said
