"""Fine-tuning of a VAE's decoder on a folder of audio; errors, sounds and pictures of it.

The training is :func:`vaerecon.training.run.train`, as in ``vaerecon train``. Notebook:
``05_fine_tuning``.
"""

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from vaerecon.audio.clip import SAMPLE_RATE, Clip, load_audio, write_wav
from vaerecon.lab.nb05_fine_tuning import sounds
from vaerecon.lab.widgets import Explorer, labelled, sound_explorer
from vaerecon.methods import get_method
from vaerecon.models.autoencoder import decode, encode
from vaerecon.models.precision import LARGE
from vaerecon.plots import plot_mels
from vaerecon.training.data.corpus import find_audio, split
from vaerecon.training.parts.vae import VaeObjective
from vaerecon.training.run import train
from vaerecon.training.run_files import read_curve
from vaerecon.training.settings import LoopConfig
from vaerecon.training.weights import load_part
from vaerecon.utils.threads import on_one_core

KINDS = {"chirps": sounds.chirps, "rain": sounds.rain, "struck": sounds.struck}
N_CLIPS, CLIP_SECONDS = 16, 2.0  # of a synthesized kind
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the new weights
MOVED = 0.01  # of a latent's deviation; a smaller shift is not audible


@dataclass(frozen=True)
class Tuning:
    """A VAE before and after fine-tuning, and the curve of the training."""

    before: Any  # AutoencoderKL
    after: Any
    curve: pd.DataFrame  # by step: mae of the training crops, validation_mae, nepers


def training_folder(data: str, folder: str | Path, seed: int = 0) -> Path:
    """The folder of the training audio: ``data`` itself, or one with sounds of that kind.

    ``data`` is a name in :data:`KINDS` or a folder with at least two audio files, else ValueError;
    sounds of a kind are written below ``folder``.
    """
    if data not in KINDS:
        if not Path(data).is_dir():
            raise ValueError(
                f"data: got {data!r}, expected a folder of audio or one of {', '.join(KINDS)}"
            )
        split(find_audio([Path(data)]))
        return Path(data)
    target = Path(folder) / f"{data}_{seed}"
    target.mkdir(parents=True, exist_ok=True)
    for index in range(N_CLIPS):
        rng = np.random.default_rng((seed, index))
        samples = KINDS[data](rng, round(CLIP_SECONDS * SAMPLE_RATE))
        write_wav(target / f"{data}_{index:02}.wav", 0.5 * samples / np.abs(samples).max())
    return target


def held_out_clip(folder: Path, max_length: float = 3.0) -> Clip:
    """A clip that is held out of the training, for its evaluation."""
    return load_audio(split(find_audio([folder]))[1][0], max_length=max_length)


