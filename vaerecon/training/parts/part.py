"""What all parts share: the data, and the classes between the loop and a part that it trains."""

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
import torch.nn.functional as F
from torch import nn

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.training.data.augmentation import NO_AUGMENTATION
from vaerecon.training.data.corpus import MEMORY_LIMIT, Corpus
from vaerecon.training.discriminators import SoundDiscriminator
from vaerecon.training.losses import multi_resolution_stft_loss
from vaerecon.training.settings import LoopConfig
from vaerecon.training.weights import load_part

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
        cls, folders: Sequence[Path], seed: int = 0, memory_limit: float = MEMORY_LIMIT,
        progress: bool = True,
    ) -> Data:  # fmt: skip
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
    """One held-out crop at a checkpoint, for picture and sound."""

    mel: torch.Tensor  # [T, 64], nepers, of the crop
    mel_made: torch.Tensor  # [T, 64], of the part's output
    samples: torch.Tensor  # [N]: the crop
    samples_made: torch.Tensor  # [N]


Batch = dict[str, Any]  # tensors by name, and other values that a part has drawn


class Part(ABC):
    """A model in training: how batches are drawn, its losses, its validation.

    ``objective`` is a dataclass of the part with ``frames``, the mel frames in a crop. ``init`` are
    the weights to start from (what :func:`vaerecon.training.weights.load_part` takes); without it
    a fresh model of ``size`` is made. :attr:`model` is trained, averaged and saved. A part sets
    :attr:`network`, a module around it whose ``forward(batch)`` is all that runs in reduced
    precision and on several GPUs.
    """

    name: ClassVar[str]
    network: nn.Module

    def __init__(
        self, data: Data, config: LoopConfig, objective: Any, *, size: Any = None, init: Any = None
    ):
        self.data, self.config, self.objective, self.init = data, config, objective, init
        self.n_samples = objective.frames * AUDIOLDM_MEL.hop_length
        self.model: Any = self.fresh(size) if init is None else load_part(self.name, init)

    def to(self, device: torch.device) -> None:
        """Move the models and the held-out crops to ``device``."""
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
    def fresh(self, size: Any) -> Any:
        """A model with random weights; of the default size for None."""

    @abstractmethod
    def losses(self, batch: Batch, made: Batch) -> dict[str, torch.Tensor]:
        """Named scalars; ``"loss"`` is minimised, the rest goes into the curves.

        ``made`` is the output of the network, in float32.
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
        return list(map(Sample, batch["mel"], mels, batch["samples"], sounds))

    def finish(self) -> dict[str, Any]:
        """Complete the trained model; returns further entries of its record."""
        return {}

    def chunks(self) -> list[Batch]:
        """The held-out crops in pieces of the batch size, so that they need no more memory."""
        pieces = [value.split(self.config.batch_size) for value in self.held_out.values()]
        return [dict(zip(self.held_out, piece, strict=True)) for piece in zip(*pieces, strict=True)]


class SynthesizerPart(Part):
    """A part whose network makes ``samples`` ``[B, N]`` of ``mel_in`` ``[B, T, 64]``.

    A share of the batches, ``objective.vae_share``, has mels that went through ``vae`` (what
    :func:`vaerecon.training.weights.load_part` takes; None: no such batches). The loss still
    compares with the true sound, so the synthesizer learns to correct the VAE's blur.
    """

    def __init__(
        self, data: Data, config: LoopConfig, objective: Any, *, vae: Any = None, **model: Any
    ):
        self.share: float = 0.0
        self.vae: Any = None
        if vae is not None and objective.vae_share:
            self.share, self.vae = objective.vae_share, load_part("vae", vae).requires_grad_(False)
        super().__init__(data, config, objective, **model)

    def to(self, device: torch.device) -> None:
        super().to(device)
        if self.vae is not None:
            self.vae.to(device)
            self.held_out["mel_vae"] = self._through_vae(self.held_out["mel"])

    def draw(self, rng: np.random.Generator) -> Batch:
        through_vae = bool(rng.random() < self.share)
        return super().draw(rng) | {"through_vae": through_vae}

    def with_mel(self, batch: Batch) -> Batch:
        batch = super().with_mel(batch)
        through_vae = batch.get("through_vae", False)
        return batch | {"mel_in": self._through_vae(batch["mel"]) if through_vae else batch["mel"]}

    @torch.no_grad()
    def _through_vae(self, mel: torch.Tensor) -> torch.Tensor:
        """A mel ``[B, T, 64]`` encoded and decoded, a batch at a time; ``T`` a multiple of 4."""
        made = []
        for piece in mel.split(self.config.batch_size):
            # [B, T, 64] -> [B, 1, T, 64] and back
            latent = self.vae.encode(piece[:, None]).latent_dist.mode()
            made.append(self.vae.decode(latent).sample[:, 0])
        return torch.cat(made)

    def discriminator(self) -> nn.Module:
        return SoundDiscriminator()

    def real_and_fake(self, batch: Batch, made: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch["samples"], made["samples"]

    def sound(self, batch: Batch) -> torch.Tensor:
        """Samples ``[B, N]`` from ``mel_in``, without a gradient."""
        return self.network(batch)["samples"].float()

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        """STFT loss and log-mel MAE of the sound from true mels, and the MAE from the VAE's."""
        mel, sound = self.output(batch)
        stft = multi_resolution_stft_loss(sound, batch["samples"])
        values = {"stft": stft, "mae": F.l1_loss(mel, batch["mel"])}
        if "mel_vae" in batch:
            mel, _ = self.output(batch | {"mel_in": batch["mel_vae"]})
            values["mae_vae"] = F.l1_loss(mel, batch["mel"])
        return values

    def output(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        sound = self.sound(batch)
        return log_mel(sound, normalize=False), sound
