"""Small discriminators of generated and real sound, or mels, and their training.

A spectral loss does not constrain the phase, and an L1 loss on mels gives blurred ones; an
adversarial loss has neither problem. Each module returns, for every discriminator in it, a list of
feature maps, one per layer; the last one is the logits. All are a quarter as wide as the published
ones, so that a CPU can train them.

References
----------
.. [1] J. Kong, J. Kim, J. Bae, "HiFi-GAN", NeurIPS 2020: the multi-period discriminator.
.. [2] W. Jang et al., "UnivNet", Interspeech 2021: the multi-resolution discriminator.
.. [3] P. Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR
   2017: the patch discriminator.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from vaerecon.training.losses import (
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    stft_magnitude,
)
from vaerecon.training.settings import LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

SLOPE = 0.1  # of the leaky ReLU


class _Discriminator(nn.Module):
    """Weight-normalised convolutions, and one more that gives the logits."""

    def __init__(self, layers: list[nn.Conv2d], logits: nn.Conv2d):
        super().__init__()
        self.layers = nn.ModuleList(map(weight_norm, layers))
        self.logits = weight_norm(logits)

    def feature_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            maps.append(x)
        return [*maps, self.logits(x)]


class PeriodDiscriminator(_Discriminator):
    """Samples folded into rows of ``period``: ``[B, N] -> [B, 1, N / period, period]``.

    Convolutions run along time only, separately for each column: samples one period apart.
    """

    def __init__(self, period: int, channels: tuple[int, ...]):
        strides = [3] * (len(channels) - 1) + [1]
        layers = [
            nn.Conv2d(a, b, (5, 1), (stride, 1), (2, 0))
            for (a, b), stride in zip(pairwise((1, *channels)), strides, strict=True)
        ]
        super().__init__(layers, nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))
        self.period = period

    def forward(self, samples: torch.Tensor) -> list[torch.Tensor]:
        x = F.pad(samples[:, None], (0, -samples.shape[-1] % self.period), mode="reflect")
        x = x.unflatten(-1, (-1, self.period))  # [B, 1, N] -> [B, 1, N / period, period]
        return self.feature_maps(x)


class SpectrumDiscriminator(_Discriminator):
    """An STFT magnitude as a picture: ``[B, N] -> [B, 1, F, T]``."""

    def __init__(self, n_fft: int, hop: int):
        layers = [
            nn.Conv2d(channels, 8, (9, 3), (stride, 1), (4, 1))  # UnivNet: 32 channels
            for channels, stride in ((1, 1), (8, 2), (8, 2), (8, 2))
        ]
        super().__init__(layers, nn.Conv2d(8, 1, 3, padding=1))
        self.n_fft, self.hop = n_fft, hop

    def forward(self, samples: torch.Tensor) -> list[torch.Tensor]:
        # a cube root compresses the range, as hearing does; a logarithm would amplify silence
        magnitude = stft_magnitude(samples, self.n_fft, self.hop) ** (1 / 3)
        return self.feature_maps(magnitude[:, None])


class SoundDiscriminator(nn.Module):
    """Discriminators of samples: several periods [1]_ and several spectra [2]_, ``[B, N]``."""

    def __init__(
        self,
        periods: tuple[int, ...] = (2, 3, 5, 7, 11),
        period_channels: tuple[int, ...] = (8, 32, 128, 256, 256),  # HiFi-GAN: four times as many
        spectra: tuple[tuple[int, int], ...] = ((512, 128), (1024, 256), (2048, 512)),  # n_fft, hop
    ):
        super().__init__()
        self.discriminators = nn.ModuleList(
            [PeriodDiscriminator(period, period_channels) for period in periods]
            + [SpectrumDiscriminator(n_fft, hop) for n_fft, hop in spectra]
        )

    def forward(self, samples: torch.Tensor) -> list[list[torch.Tensor]]:
        return [discriminator(samples) for discriminator in self.discriminators]


class PatchDiscriminator(_Discriminator):
    """Discriminator of patches [3]_ of a log-mel or log magnitude, ``[B, 1, T, F]``.

    Each logit sees 38 frames by 38 bins. The input is normalised by the statistics of log-mels.
    """

    def __init__(self, mean: float, deviation: float):
        layers = [nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise((1, 16, 32, 64))]
        super().__init__(layers, nn.Conv2d(64, 1, 3, padding=1))
        self.mean, self.deviation = mean, deviation

    def forward(self, picture: torch.Tensor) -> list[list[torch.Tensor]]:
        x = (picture - self.mean) / self.deviation
        return [self.feature_maps(x)]


class Adversary:
    """A discriminator in training, with its optimiser; fresh weights are seeded by the run."""

    def __init__(self, make: Callable[[], nn.Module], config: LoopConfig, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        torch.manual_seed(config.seed)
        network = make()
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.discriminator_rate, betas=(0.8, 0.99)
        )
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.plain = accelerator.unwrap_model(self.network)  # as on one GPU

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        weights = self.plain.state_dict()
        return {"discriminator": weights, "discriminator_optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.plain.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["discriminator_optimizer"])

    def step(self, real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
        """Train the discriminator on a batch; its loss, and the losses for the generator."""
        both = self.network(torch.cat([real, fake.detach()]))
        halves = [[[x.chunk(2)[half] for x in layers] for layers in both] for half in (0, 1)]
        own_loss = discriminator_loss(*halves)
        descend(self.accelerator, self.optimizer, own_loss, self.config.clip_norm)

        self.plain.requires_grad_(False)  # the gradient passes through it; its weights get none
        with self.accelerator.autocast():
            with torch.no_grad():
                maps_real = self.plain(real)
            maps_fake = self.plain(fake)
        self.plain.requires_grad_(True)
        maps_real, maps_fake = (
            [[x.float() for x in layers] for layers in maps] for maps in (maps_real, maps_fake)
        )
        return {
            "discriminator": own_loss,
            "adversarial": adversarial_loss(maps_fake),
            "matching": feature_matching_loss(maps_real, maps_fake),
        }


def descend(accelerator: Accelerator, optimizer: Any, loss: torch.Tensor, clip_norm: float) -> None:
    """One step of an optimiser, its gradients clipped to ``clip_norm``."""
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(optimizer.param_groups[0]["params"], clip_norm)
    optimizer.step()
