"""How a method's scores fall when its mel is damaged: tables, curves, and an explorer.

Notebook: ``10_vocoder_input``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import ArrayLike, normalize_level
from vaerecon.lab.figures import panels
from vaerecon.lab.widgets import Explorer, labelled, sound_explorer
from vaerecon.mel.damage import DAMAGES, FLOOR
from vaerecon.mel.diagnosis import diagnose_mel
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.plots import METHOD_COLORS, plot_mels

SCORES = ("pesq_wb", "stoi", "lsd_db", "log_mel_mae")


def sensitivity(method: str, damage: str, amounts: Iterable[float], **options: Any) -> pd.DataFrame:
    """Scores of one method for mels with some amounts of one damage: means over clips.

    ``damage`` is a name in :data:`vaerecon.mel.damage.DAMAGES`; the options are those of
    :func:`score_changes`. Index: the amount; columns: the scores.
    """

    def by(amount: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda mel: DAMAGES[damage].function(mel, amount)

    changes = {amount: by(amount) for amount in amounts}
    return score_changes(method, changes, **options).rename_axis(damage)


def score_changes(
    method: str,
    changes: Mapping[Any, Callable[[torch.Tensor], torch.Tensor]],
    *,
    clips: Sequence[Clip],
    pipe: ReconstructionPipeline,
    through_vae: bool = False,
    scores: Sequence[str] = SCORES,
) -> pd.DataFrame:
    """Mean scores for any changes of a mel, by name; ``through_vae`` changes the decoded mel."""
    rows = []
    for clip in clips:
        samples, _ = normalize_level(clip.samples)
        mel = log_mel(samples, normalize=False)
        if through_vae:
            mel = pipe.decode(pipe.encode(mel), len(mel)).cpu()
        for name, change in changes.items():
            sound = pipe.synthesize(change(mel).clamp_min(FLOOR), method, len(samples)).cpu()
            rows.append({"change": name, **metrics.evaluate(samples, sound, metrics=scores)})
    table = pd.DataFrame(rows).set_index("change").astype(float)[list(scores)]
    return table.groupby(level=0, sort=False).mean()


def plot_curves(
    curves: Mapping[tuple[str, str], pd.DataFrame], metric: str
) -> tuple[Figure, np.ndarray]:
    """A panel for each damage, a curve for each method; ``curves`` by ``(damage, method)``."""
    names = list(dict.fromkeys(damage for damage, _ in curves))
    columns = min(4, len(names))
    size = (2.7 * columns, 2.5 * math.ceil(len(names) / columns))
    figure, axes = panels(len(names), columns, size, sharey=True)
    by_name = dict(zip(names, axes.flat, strict=False))
    for (damage, method), table in curves.items():
        style = {"color": METHOD_COLORS[method], "label": METHODS[method].label}
        by_name[damage].plot(table.index, table[metric], "o-", ms=4, **style)
    for name, ax in by_name.items():
        ax.set_title(DAMAGES[name].label, fontsize=9)
        ax.set_xlabel(DAMAGES[name].unit, fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel(METRICS[metric].heading)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure, axes


def explore_damage(pipe: ReconstructionPipeline, clip: Clip, method: str) -> Explorer:
    """A menu of damages and a slider: picture, what the diagnosis says, and a button to listen."""
    mel = log_mel(clip.samples)
    kind = labelled(widgets.Dropdown, "damage", options=[(d.label, n) for n, d in DAMAGES.items()])
    step = labelled(widgets.IntSlider, "amount", value=1, min=0, max=4)
    said = widgets.HTML()

    def mels() -> dict[str, torch.Tensor]:
        damage = DAMAGES[kind.value]
        amount = damage.amounts[min(step.value, len(damage.amounts) - 1)]
        title = f"{damage.label}: {amount:g} {damage.unit}"
        return {"as it is": mel, title: damage.function(mel, amount)}

    def plot() -> Figure:
        shown = mels()
        *_, damaged = shown.values()
        said.value = "<br>".join(map(str, diagnose_mel(damaged))) or "no finding"
        return plot_mels(shown)[0]

    def tracks() -> dict[str, ArrayLike]:
        n = len(clip.samples)
        sounds: dict[str, ArrayLike] = {"original": clip.samples}
        return sounds | {name: pipe.synthesize(x, method, n).cpu() for name, x in mels().items()}

    return sound_explorer([kind, step], plot, tracks, clip.name, said)
