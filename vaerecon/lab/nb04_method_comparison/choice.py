"""Which method to take: ranks over clips, and a choice by stated rules.

What it works on comes from :mod:`vaerecon.lab.nb04_method_comparison.comparison` and
:mod:`vaerecon.lab.tables`. Nothing here knows which method is good: the choice follows from
the scores, and says when they cannot carry it.

Notebook: ``04_method_comparison``.

References
----------
.. [1] W. Dixon and A. Mood, "The statistical sign test", JASA 1946.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaerecon.lab.nb04_method_comparison.error_budget import SHARES, mean_shares
from vaerecon.lab.nb04_method_comparison.validity import rank_correlation
from vaerecon.lab.tables import candidates, count, score_table, scored_metrics
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.result import Reconstruction

# The metrics that count for each kind of sound. A metric that was not computed is left out.
PANELS = {
    "speech": ("pesq_wb", "estoi", "log_mel_mae"),
    "music and other sound": ("log_mel_mae", "lsd_db", "mrstft", "visqol"),
}
# Smaller differences are ties: about twice the standard deviation between seeds, through the VAE
# and on the bundled clips (at most 0.16, 0.006, 0.001, 0.02, 0.007 and 0.07; five seeds, 4 s)
TIE = {
    "pesq_wb": 0.3, "estoi": 0.01, "log_mel_mae": 0.002, "lsd_db": 0.05, "mrstft": 0.015,
    "visqol": 0.15,
}  # fmt: skip
BUDGETS = (0.1, 1.0, math.inf)  # real-time factors: an explorer that answers; playing along; any
CERTAIN = 0.05  # p-value below which a choice is called clear


# ------------------------------------------------------------------ the recommendation


def pareto(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The candidates that no other beats in cost and in ``metric`` both, cheapest first.

    Through the VAE, over the clips: the median of the cost, since a machine is sometimes busy, and
    the mean of the metric.

    Returns
    -------
    pandas.DataFrame
        Indexed by method: ``real_time_factor`` and the metric.
    """
    rows = scores[scores["vae"] & scores["method"].isin(candidates(scores))]
    over_clips = {"real_time_factor": "median", metric: "mean"}
    means = rows.groupby("method", sort=False).agg(over_clips).dropna()
    means = means.sort_values("real_time_factor", kind="stable")
    loss = means[metric] if METRICS[metric].best == "lower" else -means[metric]
    return means[loss < loss.cummin().shift(fill_value=np.inf)]


