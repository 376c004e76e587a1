"""A VAE's decoder, taught the sounds of one's own: before, after, and what it cost elsewhere.

The training is :func:`vaerecon.training.run.train`, the same that ``vaerecon train`` starts; here
is what a notebook needs around it.

Notebook: ``05_fine_tuning``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

KINDS: dict[str, Callable] = {
    make.__name__: make for make in (sounds.chirps, sounds.rain, sounds.struck)
}
N_CLIPS, CLIP_SECONDS = 16, 2.0  # of a kind that is made here
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MOVED = 0.01  # of a latent's deviation: below it nobody could tell


@dataclass(frozen=True)
class Tuning:
    """A VAE before and after, and how it went."""

    before: Any  # AutoencoderKL
    after: Any
    curve: pd.DataFrame  # by step: mae of the training crops, validation_mae, nepers


def training_folder(data: str, folder: str | Path, seed: int = 0) -> Path:
    """The audio to learn from: a folder of one's own, or one filled with a kind of sound.

    Parameters
    ----------
    data
        A name in :data:`KINDS`, or a folder with audio files.
    folder
        Where the sounds of a kind are written.
    seed
        Of those sounds.

    Raises
    ------
    ValueError
        If it is neither, or the folder holds fewer than two files.
    """
    if data not in KINDS:
        if not Path(data).is_dir():
            raise ValueError(
                f"data: got {data!r}, expected a folder of audio or one of {', '.join(KINDS)}"
            )
        split(find_audio([Path(data)]))
        return Path(data)
    import numpy as np

    target = Path(folder) / f"{data}_{seed}"
    target.mkdir(parents=True, exist_ok=True)
    for index in range(N_CLIPS):
        rng = np.random.default_rng((seed, index))
        samples = KINDS[data](rng, round(CLIP_SECONDS * SAMPLE_RATE))
        write_wav(target / f"{data}_{index:02}.wav", 0.5 * samples / np.abs(samples).max())
    return target


def held_out_clip(folder: Path, max_length: float = 3.0) -> Clip:
    """A clip that is kept out of the training, to judge it by."""
    return load_audio(split(find_audio([folder]))[1][0], max_length=max_length)


def clip_mel(clip: Clip) -> torch.Tensor:
    """Its log-mel ``[T, 64]``, at the level that models expect."""
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
    """Train the decoder of ``model`` on ``folder``; nothing is kept on disk.

    A small model is trained by one thread (:func:`one_thread_if_small`).

    Parameters
    ----------
    model
        Variant, folder or hub id.
    steps, learning_rate, batch_size, seed
        As in :class:`vaerecon.training.settings.LoopConfig`.
    train_encoder
        Train the encoder too, so that latents change their meaning.
    """
    from vaerecon.training.weights import load_part

    config = LoopConfig(
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        seed=seed,
        save_every=max(1, steps // 12),
        validation_crops=8,
        samples=0,
    )
    before = load_part("vae", model).eval()
    with tempfile.TemporaryDirectory() as output, one_thread_if_small(before):
        loop = train(
            "vae",
            [folder],
            Path(output),
            config,
            device=None,
            progress=False,
            objective=VaeObjective(frames=64),
            init=model,
            freeze_encoder=not train_encoder,
        )
        curve = pd.DataFrame(read_curve(Path(output) / "vae_run" / "curve.csv"))
    after = deepcopy(loop.part.model).cpu().eval()
    return Tuning(before, after, curve.set_index("step"))


@contextmanager
def one_thread_if_small(model: torch.nn.Module) -> Iterator[None]:
    """Let torch use one thread for a model below :data:`vaerecon.models.precision.LARGE`
    parameters.

    The layers of a small model are too short to share: several threads are hardly quicker, and
    many times slower where another program is on one of the cores, since each layer waits for it.
    The number of threads is put back at the end.
    """
    threads = torch.get_num_threads()
    if sum(p.numel() for p in model.parameters()) < LARGE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def through(vae: Any, mel: torch.Tensor) -> torch.Tensor:
    """A log-mel ``[T, 64]`` to the latent's mean and back."""
    return decode(vae, encode(vae, mel), len(mel))


def error(vae: Any, mel: torch.Tensor) -> float:
    """Mean absolute difference of what comes back, nepers."""
    return float((through(vae, mel) - mel).abs().mean())


def error_table(tuning: Tuning, mels: dict[str, torch.Tensor]) -> pd.DataFrame:
    """A row for each clip: its error before and after, nepers, and by how much it moved."""
    rows = {
        name: {"before": error(tuning.before, mel), "after": error(tuning.after, mel)}
        for name, mel in mels.items()
    }
    table = pd.DataFrame(rows).T
    table["change (%)"] = 100 * (table["after"] / table["before"] - 1)
    return table


def blend(tuning: Tuning, share: float) -> Any:
    """A VAE between the two: ``share`` of the way from before to after, weight by weight."""
    if not 0 <= share <= 1:
        raise ValueError(f"share: got {share}, expected 0 (before) to 1 (after)")
    vae = deepcopy(tuning.before)
    after = tuning.after.state_dict()
    vae.load_state_dict({k: v.lerp(after[k], share) for k, v in vae.state_dict().items()})
    return vae


def blend_errors(
    tuning: Tuning, mels: dict[str, torch.Tensor], shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """The error of each clip (columns) for each share of the way (rows), nepers."""
    rows = {}
    for share in shares:
        vae = blend(tuning, share)
        rows[share] = {name: error(vae, mel) for name, mel in mels.items()}
    return pd.DataFrame(rows).T.rename_axis("share")


def sounds_of(tuning: Tuning, mel: torch.Tensor, samples: torch.Tensor) -> dict[str, torch.Tensor]:
    """The clip, and what comes back before and after, by Griffin-Lim from the same start."""
    synthesize = get_method("griffinlim").function
    found = {"original": torch.as_tensor(samples)}
    for name, vae in (("before", tuning.before), ("after", tuning.after)):
        generator = torch.Generator().manual_seed(0)
        found[name] = synthesize(through(vae, mel), len(samples), generator)
    return found


def latent_shift(tuning: Tuning, mel: torch.Tensor) -> float:
    """How far latents moved, as a share of their deviation; 0 if the encoder was left alone."""
    old, new = encode(tuning.before, mel), encode(tuning.after, mel)
    return float((new - old).square().mean().sqrt() / old.std())


def check_latents_kept(tuning: Tuning, mel: torch.Tensor) -> None:
    """Raise if old latents no longer mean the same.

    Raises
    ------
    ValueError
        With the error that an old latent now decodes to.
    """
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
    """One paragraph about :func:`error_table`, whose first row is the own kind of sound."""
    own, others = table.iloc[0], table.iloc[1:]
    better = own["after"] < own["before"]
    lines = [
        f"**{table.index[0]}**, held out: {own['before']:.3f} to {own['after']:.3f} nepers "
        f"({own['change (%)']:+.0f} %). {'It learned.' if better else 'It did not get better.'}"
    ]
    for name, row in others.iterrows():
        cost = "the price" if row["after"] > row["before"] else "no price here"
        lines.append(
            f"**{name}**, of which it saw nothing: {row['before']:.3f} to {row['after']:.3f} "
            f"nepers ({row['change (%)']:+.0f} %): {cost}."
        )
    return " ".join(lines)
