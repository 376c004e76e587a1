"""The training loop: schedule, moving average, discriminators, curves, checkpoints, resume."""

from __future__ import annotations

import logging
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from vaerecon.training.data.corpus import Batches
from vaerecon.training.discriminators import Adversary, descend
from vaerecon.training.parts.part import Part
from vaerecon.training.run_files import read_curve, write_checkpoint, write_curve, write_samples
from vaerecon.training.settings import LoopConfig, learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

PLAN_AFTER = 12  # steps that are timed before the number of steps is chosen
UNTIMED = 3  # of those, the first: they also fill caches
MARGIN = 0.97  # share of the remaining time that is planned for steps
LATE = 0.1  # share of the budget by which the end may be off before the plan changes
DRAW_AHEAD = 4  # threads that draw batches where a GPU trains


class WeightAverage:
    """Exponential moving average of a model's floating-point weights and buffers: what is saved."""

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.weights = _copy(model)

    def update(self, step: int) -> None:
        """Move towards the model's weights, faster at the start; ``step`` counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def load(self) -> None:
        """Put the average into the model, for good."""
        self.model.load_state_dict(self.weights)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model within the block, and its own weights back after it."""
        own = _copy(self.model)
        self.load()
        try:
            yield
        finally:
            self.model.load_state_dict(own)


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class TrainingLoop:
    """Trains a part to its last step, saving what it needs to go on.

    Every random draw of a step is seeded by the step's number, so a resumed run takes the same
    steps as an uninterrupted one: bit by bit on a CPU with the same number of threads.

    With ``config.minutes`` the first steps are timed, at the lowest rate; then the number of steps
    and with it the schedule are chosen and stored. They are changed at a checkpoint only if the end
    would be off by more than a tenth of the budget.

    ``folder`` receives ``checkpoint.pt``, ``curve.csv`` and ``samples/``; :attr:`average` holds the
    moving average of the weights of ``part.model``.
    """

    def __init__(self, part: Part, config: LoopConfig, folder: Path, accelerator: Accelerator):
        self.part, self.config, self.folder = part, config, Path(folder)
        self.accelerator = accelerator
        part.to(accelerator.device)
        self.step, self.steps = 0, config.steps
        self.earlier, self.started = 0.0, time.perf_counter()
        self.average = WeightAverage(part.model, config.ema)
        trained = [p for p in part.network.parameters() if p.requires_grad]
        decay = config.weight_decay
        optimizer = torch.optim.AdamW(trained, lr=0.0, betas=config.betas, weight_decay=decay)
        self.network, self.optimizer = accelerator.prepare(part.network, optimizer)
        self.adversary: Adversary | None = None  # made when a step or a checkpoint needs it
        workers = 0 if accelerator.device.type == "cpu" else DRAW_AHEAD
        self.batches = Batches(part.draw, config.seed, accelerator.process_index, workers)

    @property
    def seconds(self) -> float:
        """Time spent so far, in this process and before a resume."""
        return self.earlier + time.perf_counter() - self.started

    def save(self) -> None:
        """Write the whole state."""
        state = {
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "config": asdict(self.config),
            "objective": asdict(self.part.objective),
            "model": self.part.model.state_dict(),
            "buffers": dict(self.part.network.named_buffers()),
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
        }
        if self.adversary is not None:
            state |= self.adversary.state()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        write_checkpoint(self.folder, state)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the state in a checkpoint."""
        self.step, self.steps, self.earlier = state["step"], state["steps"], state["seconds"]
        self.part.model.load_state_dict(state["model"])
        for name, value in state.get("buffers", {}).items():
            self.part.network.get_buffer(name).copy_(value)
        for name, value in state["average"].items():
            self.average.weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        if "discriminator" in state:
            self._make_adversary().load(state)
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        path = self.folder / "curve.csv"
        rows = read_curve(path)
        if self.accelerator.is_main_process and rows and rows[-1]["step"] > self.step:
            # a killed run wrote them after its last checkpoint
            write_curve(path, [row for row in rows if row["step"] <= self.step])
        logger.info("resumed at step %d", self.step)

    def _make_adversary(self) -> Adversary:
        self.adversary = Adversary(self.part.discriminator, self.config, self.accelerator)
        return self.adversary

    def run(self, progress: bool = True) -> None:
        """Train to the last step; validation and samples are made with the averaged weights."""
        main = self.accelerator.is_main_process
        if main:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        hidden = None if progress and main else True  # None: only on a terminal and in notebooks
        shown: dict[str, Any] = {"desc": self.part.name, "unit": "step", "disable": hidden}
        try:
            with tqdm(total=self.steps or None, initial=self.step, **shown) as bar:
                self._run(bar)
        finally:
            self.batches.close()

    def _run(self, bar: tqdm) -> None:
        values, times, shown, since = defaultdict(list), [], 0.0, self.seconds
        while self.steps == 0 or self.step < self.steps:
            began = time.perf_counter()
            for name, value in self._one_step().items():
                values[name].append(value)
            if self.steps == 0:
                times.append(time.perf_counter() - began)
            bar.update()
            if time.perf_counter() - shown > 1.0 and not bar.disable:  # reading waits for a GPU
                shown = time.perf_counter()
                bar.set_postfix({k: f"{v:.3f}" for k, v in _means(values).items()}, refresh=False)
            planning = self.steps == 0 and self.step == PLAN_AFTER
            if planning or self.step % self.config.save_every == 0 or self.step == self.steps:
                began = time.perf_counter()
                row = _means(values) | self._validate()
                if planning:
                    check = time.perf_counter() - began
                    self._plan(float(np.median(times[UNTIMED:])), check)
                elif self.config.minutes is not None and self.step < self.steps:
                    self._keep_to_plan((self.seconds - since) / len(values["loss"]))
                bar.total = self.steps
                if self.accelerator.is_main_process:
                    self._log(row)
                    self.save()
                self.accelerator.wait_for_everyone()
                values, since = defaultdict(list), self.seconds

    def _validate(self) -> dict[str, float]:
        """Validation and samples at a checkpoint, by the first process."""
        if not self.accelerator.is_main_process:
            return {}
        with self.average.applied(), torch.no_grad():
            if self.config.samples:
                count = min(self.config.samples, self.config.validation_crops)
                write_samples(self.folder / "samples", self.step, self.part.samples(count))
            return self.part.validate()

    def _one_step(self) -> dict[str, torch.Tensor]:
        config, device = self.config, self.accelerator.device
        rate = learning_rate(self.step, self.steps or sys.maxsize, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {
            name: value.to(device, non_blocking=True) if torch.is_tensor(value) else value
            for name, value in self.batches[self.step].items()
        }
        torch.manual_seed(self.batches.torch_seed(self.step))
        batch = self.part.with_mel(batch)
        made = self.network(batch)
        values = self.part.losses(batch, made)
        if self._is_adversarial():
            adversary = self.adversary or self._make_adversary()
            values |= adversary.step(*self.part.real_and_fake(batch, made))
            loss = values["loss"] + config.adversarial_weight * values["adversarial"]
            values["loss"] = loss + config.matching_weight * values["matching"]
        descend(self.accelerator, self.optimizer, values["loss"], config.clip_norm)
        self.step += 1
        self.average.update(self.step)
        return {name: value.detach() for name, value in values.items()}

    def _is_adversarial(self) -> bool:
        """Whether discriminators are used in this step."""
        start = self.config.adversarial_from
        if start is None:
            return False
        if 0 < start < 1:  # a share; not before the number of steps is known
            return self.steps > 0 and self.step >= start * self.steps
        return self.step >= start

    @property
    def _seconds_left(self) -> float:
        """What is left of the budget."""
        return (self.config.minutes or 0.0) * 60 - self.seconds

    def _plan(self, step_seconds: float, check_seconds: float) -> None:
        """Choose the number of steps that fit into the rest of the budget."""
        each = step_seconds + check_seconds / self.config.save_every
        left = self._seconds_left - check_seconds
        self._set_steps(self.step + max(1, int(MARGIN * left / each)))
        logger.info("%.2f s a step: %d steps in all", step_seconds, self.steps)

    def _keep_to_plan(self, step_seconds: float) -> None:
        """Change the number of steps if the end would be off by too much."""
        left, steps = self._seconds_left, self.steps
        if abs((steps - self.step) * step_seconds - left) > LATE * (left + self.seconds):
            steps = self.step + max(1, int(MARGIN * left / step_seconds))
            logger.info("%.2f s a step by now: %d steps in all", step_seconds, steps)
        self._set_steps(steps)

    def _set_steps(self, steps: int) -> None:
        """The first process decides for all."""
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            (steps,) = broadcast_object_list([steps])
        self.steps = steps

    def _log(self, row: dict[str, float]) -> None:
        """Append a row to the curve."""
        path = self.folder / "curve.csv"
        row = {"step": self.step, "seconds": round(self.seconds, 1)} | row
        row = {k: round(v, 5) for k, v in row.items()}
        write_curve(path, [*read_curve(path), row])
        logger.info(" ".join(f"{k}={v:.4g}" for k, v in row.items()))


def _means(values: dict[str, list[torch.Tensor]]) -> dict[str, float]:
    """Means of named values over the steps that had them."""
    return {name: float(sum(given)) / len(given) for name, given in values.items()}
