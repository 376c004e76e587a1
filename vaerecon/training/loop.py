"""The loop that every training shares: schedule, moving average, curves, checkpoints, resume."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """Settings of a training run."""

    steps: int  # optimiser steps in all; the schedule is a function of step / steps
    batch_size: int = 16  # crops
    learning_rate: float = 1.5e-3  # peak of the schedule
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW
    weight_decay: float = 1e-3  # AdamW
    warmup: float = 0.1  # share of the steps in which the rate rises
    clip_norm: float = 1.0  # largest gradient norm
    ema: float = 0.995  # decay of the moving average of the weights, which is what is saved
    save_every: int = 200  # steps between checkpoints
    seed: int = 0


def learning_rate(step: int, config: LoopConfig) -> float:
    """One cycle: linear warm-up, then half a cosine down to a hundredth of the peak."""
    progress = min(1.0, step / max(1, config.steps))
    if progress < config.warmup:
        return config.learning_rate * (0.04 + 0.96 * progress / config.warmup)
    fall = (progress - config.warmup) / (1 - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class TrainingLoop:
    """Runs ``losses(model, rng)`` until ``config.steps``, saving what it needs to go on.

    Parameters
    ----------
    model
        Trained in place; :attr:`average` holds the moving average of its weights.
    losses
        Function ``(model, rng) -> dict`` of named scalar losses; ``"loss"`` is minimised, the rest
        goes into the curves. Every random draw must come from ``rng``, a numpy generator, or from
        torch's global generator: both are part of a checkpoint, so that a resumed run takes the
        very steps that an uninterrupted one would have taken.
    folder
        Receives ``checkpoint.pt`` (replaced atomically) and ``curve.csv``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        losses: Callable[[torch.nn.Module, np.random.Generator], dict[str, torch.Tensor]],
        config: LoopConfig,
        folder: Path,
    ):
        self.model, self.losses, self.config, self.folder = model, losses, config, Path(folder)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), betas=config.betas, weight_decay=config.weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.rng = np.random.default_rng(config.seed)
        self.step, self.seconds = 0, 0.0
        torch.manual_seed(config.seed)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """The file that :meth:`save` writes and :meth:`resume` reads."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the whole state, replacing the earlier one only when complete."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one; says whether there was."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch_rng"])
        logger.info("resumed at step %d", self.step)
        return True

    def run(self, validate: Callable[[], dict[str, float]] | None = None) -> None:
        """Train to the end; ``validate`` is called at checkpoints, with the averaged weights."""
        with tqdm(total=self.config.steps, initial=self.step, unit="step") as bar:
            sums: dict[str, float] = {}
            count, started = 0, time.perf_counter()
            while self.step < self.config.steps:
                values = self._one_step()
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                count += 1
                bar.update()
                bar.set_postfix({k: f"{v / count:.3f}" for k, v in sums.items()}, refresh=False)
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    self.seconds += time.perf_counter() - started
                    row = {k: v / count for k, v in sums.items()}
                    if validate is not None:
                        row |= self._with_average(validate)
                    self._log(row)
                    self.save()
                    sums, count, started = {}, 0, time.perf_counter()

    def _one_step(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        values = self.losses(self.model, self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))  # quick at the start
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        return {name: float(value.detach()) for name, value in values.items()}

    def _with_average(self, function: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Call ``function`` while the model holds the averaged weights."""
        current = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.load_average()
        try:
            return function()
        finally:
            self.model.load_state_dict(current)

    def load_average(self) -> None:
        """Put the averaged weights into the model."""
        self.model.load_state_dict(self.average)

    def _log(self, row: dict[str, float]) -> None:
        """Append a row to the curve."""
        path = self.folder / "curve.csv"
        fresh = not path.exists()
        row = {"step": self.step, "seconds": round(self.seconds, 1)} | row
        with path.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow({k: round(v, 5) for k, v in row.items()})
        logger.info(" ".join(f"{k}={v:.4g}" for k, v in row.items()))
