"""The moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a model's floating-point weights and buffers: what is saved."""

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, step: int) -> None:
        """Move towards the model's weights, faster at the start; ``step`` counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self.model.state_dict()
        moving = [k for k, v in current.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[k] for k in moving], [current[k] for k in moving], 1 - decay
        )
        for name in current.keys() - set(moving):
            self.weights[name].copy_(current[name])

    def load(self) -> None:
        """Put the average into the model, for good."""
        self.model.load_state_dict(self.weights)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model within the block, and its own weights back after it."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.load()
        try:
            yield
        finally:
            self.model.load_state_dict(own)
