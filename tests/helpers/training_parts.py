"""Trainings small enough for tests: what they train on, and how little."""

from __future__ import annotations

from pathlib import Path

import soundfile as sf
import torch

from helpers.sounds import make_sound
from vaerecon.training.data.corpus import held_out
from vaerecon.training.loop import TrainingLoop
from vaerecon.training.parts.fast import FastObjective, FastSize
from vaerecon.training.parts.vae import VaeObjective, VaeSize
from vaerecon.training.parts.vocoder import VocoderObjective, VocoderSize
from vaerecon.training.run import train
from vaerecon.training.run_files import read_checkpoint
from vaerecon.training.settings import LoopConfig

VAE_SIZE = VaeSize(block_out_channels=(4, 4, 4), norm_num_groups=2)
VOCODER_SIZE = VocoderSize(
    upsample_initial_channel=32,
    upsample_rates=(1, 10, 16),
    upsample_kernel_sizes=(1, 20, 32),
    resblock_dilation_sizes=((1,),),
)
OPTIONS = {
    "vae": {"size": VAE_SIZE, "objective": VaeObjective(frames=16)},
    "fast": {"size": FastSize(16, 32, 1), "objective": FastObjective(frames=16)},
    "vocoder": {"size": VOCODER_SIZE, "objective": VocoderObjective(frames=16)},
}


def write_sounds(folder: Path, count: int = 12, rate: int = 16000) -> Path:
    """A folder of sounds of 0.7 s, of which the hash of the name holds two out."""
    names = [f"sound_{i}.wav" for i in range(100)]
    training = [n for n in names if not held_out(n)][: count - 2]
    for seed, name in enumerate(training + [n for n in names if held_out(n)][:2]):
        sf.write(folder / name, make_sound(0.7, seed), rate)
    return folder


def run(part: str, data, output: Path, steps: int, resume: bool = False, **changes) -> dict:
    """Train a very small model; the checkpoint that it ends with."""
    torch.set_num_threads(1)
    options = OPTIONS[part] | {k: changes.pop(k) for k in list(changes) if k in OPTION_NAMES}
    settings = {"batch_size": 2, "save_every": 2, "validation_crops": 2, "samples": 0}
    config = LoopConfig(steps=steps, **(settings | changes))
    train(part, data, output, config, resume=resume, **options)
    return read_checkpoint(output / f"{part}_run" / "checkpoint.pt")


OPTION_NAMES = {"size", "objective", "init", "vae", "freeze_encoder", "memory_limit", "precision"}


def assert_same_end(one: dict, other: dict) -> None:
    """Every tensor and number of two checkpoints, but for the time that they took."""
    ignored = {"seconds"}
    assert one.keys() == other.keys()
    for name in one.keys() - ignored:
        _assert_same(one[name], other[name], name)


def _assert_same(one, other, where: str) -> None:
    if torch.is_tensor(one):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            _assert_same(a, b, f"{where}[{i}]")
    else:
        assert one == other, where


__all__ = ["OPTIONS", "TrainingLoop", "assert_same_end", "run", "write_sounds"]
