"""Where the loss comes from: the mel, the VAE, or the phase that a method invents.

Losses in a metric do not add up. So the share of the phase is its Shapley value (Shapley, 1953):
the mean of what it costs alone and of what it costs on top of the magnitude. The rest is the
magnitude's, first the mel's share, then the VAE's. Notebook: ``04_method_comparison``.
"""

import math
from collections.abc import Sequence

import pandas as pd
import torch

from vaerecon import metrics
from vaerecon.lab.tables import by_model, count, label, row_name
from vaerecon.mel.front_end import magnitudes, stft_frames
from vaerecon.mel.stft import istft_frames
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.result import Reconstruction

# magnitude / phase of a sound; true / true is the original and loses nothing
CORNERS = ("mel / true", "vae / true", "true / own", "mel / own", "vae / own")
SHARES = ("mel", "vae", "phase")


def with_true_magnitude(original: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """The inverse STFT ``[N]`` of the magnitude of ``original`` and the phase of ``sound``.

    No iteration, which would change the phase that is to be judged.
    """
    magnitude = magnitudes(stft_frames(original))
    return istft_frames(torch.polar(magnitude, stft_frames(sound).angle()), len(original))


def error_budget(results: Sequence[Reconstruction]) -> pd.DataFrame:
    """The loss in each corner and its shares; one row a clip, method and metric.

    The metrics are those that count for the choice of a method and have a finite perfect score.
    Sounds with the true phase are those of ``oracle_phase``. The method's phase with the true
    magnitude is that of its sound from the original mel, so what the VAE does to the method's phase
    counts as the VAE's.

    Columns: ``clip``, ``method``, ``metric``, the losses in :data:`CORNERS` (the last is the whole
    loss), and :data:`SHARES`, all in the metric's unit. Rows without all scores are left out.
    """
    rows = []
    for model, r in [(model, r) for model, group in by_model(results).items() for r in group]:
        scored = [
            m for m in METRICS.values()
            if m.panels and math.isfinite(m.perfect) and not r.table[m.name].isna().all()
        ]  # fmt: skip
        true = [g["oracle_phase"].scores for g in (r.without_vae, r.methods)]
        for name in [n for n in r.methods if not METHODS[n].reference_only]:
            sound = with_true_magnitude(r.reference, r.without_vae[name].samples)
            mixed = metrics.evaluate(r.reference, sound, metrics=[m.name for m in scored])
            own = [g[name].scores for g in (r.without_vae, r.methods)]
            for m in scored:
                found = [scores[m.name] for scores in (*true, mixed, *own)]
                losses = [abs(m.perfect - x) for x in found if x is not None]
                if len(losses) == len(CORNERS):
                    rows.append([r.clip.name, row_name(name, model), m.name, *losses])
    table = pd.DataFrame(rows, columns=["clip", "method", "metric", *CORNERS])
    return table.assign(**shapley_shares(table))


def shapley_shares(losses: pd.DataFrame) -> dict[str, pd.Series]:
    """Shares of the last of :data:`CORNERS`, of columns by those names; they add up to it."""
    mel_true, vae_true, true_own, mel_own, vae_own = (losses[corner] for corner in CORNERS)
    return {
        "mel": (mel_true + (mel_own - true_own)) / 2,
        "vae": ((vae_true - mel_true) + (vae_own - mel_own)) / 2,
        "phase": (true_own + (vae_own - vae_true)) / 2,
    }


def mean_budget(budget: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over the clips: methods x (:data:`CORNERS`, :data:`SHARES`, ``clips``: how many)."""
    rows = budget[budget["metric"] == metric].groupby("method", sort=False)
    return rows[[*CORNERS, *SHARES]].mean().assign(clips=rows.size())


def mean_shares(budget: pd.DataFrame, metric: str) -> dict[str, float]:
    """:data:`SHARES` as ratios to the whole loss, means over the methods; NaN if none is lost."""
    means = mean_budget(budget, metric)
    ratios = means[list(SHARES)].div(means[CORNERS[-1]], axis=0).mean()
    return {share: float(ratios[share]) for share in SHARES}


def budget_text(budget: pd.DataFrame, metric: str = "lsd_db") -> str:
    """The shares of each method, which is the widest, and which are below zero; Markdown."""
    means, m = mean_budget(budget, metric), METRICS[metric]
    if means.empty:
        return f"No clip has all the scores that a budget in {m.label} needs."
    titles = {"mel": "the mel", "vae": "the VAE", "phase": "the phase"}
    lines, below = [], []
    widest: dict[str, list[str]] = {}
    for name, row in means.iterrows():
        method, text = label(str(name)), {k: m.text(row[k]) for k in (*CORNERS, *SHARES)}
        on_top = m.text(row["vae / own"] - row["vae / true"])
        lines.append(
            f"- **{method}** loses {text['vae / own']} ({count(int(row['clips']), 'clip')}): "
            + ", ".join(f"{titles[s]} {text[s]}" for s in SHARES)
            + f". The phase costs {text['true / own']} alone, {on_top} on top of the magnitude."
        )
        largest = titles[str(row[list(SHARES)].idxmax())]
        widest.setdefault(largest, []).append(method)
        below += [f"{titles[s]} of {method} ({text[s]})" for s in SHARES if row[s] < 0]
    most = "; ".join(f"{share} for {', '.join(names)}" for share, names in widest.items())
    lines = [f"The loss in {m.title} and its shares:", "", *lines, "", f"Widest: {most}."]
    if below:
        lines.append(
            f"Below zero: {', '.join(below)}. On average over both orders, the sound scored better "
            "with this fault than without it: beside another fault, one more can lose less."
        )
    return "\n".join(lines)
