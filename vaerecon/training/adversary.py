"""A discriminator in training, and the adversarial losses that it adds to a part's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from vaerecon.training.losses import (
    FeatureMaps,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from vaerecon.training.parts.part import Part
from vaerecon.training.settings import LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def descend(accelerator: Accelerator, optimizer: Any, loss: torch.Tensor, clip_norm: float) -> None:
    """One step of an optimiser, its gradients clipped to ``clip_norm``."""
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(optimizer.param_groups[0]["params"], clip_norm)
    optimizer.step()


class Adversary:
    """The discriminator of a part, with its optimiser; fresh weights are seeded by the run."""

    def __init__(self, part: Part, config: LoopConfig, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        torch.manual_seed(config.seed)
        network = part.discriminator()
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.discriminator_rate, betas=(0.8, 0.99)
        )
        self.network, self.optimizer = accelerator.prepare(network, optimizer)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        weights = self.accelerator.unwrap_model(self.network).state_dict()
        return {"discriminator": weights, "discriminator_optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        network = self.accelerator.unwrap_model(self.network)
        network.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["discriminator_optimizer"])

    def step(self, real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
        """Train the discriminator on a batch; its loss, and the losses for the generator."""
        both = self.network(torch.cat([real, fake.detach()]))
        own_loss = discriminator_loss(*_halves(both))
        descend(self.accelerator, self.optimizer, own_loss, self.config.clip_norm)

        network = self.accelerator.unwrap_model(self.network)
        network.requires_grad_(False)  # the gradient passes through it; its weights get none
        with self.accelerator.autocast():
            with torch.no_grad():
                maps_real = network(real)
            maps_fake = network(fake)
        network.requires_grad_(True)
        maps_real, maps_fake = _float(maps_real), _float(maps_fake)
        return {
            "discriminator": own_loss,
            "adversarial": adversarial_loss(maps_fake),
            "matching": feature_matching_loss(maps_real, maps_fake),
        }


def _halves(maps: FeatureMaps) -> tuple[FeatureMaps, FeatureMaps]:
    """Feature maps of one batch, as those of its first and second half."""
    real = [[x.chunk(2)[0] for x in layers] for layers in maps]
    fake = [[x.chunk(2)[1] for x in layers] for layers in maps]
    return real, fake


def _float(maps: FeatureMaps) -> FeatureMaps:
    return [[x.float() for x in layers] for layers in maps]
