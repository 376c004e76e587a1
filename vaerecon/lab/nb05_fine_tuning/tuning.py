"""Fine-tuning of a VAE's decoder on a folder of audio, and its errors before and after.

The training is :func:`vaerecon.training.run.train`, as in ``vaerecon train``. Notebook:
``05_fine_tuning``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from vaerecon.audio.clip import SAMPLE_RATE, Clip, load_audio, write_wav
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.nb05_fine_tuning import sounds
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import get_method
from vaerecon.models.autoencoder import decode, encode
from vaerecon.models.precision import LARGE
from vaerecon.training.data.corpus import find_audio, split
from vaerecon.training.parts.vae import VaeObjective
from vaerecon.training.run import train
from vaerecon.training.run_files import read_curve
from vaerecon.training.settings import LoopConfig
from vaerecon.training.weights import load_part

KINDS: dict[str, Callable[..., np.ndarray]] = {
    "chirps": sounds.chirps, "rain": sounds.rain, "struck": sounds.struck
}  # fmt: skip
N_CLIPS, CLIP_SECONDS = 16, 2.0  # of a synthesized kind
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MOVED = 0.01  # of a latent's deviation; a smaller shift is not audible


@dataclass(frozen=True)
class Tuning:
    """A VAE before and after fine-tuning, and the curve of the training."""

    before: Any  # AutoencoderKL
    after: Any
    curve: pd.DataFrame  # by step: mae of the training crops, validation_mae, nepers


def training_folder(data: str, folder: str | Path, seed: int = 0) -> Path:
    """The training audio: a folder of audio, or one filled with a kind of synthesized sound.

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


def clip_mel(clip: Clip) -> torch.Tensor:
    """The clip's log-mel ``[T, 64]``, at the level that models expect."""
    return log_mel(normalize_level(clip.samples)[0], normalize=False)


def fine_tune(
    model: str,
    folder: Path,
    *,
    steps: int,
    learning_rate: float,
    batch_size: int,
    train_encoder: bool = False,
    seed: int = 0,
) -> Tuning:
    """Train the decoder of ``model`` (variant, folder or hub id) on ``folder``, writing nothing.

    ``train_encoder`` trains the encoder too, so that latents change their meaning; the other
    settings are those of :class:`vaerecon.training.settings.LoopConfig`. A small model is trained
    with one thread (:func:`one_thread_if_small`).
    """
    checks: dict[str, Any] = {
        "save_every": max(1, steps // 12),
        "validation_crops": 8,
        "samples": 0,
    }
    config = LoopConfig(
        steps=steps, learning_rate=learning_rate, batch_size=batch_size, seed=seed, **checks
    )
    before = load_part("vae", model).eval()
    with tempfile.TemporaryDirectory() as output, one_thread_if_small(before):
        options = {"objective": VaeObjective(frames=64), "freeze_encoder": not train_encoder}
        how: dict[str, Any] = {"device": None, "progress": False, "init": model} | options
        loop = train("vae", [folder], Path(output), config, **how)
        curve = pd.DataFrame(read_curve(Path(output) / "vae_run" / "curve.csv"))
    after = deepcopy(loop.part.model).cpu().eval()
    return Tuning(before, after, curve.set_index("step"))


@contextmanager
def one_thread_if_small(model: torch.nn.Module) -> Iterator[None]:
    """Use one thread within the block for a model below ``models.precision.LARGE`` parameters.

    For the short layers of a small model several threads are hardly faster, and many times slower
    where another program uses one of the cores, since each layer waits for it.
    """
    threads = torch.get_num_threads()
    if sum(p.numel() for p in model.parameters()) < LARGE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def through(vae: Any, mel: torch.Tensor) -> torch.Tensor:
    """A log-mel ``[T, 64]`` encoded to the latent's mean and decoded."""
    return decode(vae, encode(vae, mel), len(mel))


def error(vae: Any, mel: torch.Tensor) -> float:
    """Mean absolute difference of the decoded log-mel, nepers."""
    return float((through(vae, mel) - mel).abs().mean())


def error_table(tuning: Tuning, mels: dict[str, torch.Tensor]) -> pd.DataFrame:
    """One row per clip: its error before and after, nepers, and the change."""
    rows = {
        name: {"before": error(tuning.before, mel), "after": error(tuning.after, mel)}
        for name, mel in mels.items()
    }
    table = pd.DataFrame(rows).T
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


def blend_errors(
    tuning: Tuning, mels: dict[str, torch.Tensor], shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """The error of each clip (columns) for each share of the new weights (rows), nepers."""
    rows = {}
    for share in shares:
        vae = blend(tuning, share)
        rows[share] = {name: error(vae, mel) for name, mel in mels.items()}
    return pd.DataFrame(rows).T.rename_axis("share")


def sounds_of(tuning: Tuning, mel: torch.Tensor, samples: torch.Tensor) -> dict[str, torch.Tensor]:
    """The clip, and its reconstructions before and after, by Griffin-Lim with one seed."""
    models = {"before": tuning.before, "after": tuning.after}
    mels = {name: through(vae, mel) for name, vae in models.items()}
    return {"original": torch.as_tensor(samples)} | sounds_of_mels(mels, len(samples))


def sounds_of_mels(
    mels: dict[str, torch.Tensor], n_samples: int | None = None
) -> dict[str, torch.Tensor]:
    """Log-mels ``[T, 64]`` as samples (``160 T`` by default), by Griffin-Lim with one seed."""
    synthesize = get_method("griffinlim").function
    return {
        name: synthesize(mel, n_samples or 160 * len(mel), torch.Generator().manual_seed(0))
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
        result = "better" if row["after"] < row["before"] else "not better"
        sentences.append(
            f"**{name}**, {kind}: {row['before']:.3f} to {row['after']:.3f} nepers "
            f"({row['change (%)']:+.0f} %), {result}."
        )
    return " ".join(sentences)


def blend_text(errors: pd.DataFrame) -> str:
    """At which weight each error of :func:`blend_errors` is least; Markdown."""
    least = [f"**{name}** at {errors[name].idxmin():g}" for name in errors]
    one, other = (errors[name].idxmin() for name in errors)
    agree = "the same weight is best for both" if one == other else "the two disagree"
    return f"Least error: {' and '.join(least)}; {agree}."