@dataclass(frozen=True)
class Recommendation:
    """The best method of those that are fast enough, by one panel of metrics."""

    panel: str  # of PANELS
    budget: float  # highest real-time factor allowed
    method: str | None  # None: no method is fast enough
    rank: float | None = None  # mean rank, 1 is best
    runner_up: str | None = None  # None: there is no other
    wins: int = 0  # clips on which the method ranks before the runner-up
    losses: int = 0  # clips on which it ranks behind
    clips: int = 0  # clips that could be ranked

    @property
    def verdict(self) -> str:
        """How sure this is: a sign test [1]_ over the clips."""
        if self.method is None:
            return "none is fast enough"
        if self.runner_up is None:
            return "the only candidate"
        if self.wins > self.losses and sign_test(self.wins, self.losses) < CERTAIN:
            return "clear"
        if self.wins <= self.losses:
            return "a draw"
        if sign_test(self.clips, 0) >= CERTAIN:
            return "too few clips to be sure"
        return "a draw"


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of so uneven a split if either were as likely."""
    n, most = wins + losses, max(wins, losses)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n)


def ranks(scores: pd.DataFrame, metrics: Iterable[str], methods: Sequence[str]) -> pd.DataFrame:
    """Mean rank of methods by a panel of metrics, clip by clip, through the VAE.

    In one metric a method's rank is 1, plus 1 for each method that is better by more than the
    metric's ``TIE``, plus a half for each within it. A metric that lacks a value for one of the
    methods is left out on that clip; a clip without any metric is left out.

    Returns
    -------
    pandas.DataFrame
        Clips x methods; 1 is best.
    """
    import pandas as pd

    rows = scores[scores["vae"]].set_index(["clip", "method"])
    table = {}
    for clip in scores["clip"].unique():
        found = []
        for metric in scored_metrics(scores, metrics):
            values = rows.loc[clip].loc[list(methods), metric].to_numpy(float)
            loss = values if METRICS[metric].best == "lower" else -values
            # [i, j]: by how much method i is worse than method j
            behind = loss[:, None] - loss[None, :]
            ties = (np.abs(behind) <= TIE[metric]).sum(axis=1) - 1  # less itself
            if np.isfinite(values).all():
                found.append(1 + (behind > TIE[metric]).sum(axis=1) + ties / 2)
        if found:
            table[clip] = np.mean(found, axis=0)
    return pd.DataFrame.from_dict(table, orient="index", columns=list(methods))


def recommend(scores: pd.DataFrame) -> list[Recommendation]:
    """For each panel and each cost budget, the candidate with the best mean rank.

    The cost is the median real-time factor of mel to samples, on the machine that ran it.
    """
    cost = scores[scores["vae"]].groupby("method", sort=False)["real_time_factor"].median()
    found = []
    for panel, metrics in PANELS.items():
        for budget in BUDGETS:
            able = [n for n in candidates(scores) if cost[n] <= budget]
            table = ranks(scores, metrics, able)
            if table.empty:
                found.append(Recommendation(panel, budget, None))
                continue
            order = table.mean().sort_values(kind="stable")
            best, second = order.index[0], order.index[1] if len(able) > 1 else None
            lead = table[second] - table[best] if second else table[best] * 0
            found.append(
                Recommendation(
                    panel, budget, best, float(order.iloc[0]), second,
                    int((lead > 0).sum()), int((lead < 0).sum()), len(table),
                )
            )  # fmt: skip
    return found


def recommendation_table(recommendations: Sequence[Recommendation]) -> pd.DataFrame:
    """The recommendations as text, one row each."""
    import pandas as pd

    rows = []
    for r in recommendations:
        limit = "any" if math.isinf(r.budget) else f"up to {r.budget:g} of the length"
        second = METHODS[r.runner_up].label if r.runner_up else ""
        rows.append(
            {
                "for": r.panel,
                "time allowed": limit,
                "take": f"**{METHODS[r.method].label}**" if r.method else "nothing",
                "mean rank": f"{r.rank:.1f}" if r.rank else "",
                "next best": second,
                "clips won, lost": f"{r.wins}, {r.losses} of {r.clips}" if second else "",
                "how sure": r.verdict,
            }
        )
    return pd.DataFrame(rows).set_index("for")


def recommendation_text(
    scores: pd.DataFrame, recommendations: Sequence[Recommendation] | None = None
) -> str:
    """The recommendation in a few sentences, with what speaks against trusting it; Markdown."""
    found = recommend(scores) if recommendations is None else recommendations
    free = [r for r in found if math.isinf(r.budget)]
    lines = [
        f"- For {r.panel}, time aside: **{METHODS[r.method].label}** ({r.verdict})."
        if r.method
        else f"- For {r.panel}: no clip could be ranked."
        for r in free
    ]
    if len(candidates(scores)) == 1:
        return "There was one method only, so nothing to choose from."
    if len({r.method for r in free}) == 1:
        lines.append("- The metrics for speech and those for any sound choose the same method.")
    else:
        lines.append("- The metrics for speech and those for any sound disagree: choose by use.")
    lines += _disagreement(scores)
    needed = next(n for n in range(1, 100) if sign_test(n, 0) < CERTAIN)
    clips = scores["clip"].nunique()
    if clips < needed:
        lines.append(
            f"- {count(clips, 'clip').capitalize()} cannot settle it: even a method that wins on "
            f"every one is certain (5 % error) only from {needed} clips on."
        )
    return "\n".join(lines)


def _disagreement(scores: pd.DataFrame) -> list[str]:
    """A line for each panel whose choice changes from clip to clip."""
    lines = []
    for panel, metrics in PANELS.items():
        table = ranks(scores, metrics, candidates(scores))
        winners = {clip: METHODS[row.idxmin()].label for clip, row in table.iterrows()}
        if len(set(winners.values())) > 1:
            each = ", ".join(f"{label} on {clip}" for clip, label in winners.items())
            lines.append(f"- By the metrics for {panel} the clips choose differently: {each}.")
    return lines


# ------------------------------------------------------------------ the summary


def cost_text(scores: pd.DataFrame, metric: str = "lsd_db") -> str:
    """What quality costs, by :func:`pareto`; Markdown."""
    front, label = pareto(scores, metric), METRICS[metric].label
    if front.empty:
        return f"No clip has a value in {label}."
    each = [
        f"**{METHODS[n].label}** ({row.real_time_factor:.2g} of the length, {label} "
        f"{row[metric]:.1f} {METRICS[metric].unit})"
        for n, row in front.iterrows()
    ]
    return f"Through the VAE, no method beats these in time and {label} both: {', '.join(each)}."


def summary(
    results: Sequence[Reconstruction], noise: dict[str, float], budget: pd.DataFrame
) -> dict[str, tuple[float, str]]:
    """The numbers to remember: name -> value and unit. What has no value here is left out.

    ``noise`` is that of :func:`vaerecon.lab.nb04_method_comparison.validity.seed_spread`,
    ``budget`` that of :func:`vaerecon.lab.nb04_method_comparison.error_budget.error_budget`.
    """
    scores = score_table(results)
    rows = scores[scores["method"].isin(candidates(scores))]
    through, without = rows[rows["vae"]], rows[~rows["vae"]]
    agreement = rank_correlation(scores)
    errors = [float((r.mel_decoded - r.mel).abs().mean()) for r in results]
    found = {
        "clips": (len(results), ""),
        "sounds_scored": (len(scores), ""),
        "metrics_scored": (len(scored_metrics(scores)), ""),
        "vae_log_mel_mae": (float(np.mean(errors)), "nepers"),
        "best_lsd_through_vae": (through.groupby("method")["lsd_db"].mean().min(), "dB"),
        "best_lsd_without_vae": (without.groupby("method")["lsd_db"].mean().min(), "dB"),
        **{f"{s}_share_of_lsd": (value, "") for s, value in mean_shares(budget, "lsd_db").items()},
        "methods_behind_silence": (
            int((through.groupby("method")["snr_db"].mean() < 0).sum()), "",
        ),
        "snr_change_by_vae": (through["snr_db"].mean() - without["snr_db"].mean(), "dB"),
        "snr_agrees_with_log_mel": (agreement.loc["snr_db", "log_mel_mae"], ""),
        "seed_spread_si_sdr": (noise.get("si_sdr_db", math.nan), "dB"),
    }  # fmt: skip
    return {name: (float(v), unit) for name, (v, unit) in found.items() if math.isfinite(v)}


def summary_text(scores: pd.DataFrame, facts: dict[str, tuple[float, str]]) -> str:
    """:func:`summary` in sentences; Markdown."""
    value = {name: number for name, (number, _) in facts.items()}
    n = len(candidates(scores))
    lines = [
        f"- {value['sounds_scored']:.0f} results of {count(int(value['clips']), 'clip')} were "
        f"scored by {value['metrics_scored']:.0f} metrics.",
        f"- The VAE alone changes the log-mel by {value['vae_log_mel_mae']:.2f} nepers on average.",
    ]
    if "best_lsd_through_vae" in value:
        lines.append(
            f"- The best LSD is {value['best_lsd_without_vae']:.1f} dB from the original mel and "
            f"{value['best_lsd_through_vae']:.1f} dB through the VAE."
        )
    if "vae_share_of_lsd" in value:
        shares = ", ".join(f"the {s} {value[f'{s}_share_of_lsd']:.0%}" for s in SHARES)
        lines.append(f"- Shares of the LSD, mean of the methods: {shares.replace('vae', 'VAE')}.")
    if "snr_change_by_vae" in value:
        lines.append(
            f"- Methods behind silence by SNR: {value['methods_behind_silence']:.0f} of {n}. The "
            f"VAE changes the SNR by {value['snr_change_by_vae']:+.1f} dB on average."
        )
    if "snr_agrees_with_log_mel" in value:
        lines.append(
            "- The order of methods by SNR and by log-mel error has a rank correlation of "
            f"{value['snr_agrees_with_log_mel']:+.2f}."
        )
    if "seed_spread_si_sdr" in value:
        lines.append(
            f"- Another seed alone moves the SI-SDR of Griffin-Lim by "
            f"{value['seed_spread_si_sdr']:.0f} dB (standard deviation)."
        )
    return "\n".join(lines)
