"""Notebook 04: the recommendation as a table and as text, and the numbers to record."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from vaerecon.lab.nb04_method_comparison.error_budget import mean_shares
from vaerecon.lab.nb04_method_comparison.validity import rank_correlation
from vaerecon.lab.tables import candidates, count, label, score_table, scored_metrics
from vaerecon.metrics import recommendation as rules
from vaerecon.metrics.scores import PANELS
from vaerecon.pipeline.result import Reconstruction


def recommendation_table(recommendations: Sequence[rules.Recommendation]) -> pd.DataFrame:
    """The recommendations as text, one row each."""
    rows = []
    for r in recommendations:
        second = label(r.runner_up) if r.runner_up else ""
        rows.append({
            "for": r.panel,
            "time allowed": "any" if math.isinf(r.budget) else f"up to {r.budget:g} of the length",
            "take": f"**{label(r.method)}**" if r.method else "nothing",
            "mean rank": f"{r.rank:.1f}" if r.rank else "",
            "next best": second,
            "clips won, lost": f"{r.wins}, {r.losses} of {r.clips}" if second else "",
            "how sure": r.certainty,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("for")


def recommendation_text(scores: pd.DataFrame, found: Sequence[rules.Recommendation]) -> str:
    """The recommendation in a few sentences, with what speaks against trusting it; Markdown."""
    able, clips = candidates(scores), scores["clip"].nunique()
    if len(able) == 1:
        return "There was one method only, so nothing to choose from."
    lines, free = [], [r for r in found if math.isinf(r.budget)]
    for r in free:
        if r.method:
            lines.append(f"For {r.panel}, time aside: **{label(r.method)}** ({r.certainty}).")
        else:
            lines.append(f"For {r.panel}: no clip could be ranked.")
    agree = len({r.method for r in free}) == 1
    ending = "choose the same method." if agree else "disagree: choose by use."
    lines.append(f"The metrics for speech and those for any sound {ending}")
    for panel in PANELS:
        table = rules.ranks(scores, rules.panel_metrics(panel), able)
        winners = table.idxmin(axis=1) if len(table) else pd.Series(dtype=str)
        if winners.nunique() > 1:
            each = ", ".join(f"{label(str(name))} on {clip}" for clip, name in winners.items())
            lines.append(f"By the metrics for {panel} the clips choose differently: {each}.")
    needed = next(n for n in range(1, 100) if rules.sign_test(n, 0) < rules.CERTAIN)
    if clips < needed:
        lines.append(
            f"{count(clips, 'clip').capitalize()} cannot settle it: even a method that wins on "
            f"every one is certain (5 % error) only from {needed} clips on."
        )
    return "\n".join(f"- {line}" for line in lines)


def summary(
    results: Sequence[Reconstruction], noise: dict[str, float], budget: pd.DataFrame
) -> dict[str, tuple[float, str]]:
    """The numbers to record: name -> value and unit. A number without a value is left out.

    ``noise`` is that of ``validity.seed_spread``, ``budget`` that of ``error_budget.error_budget``.
    """
    scores = score_table(results)
    rows = scores[scores["method"].isin(candidates(scores))]
    means = rows.groupby(["vae", "method"])[["lsd_db", "snr_db"]].mean()
    through, without = means.loc[True], means.loc[False]
    errors = [float((r.mel_decoded - r.mel).abs().mean()) for r in results]
    found = {
        "clips": (scores["clip"].nunique(), ""),
        "sounds_scored": (len(scores), ""),
        "metrics_scored": (len(scored_metrics(scores)), ""),
        "vae_log_mel_mae": (float(np.mean(errors)), "nepers"),
        "best_lsd_through_vae": (through["lsd_db"].min(), "dB"),
        "best_lsd_without_vae": (without["lsd_db"].min(), "dB"),
        **{f"{s}_share_of_lsd": (value, "") for s, value in mean_shares(budget, "lsd_db").items()},
        "methods_behind_silence": (int((through["snr_db"] < 0).sum()), ""),
        "snr_change_by_vae": (through["snr_db"].mean() - without["snr_db"].mean(), "dB"),
        "snr_agrees_with_log_mel": (rank_correlation(scores).loc["snr_db", "log_mel_mae"], ""),
        "seed_spread_si_sdr": (noise.get("si_sdr_db", math.nan), "dB"),
    }
    return {name: (float(v), unit) for name, (v, unit) in found.items() if math.isfinite(v)}
