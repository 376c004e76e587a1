"""The training loop: schedule, moving average, discriminators, curves, checkpoints, resume."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from vaerecon.training.adversary import Adversary, descend
from vaerecon.training.average import WeightAverage
from vaerecon.training.data.batches import Batches
from vaerecon.training.parts.part import Part
from vaerecon.training.run_files import read_checkpoint, read_curve, write_checkpoint, write_curve
from vaerecon.training.settings import LoopConfig, learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

PLAN_AFTER = 12  # steps that are timed before the number of steps is chosen
UNTIMED = 3  # of those, the first: they also fill caches
MARGIN = 0.97  # share of the time left that is planned for steps
LATE = 0.1  # share of the budget by which the end may be off before the plan is made anew
DRAW_AHEAD = 4  # threads that draw batches where a GPU trains


class TrainingLoop:
    """Trains a part to its last step, saving what it needs to go on.

    Every random draw of a step is seeded by the step's number, so a resumed run takes the same
    steps as an uninterrupted one: bit by bit on a CPU with the same number of threads.

    With ``config.minutes`` the first steps are timed, at the lowest rate; then the number of steps
    and with it the schedule are chosen and stored. They are chosen anew at a checkpoint only if the
    end would be off by more than a tenth of the budget, because the machine got busy.

    Parameters
    ----------
    part
        What is trained; :attr:`average` holds the moving average of its model's weights.
    config
        Settings.
    folder
        Receives ``checkpoint.pt`` (replaced atomically), ``curve.csv`` and ``samples/``.
    accelerator
        From :func:`vaerecon.training.devices.make_accelerator`.
    started
        ``time.perf_counter()`` when ``config.minutes`` began to count.
    """

    def __init__(
        self,
        part: Part,
        config: LoopConfig,
        folder: Path,
        accelerator: Accelerator,
        started: float | None = None,
    ):
        self.part, self.config, self.folder = part, config, Path(folder)
        self.accelerator = accelerator
        part.to(accelerator.device)
        self.step, self.steps, self.earlier = 0, config.steps, 0.0
        self.started = time.perf_counter() if started is None else started
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

    @property
    def checkpoint(self) -> Path:
        """The file that :meth:`save` writes and :meth:`resume` reads."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the whole state."""
        state = {
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "config": asdict(self.config),
            "objective": asdict(self.part.objective),
            "model": self.part.model.state_dict(),
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
        }
        if self.adversary is not None:
            state |= self.adversary.state()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        write_checkpoint(self.checkpoint, state)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one; says whether there was."""
        if not self.checkpoint.exists():
            return False
        state = read_checkpoint(self.checkpoint)
        if "judge" in state:
            raise ValueError(
                f"resume: {self.checkpoint.parent.name} has discriminators of vaerecon 0.1.0, with "
                "other names; begin anew from its weights: another output, and --init"
            )
        self.step, self.steps = state["step"], state["steps"]
        self.earlier = state["seconds"]
        self.part.model.load_state_dict(state["model"])
        for name, value in state["average"].items():
            self.average.weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        if "discriminator" in state:
            self.adversary = Adversary(self.part, self.config, self.accelerator)
            self.adversary.load(state)
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.accelerator.is_main_process:
            self._cut_curve()
        logger.info("resumed at step %d", self.step)
        return True

    def run(self, progress: bool = True) -> None:
        """Train to the last step; validation and samples are made with the averaged weights."""
        shown = progress and self.accelerator.is_main_process
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        hidden = None if shown else True  # None: only on a terminal and in notebooks
        total, name = self.steps or None, self.part.name
        try:
            with tqdm(
                total=total, initial=self.step, unit="step", desc=name, disable=hidden
            ) as bar:
                self._run(bar)
        finally:
            self.batches.close()

    def _run(self, bar: tqdm) -> None:
        means, times, shown, since = _Means(), [], 0.0, self.seconds
        while self.steps == 0 or self.step < self.steps:
            began = time.perf_counter()
            means.add(self._one_step())
            if self.steps == 0:
                times.append(time.perf_counter() - began)
            bar.update()
            if time.perf_counter() - shown > 1.0 and not bar.disable:  # reading waits for a GPU
                shown = time.perf_counter()
                bar.set_postfix({k: f"{v:.3f}" for k, v in means.means().items()}, refresh=False)
            planning = self.steps == 0 and self.step == PLAN_AFTER
            if planning or self.step % self.config.save_every == 0 or self.step == self.steps:
                began = time.perf_counter()
                row = means.means() | self._validate()
                if planning:
                    check = time.perf_counter() - began
                    self._plan(float(np.median(times[UNTIMED:])), check)
                elif self.config.minutes is not None and self.step < self.steps:
                    self._keep_to_plan((self.seconds - since) / means.steps)
                bar.total = self.steps
                if self.accelerator.is_main_process:
                    self._log(row)
                    self.save()
                self.accelerator.wait_for_everyone()
                means, since = _Means(), self.seconds

    def _validate(self) -> dict[str, float]:
        """Validation and samples at a checkpoint, by the first process."""
        if not self.accelerator.is_main_process:
            return {}
        with self.average.applied(), torch.no_grad():
            if self.config.samples:
                from vaerecon.training.pictures import write_samples

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
            if self.adversary is None:
                self.adversary = Adversary(self.part, config, self.accelerator)
            values |= self.adversary.step(*self.part.real_and_fake(batch, made))
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
        """What is left of the budget; infinite without one."""
        minutes = self.config.minutes
        return np.inf if minutes is None else minutes * 60 - self.seconds

    def _plan(self, step_seconds: float, check_seconds: float) -> None:
        """Choose the number of steps that fit into what is left of the budget."""
        each = step_seconds + check_seconds / self.config.save_every
        left = self._seconds_left - check_seconds
        self._set_steps(self.step + max(1, int(MARGIN * left / each)))
        logger.info("%.2f s a step: %d steps in all", step_seconds, self.steps)

    def _keep_to_plan(self, step_seconds: float) -> None:
        """Choose the number anew if the end would be off by too much."""
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

    def _cut_curve(self) -> None:
        """Drop rows that a killed run wrote after its last checkpoint."""
        path = self.folder / "curve.csv"
        rows = read_curve(path)
        if rows and rows[-1]["step"] > self.step:
            write_curve(path, [row for row in rows if row["step"] <= self.step])


class _Means:
    """Means of named values over the steps that had them; read from the device only when asked."""

    def __init__(self) -> None:
        self.steps = 0
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: dict[str, torch.Tensor]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}
