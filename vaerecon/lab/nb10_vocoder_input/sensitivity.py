"""How a method's scores fall when its mel is damaged. Notebook: ``10_vocoder_input``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.setup import demo_clip
from vaerecon.mel.damage import DAMAGES, FLOOR
from vaerecon.mel.front_end import log_mel
from vaerecon.pipeline.pipeline import ReconstructionPipeline

if TYPE_CHECKING:
    from collections.abc import Callable

SCORES = ("pesq_wb", "stoi", "lsd_db", "log_mel_mae")


def sensitivity(
    method: str,
    damage: str,
    amounts: Iterable[float],
    *,
    clips: Sequence[Clip] = (),
    pipe: ReconstructionPipeline | None = None,
    scores: Sequence[str] = SCORES,
) -> pd.DataFrame:
    """Scores of one method for mels with some amounts of one damage: means over clips.

    ``damage`` is a name in :data:`vaerecon.mel.damage.DAMAGES`; without ``clips`` the bundled one
    is taken, without ``pipe`` the bundled model. Index: the amount; columns: the scores.
    """
    function = DAMAGES[damage].function

    def by(amount: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda mel: function(mel, amount)

    changes = {amount: by(amount) for amount in amounts}
    return score_changes(method, changes, clips=clips, pipe=pipe, scores=scores).rename_axis(damage)


def score_changes(
    method: str,
    changes: Mapping[Any, Callable[[torch.Tensor], torch.Tensor]],
    *,
    clips: Sequence[Clip] = (),
    pipe: ReconstructionPipeline | None = None,
    through_vae: bool = False,
    scores: Sequence[str] = SCORES,
) -> pd.DataFrame:
    """The same for any functions of a mel; ``through_vae``: of the mel that the VAE returns."""
    pipe = pipe or ReconstructionPipeline.from_pretrained("tiny")
    rows = []
    for clip in clips or [demo_clip(max_length=3.0)]:
        samples, _ = normalize_level(clip.samples)
        mel = log_mel(samples, normalize=False)
        if through_vae:
            mel = pipe.decode(pipe.encode(mel), len(mel)).cpu()
        for name, change in changes.items():
            sound = pipe.synthesize(change(mel).clamp_min(FLOOR), method, len(samples)).cpu()
            found = metrics.evaluate(samples, sound, metrics=scores)
            rows.append({"change": name, **found})
    table = pd.DataFrame(rows).set_index("change").astype(float)[list(scores)]
    return table.groupby(level=0, sort=False).mean()