def fine_tune(
    model: str, folder: Path, *, steps: int, train_encoder: bool = False, **settings: Any
) -> Tuning:
    """Train the decoder of ``model`` (variant, folder or hub id) on ``folder``, writing nothing.

    ``train_encoder`` trains the encoder too, so that latents change their meaning. ``settings`` are
    others of :class:`vaerecon.training.settings.LoopConfig`.
    """
    settings |= {"save_every": max(1, steps // 12), "validation_crops": 8, "samples": 0}
    config = LoopConfig(steps=steps, **settings)
    before = load_part("vae", model).eval()
    # for the short layers of a small model several threads are hardly faster, and many times slower
    # where another program uses one of the cores, since each layer waits for it
    small = sum(p.numel() for p in before.parameters()) < LARGE
    with tempfile.TemporaryDirectory() as output, on_one_core() if small else nullcontext():
        loop = train(
            "vae", [folder], Path(output), config, device=None, progress=False, init=model,
            objective=VaeObjective(frames=64), freeze_encoder=not train_encoder,
        )  # fmt: skip
        curve = pd.DataFrame(read_curve(Path(output) / "vae_run" / "curve.csv"))
    after = deepcopy(loop.part.model).cpu().eval()
    return Tuning(before, after, curve.set_index("step"))


def through(vae: Any, mel: torch.Tensor) -> torch.Tensor:
    """A log-mel ``[T, 64]`` encoded to the latent's mean and decoded."""
    return decode(vae, encode(vae, mel), len(mel))


def error(vae: Any, mel: torch.Tensor) -> float:
    """Mean absolute difference of the decoded log-mel, nepers."""
    return float((through(vae, mel) - mel).abs().mean())


def error_table(tuning: Tuning, mels: dict[str, torch.Tensor]) -> pd.DataFrame:
    """One row per clip: its error before and after, nepers, and the change."""
    rows = [[error(tuning.before, mel), error(tuning.after, mel)] for mel in mels.values()]
    table = pd.DataFrame(rows, list(mels), columns=["before", "after"])
    table["change (%)"] = 100 * (table["after"] / table["before"] - 1)
    return table


def blend(tuning: Tuning, share: float) -> Any:
    """A VAE with interpolated weights: ``share`` is 0 (before) to 1 (after)."""
    if not 0 <= share <= 1:
        raise ValueError(f"share: got {share}, expected 0 (before) to 1 (after)")
    vae = deepcopy(tuning.before)
    after = tuning.after.state_dict()
    vae.load_state_dict({k: v.lerp(after[k], share) for k, v in vae.state_dict().items()})
    return vae


def blend_errors(tuning: Tuning, mels: dict[str, torch.Tensor]) -> pd.DataFrame:
    """The error of each clip (columns) for each of :data:`SHARES` (rows), nepers."""
    rows = {}
    for share in SHARES:
        vae = blend(tuning, share)
        rows[share] = {name: error(vae, mel) for name, mel in mels.items()}
    return pd.DataFrame(rows).T.rename_axis("share")


def sounds_of(tuning: Tuning, mel: torch.Tensor, samples: torch.Tensor) -> dict[str, torch.Tensor]:
    """The clip, and its reconstructions before and after, by Griffin-Lim with one seed."""
    mels = {"before": through(tuning.before, mel), "after": through(tuning.after, mel)}
    return {"original": torch.as_tensor(samples)} | by_griffin_lim(mels, len(samples))


def by_griffin_lim(mels: Mapping[str, torch.Tensor], n_samples: int) -> dict[str, torch.Tensor]:
    """Log-mels ``[T, 64]`` as samples, with one seed."""
    synthesize = get_method("griffinlim").function
    return {
        name: synthesize(mel, n_samples, torch.Generator().manual_seed(0))
        for name, mel in mels.items()
    }


def latent_shift(tuning: Tuning, mel: torch.Tensor) -> float:
    """RMS change of the latents relative to their deviation; 0 for a frozen encoder."""
    old, new = encode(tuning.before, mel), encode(tuning.after, mel)
    return float((new - old).square().mean().sqrt() / old.std())


def check_latents_kept(tuning: Tuning, mel: torch.Tensor) -> None:
    """Raise a ValueError, with the error of an old latent, if the encoder has changed."""
    shift = latent_shift(tuning, mel)
    if shift > MOVED:
        mixed = decode(tuning.after, encode(tuning.before, mel), len(mel))
        found = float((mixed - mel).abs().mean())
        raise ValueError(
            f"latents: moved by {shift:.0%} of their deviation, expected none; a latent from "
            f"before decodes with {found:.2f} nepers of error instead of "
            f"{error(tuning.after, mel):.2f}: freeze the encoder"
        )


def result_text(table: pd.DataFrame) -> str:
    """One paragraph about :func:`error_table`, whose first row is the kind of the training."""
    sentences: list[str] = []
    for name, row in table.iterrows():
        kind = "another kind of sound" if sentences else "held out"
        better = "better" if row["after"] < row["before"] else "not better"
        sentences.append(
            f"**{name}**, {kind}: {row['before']:.3f} to {row['after']:.3f} nepers "
            f"({row['change (%)']:+.0f} %), {better}."
        )
    return " ".join(sentences)


def plot_before_after(tuning: Tuning, mel: torch.Tensor, name: str) -> tuple[Figure, np.ndarray]:
    """A log-mel ``[T, 64]``, and the error of its reconstruction before and after."""
    errors = {}
    for title, vae in (("before", tuning.before), ("after", tuning.after)):
        difference = through(vae, mel) - mel
        errors[f"{title}, minus original: {difference.abs().mean():.3f} nepers"] = difference
    return plot_mels({f"{name}: original": mel}, differences=errors)


def explorer_blend(tuning: Tuning, mels: dict[str, torch.Tensor]) -> Explorer:
    """A slider for the interpolation weight, and the reconstruction of a clip at it, by ear too."""
    share = labelled(widgets.FloatSlider, "share", value=0.5, min=0, max=1, step=0.05)
    clip = labelled(widgets.Dropdown, "clip", options=list(mels))

    def mel_pair() -> tuple[torch.Tensor, torch.Tensor]:
        mel = mels[clip.value]
        return mel, through(blend(tuning, share.value), mel)

    def plot() -> Figure:
        mel, decoded = mel_pair()
        error = float((decoded - mel).abs().mean())
        return plot_mels({"original": mel, f"reconstruction: error {error:.3f} nepers": decoded})[0]

    def tracks() -> dict[str, torch.Tensor]:
        mel, decoded = mel_pair()
        return by_griffin_lim({"original mel": mel, "reconstruction": decoded}, 160 * len(mel))

    return sound_explorer([share, clip], plot, tracks, "By Griffin-Lim")
