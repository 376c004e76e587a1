"""Settings of every training, without torch, so that the command line starts fast.

Those of one part (sizes, weights of its losses) are in its module.
"""

import math
from dataclasses import dataclass

PARTS = ("fast", "vae", "vocoder")  # in the order in which `all` trains them


@dataclass(frozen=True)
class LoopConfig:
    """Settings of a training run."""

    steps: int = 0  # optimiser steps in all; 0: as many as fit into `minutes`
    minutes: float | None = None  # wall time of the training, validation and pictures included
    batch_size: int = 16  # crops per process
    learning_rate: float = 1.5e-3  # peak of the schedule
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW
    weight_decay: float = 1e-3  # AdamW
    warmup: float = 0.1  # share of the steps in which the rate rises
    clip_norm: float = 1.0  # largest gradient norm
    ema: float = 0.995  # decay of the moving average of the weights, which is saved
    # First step with discriminators, or below 1 the share of the steps before; None: never. They
    # make a vocoder's step three to four times slower, so by default they are used on a GPU only.
    adversarial_from: float | None = None
    adversarial_weight: float = 1.0  # of the adversarial loss
    matching_weight: float = 2.0  # of the feature matching loss
    discriminator_rate: float = 2e-4  # learning rate, constant
    save_every: int = 200  # steps between checkpoints
    validation_crops: int = 32  # crops of the held-out files, the same at every checkpoint
    samples: int = 2  # of those, as pictures and sound at every checkpoint; 0: none
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.minutes is not None):
            raise ValueError(
                f"training: got steps={self.steps} and minutes={self.minutes}, expected one of them"
            )
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes: got {self.minutes}, expected a positive number")
        for name in ("batch_size", "learning_rate", "save_every", "validation_crops"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a positive number")


@dataclass(frozen=True)
class PartDefaults:
    """Default settings of a part on the command line."""

    learning_rate: float  # peak, for fresh weights
    steps: int  # for fresh weights
    share: float  # of the minutes of `train all`


DEFAULTS = {
    "fast": PartDefaults(learning_rate=2e-3, steps=8000, share=0.4),
    "vae": PartDefaults(learning_rate=1.5e-3, steps=5000, share=0.35),
    "vocoder": PartDefaults(learning_rate=8e-4, steps=6000, share=0.25),
}
FINE_TUNING_STEPS = 500  # for trained weights


def learning_rate(step: int, steps: int, config: LoopConfig) -> float:
    """One cycle: linear warm-up, then half a cosine to a hundredth of the peak."""
    progress = min(1.0, step / max(1, steps))
    if progress < config.warmup:
        return config.learning_rate * (0.04 + 0.96 * progress / config.warmup)
    fall = (progress - config.warmup) / (1 - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))
