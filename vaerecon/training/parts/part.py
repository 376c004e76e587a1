"""The interface between the loop and the part that it trains, and the data of all parts."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.training.data.augmentation import NO_AUGMENTATION
from vaerecon.training.data.corpus import MEMORY_LIMIT, Corpus
from vaerecon.training.settings import LoopConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """Audio for training and validation, and the statistics of its log-mels."""

    training: Corpus
    validation: Corpus
    mean: float  # nepers
    deviation: float  # nepers

    @classmethod
    def read(
        cls,
        folders: Sequence[Path],
        seed: int = 0,
        memory_limit: float = MEMORY_LIMIT,
        progress: bool = True,
    ) -> Data:
        """Read folders of audio; statistics over all values of 256 training crops of a second."""
        training, validation = (
            Corpus(folders, part, memory_limit=memory_limit, progress=progress)
            for part in ("train", "validation")
        )
        mels = log_mel(training.batch(256, 16000, np.random.default_rng(seed)), normalize=False)
        mean, deviation = float(mels.mean()), float(mels.std())
        logger.info("log-mel mean %.3f, deviation %.3f nepers", mean, deviation)
        return cls(training, validation, mean, deviation)


class Sample(NamedTuple):
    """One held-out crop at a checkpoint, to look at and to listen to."""

    mel: torch.Tensor  # [T, 64], nepers, of the crop
    mel_made: torch.Tensor  # [T, 64], of the part's output
    samples: torch.Tensor  # [N]: the crop
    samples_made: torch.Tensor  # [N]


Batch = dict[str, Any]  # tensors by name, and other values that a part has drawn


class Part(ABC):
    """A model in training: how batches are drawn, its losses, its validation.

    ``objective`` is a dataclass of the part with ``frames``, the mel frames in a crop. A part sets
    :attr:`model` (trained, averaged and saved) and :attr:`network`, a module around it whose
    ``forward(batch)`` is all that runs in reduced precision and on several GPUs. Each part takes
    ``size``, of a fresh model, and ``init``, weights to start from instead (what
    :func:`vaerecon.training.weights.load_part` takes).
    """

    name: ClassVar[str]
    model: nn.Module
    network: nn.Module

    def __init__(self, data: Data, config: LoopConfig, objective: Any):
        self.data, self.config, self.objective = data, config, objective
        self.device = torch.device("cpu")
        self.n_samples = objective.frames * AUDIOLDM_MEL.hop_length

    def to(self, device: torch.device) -> None:
        """Move the models and the held-out crops to ``device``."""
        self.device = device
        self.network.to(device)
        crops, rng = self.config.validation_crops, np.random.default_rng(1)
        drawn = self.data.validation.batch(crops, 2 * self.n_samples, rng, NO_AUGMENTATION)
        self.held_out = self.with_mel({"samples": drawn.to(device)})

    def draw(self, rng: np.random.Generator) -> Batch:
        """A batch on the CPU. Every draw comes from ``rng``; may run in another thread."""
        size = self.config.batch_size
        return {"samples": self.data.training.batch(size, self.n_samples, rng)}

    def with_mel(self, batch: Batch) -> Batch:
        """The batch with its log-mel ``[B, T, 64]``, cloned so that gradients can pass."""
        return batch | {"mel": log_mel(batch["samples"], normalize=False).clone()}

    @abstractmethod
    def losses(self, batch: Batch, made: Batch) -> dict[str, torch.Tensor]:
        """Named scalars; ``"loss"`` is minimised, the rest goes into the curves.

        ``made`` is what the network returned, in float32.
        """

    @abstractmethod
    def discriminator(self) -> nn.Module:
        """A fresh one, for the input that :meth:`real_and_fake` gives."""

    @abstractmethod
    def real_and_fake(self, batch: Batch, made: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and generated input of the discriminator."""

    @abstractmethod
    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Means over a batch of held-out crops, by name."""

    @abstractmethod
    def output(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mels ``[B, T, 64]`` and sounds ``[B, N]`` that the part makes, without a gradient."""

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Means over the held-out crops, with the model's present weights."""
        sums: dict[str, float] = defaultdict(float)
        for batch in self.chunks():
            for name, value in self.measure(batch).items():
                sums[f"validation_{name}"] += len(batch["mel"]) * float(value)
        return {name: value / len(self.held_out["mel"]) for name, value in sums.items()}

    @torch.no_grad()
    def samples(self, count: int) -> list[Sample]:
        """The first held-out crops."""
        batch = {name: value[:count] for name, value in self.held_out.items()}
        mels, sounds = self.output(batch)
        crops = zip(batch["mel"], mels, batch["samples"], sounds, strict=True)
        return [Sample(*crop) for crop in crops]

    def finish(self) -> dict[str, Any]:
        """Complete the trained model; returns further entries of its record."""
        return {}

    def chunks(self) -> list[Batch]:
        """The held-out crops in pieces of the batch size, so that they need no more memory."""
        size = self.config.batch_size
        return [
            {name: value[start : start + size] for name, value in self.held_out.items()}
            for start in range(0, len(self.held_out["mel"]), size)
        ]
