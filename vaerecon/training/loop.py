"""The training loop: schedule, moving average, discriminators, curves, checkpoints, resume."""

from __future__ import annotations

import csv
import logging
import os
import pickle
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from vaerecon.training.average import WeightAverage
from vaerecon.training.data.batches import Batches
from vaerecon.training.losses import adversarial_loss, discriminator_loss, feature_matching_loss
from vaerecon.training.parts.part import Batch, Part
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

    Every draw of a step is seeded by the step's number, so a run that goes on from a checkpoint
    takes the very steps that an uninterrupted one would have taken: on a CPU with the same number
    of threads, bit by bit.

    With ``config.minutes`` the first steps are timed, at the lowest rate; then the number of steps
    is chosen, and with it the schedule, and both are stored. They are chosen anew at a checkpoint
    only if the end would be off by more than a tenth of the budget, because the machine got busy.

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
        ``time.perf_counter()`` when the work began that ``config.minutes`` pays for.
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
        optimizer = torch.optim.AdamW(
            trained, lr=0.0, betas=config.betas, weight_decay=config.weight_decay
        )
        self.network, self.optimizer = accelerator.prepare(part.network, optimizer)
        self.trained = trained
        self.discriminator = None  # made when a step or a checkpoint needs it
        on_cpu = accelerator.device.type == "cpu"
        self.batches = Batches(
            part.draw, config.seed, accelerator.process_index, 0 if on_cpu else DRAW_AHEAD
        )

    # ---------------------------------------------------------------------------- state

    @property
    def seconds(self) -> float:
        """Time spent so far, in this process and before a resume."""
        return self.earlier + time.perf_counter() - self.started

    @property
    def checkpoint(self) -> Path:
        """The file that :meth:`save` writes and :meth:`resume` reads."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the whole state, replacing the earlier one only when complete."""
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
        if self.discriminator is not None:
            state["discriminator"] = self.accelerator.unwrap_model(self.discriminator).state_dict()
            state["discriminator_optimizer"] = self.discriminator_optimizer.state_dict()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        partial = self.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

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
            self._add_discriminator()
            self.accelerator.unwrap_model(self.discriminator).load_state_dict(
                state["discriminator"]
            )
            self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.accelerator.is_main_process:
            _cut_curve(self.folder / "curve.csv", self.step)
        logger.info("resumed at step %d", self.step)
        return True

    # ---------------------------------------------------------------------------- running

    def run(self, progress: bool = True) -> None:
        """Train to the last step; validation and samples are made of the averaged weights."""
        shown = progress and self.accelerator.is_main_process
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        bar = tqdm(
            total=self.steps or None,
            initial=self.step,
            unit="step",
            desc=self.part.name,
            disable=None if shown else True,  # None: only on a terminal and in notebooks
        )
        try:
            with bar:
                self._run(bar)
        finally:
            self.batches.close()

    def _run(self, bar: tqdm) -> None:
        sums, times, shown, since = _Means(), [], 0.0, self.seconds
        while self.steps == 0 or self.step < self.steps:
            began = time.perf_counter()
            sums.add(self._one_step())
            if self.steps == 0:
                times.append(time.perf_counter() - began)
            bar.update()
            if time.perf_counter() - shown > 1.0 and not bar.disable:  # reading waits for a GPU
                shown = time.perf_counter()
                means = {k: f"{v:.3f}" for k, v in sums.means().items()}
                bar.set_postfix(means, refresh=False)
            planning = self.steps == 0 and self.step == PLAN_AFTER
            if planning or self.step % self.config.save_every == 0 or self.step == self.steps:
                began = time.perf_counter()
                row, count = sums.means(), sums.steps
                row |= self._checked()
                if planning:
                    check = time.perf_counter() - began
                    self._plan(float(np.median(times[UNTIMED:])), check)
                elif self.config.minutes is not None and self.step < self.steps:
                    self._keep_to_plan((self.seconds - since) / count)
                bar.total = self.steps
                if self.accelerator.is_main_process:
                    self._log(row)
                    self.save()
                self.accelerator.wait_for_everyone()
                sums, since = _Means(), self.seconds

    def _checked(self) -> dict[str, float]:
        """Validation and samples at a checkpoint, by the first process."""
        if not self.accelerator.is_main_process:
            return {}
        with self.average.applied(), torch.no_grad():
            if self.config.samples:
                from vaerecon.training.pictures import write_samples

                count = min(self.config.samples, self.config.validation_crops)
                write_samples(self.folder / "samples", self.step, self.part.samples(count))
            return self.part.validate()

    # ---------------------------------------------------------------------------- a step

    def _one_step(self) -> dict[str, torch.Tensor]:
        rate = learning_rate(self.step, self.steps or sys.maxsize, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = self.accelerator.device
        batch = {
            name: value.to(device, non_blocking=True) if torch.is_tensor(value) else value
            for name, value in self.batches[self.step].items()
        }
        torch.manual_seed(self.batches.torch_seed(self.step))
        batch = self.part.with_mel(batch)
        made = self.network(batch)
        values = self.part.losses(batch, made)
        if self._is_adversarial():
            values |= self._adversarial_step(batch, made, values["loss"])
        self._descend(self.optimizer, values["loss"], self.trained)
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

    def _descend(self, optimizer: Any, loss: torch.Tensor, parameters: list) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(parameters, self.config.clip_norm)
        optimizer.step()

    def _adversarial_step(
        self, batch: Batch, made: Batch, loss: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Train the discriminator on this batch, then add the adversarial loss to the loss."""
        if self.discriminator is None:
            self._add_discriminator()
        real, fake = self.part.real_and_fake(batch, made)
        both = self.discriminator(torch.cat([real, fake.detach()]))
        own_loss = discriminator_loss(*_halves(both))
        self._descend(self.discriminator_optimizer, own_loss, list(self.discriminator.parameters()))

        discriminator = self.accelerator.unwrap_model(self.discriminator)
        discriminator.requires_grad_(False)  # the gradient passes through it, and stays out of it
        with self.accelerator.autocast():
            with torch.no_grad():
                seen_real = discriminator(real)
            seen_fake = discriminator(fake)
        discriminator.requires_grad_(True)
        seen_real, seen_fake = _float(seen_real), _float(seen_fake)
        adversarial = adversarial_loss(seen_fake)
        matching = feature_matching_loss(seen_real, seen_fake)
        loss = loss + self.config.adversarial_weight * adversarial
        loss = loss + self.config.matching_weight * matching
        return {
            "loss": loss,
            "discriminator": own_loss,
            "adversarial": adversarial,
            "matching": matching,
        }

    def _add_discriminator(self) -> None:
        torch.manual_seed(self.config.seed)
        discriminator = self.part.discriminator()
        optimizer = torch.optim.AdamW(
            discriminator.parameters(), lr=self.config.discriminator_rate, betas=(0.8, 0.99)
        )
        self.discriminator, self.discriminator_optimizer = self.accelerator.prepare(
            discriminator, optimizer
        )

    # ---------------------------------------------------------------------------- the budget

    def _plan(self, step_seconds: float, check_seconds: float) -> None:
        """Choose the number of steps that fit into what is left of the budget."""
        left = self.config.minutes * 60 - self.seconds - check_seconds
        each = step_seconds + check_seconds / self.config.save_every
        self._set_steps(self.step + max(1, int(MARGIN * left / each)))
        logger.info("%.2f s a step: %d steps in all", step_seconds, self.steps)

    def _keep_to_plan(self, step_seconds: float) -> None:
        """Choose the number anew if the end would be off by too much."""
        budget, steps = self.config.minutes * 60, self.steps
        left = budget - self.seconds
        if abs((steps - self.step) * step_seconds - left) > LATE * budget:
            steps = self.step + max(1, int(MARGIN * left / step_seconds))
            logger.info("%.2f s a step by now: %d steps in all", step_seconds, steps)
        self._set_steps(steps)

    def _set_steps(self, steps: int) -> None:
        """The first process decides for all."""
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            (steps,) = broadcast_object_list([steps])
        self.steps = steps

    # ---------------------------------------------------------------------------- the curve

    def _log(self, row: dict[str, float]) -> None:
        """Append a row to the curve; a column that is new stands at the end, empty before."""
        path = self.folder / "curve.csv"
        row = {"step": self.step, "seconds": round(self.seconds, 1)} | row
        row = {k: round(v, 5) for k, v in row.items()}
        rows = read_curve(path)
        names = list(dict.fromkeys([*(rows[0] if rows else row), *row]))
        _write_curve(path, names, [*rows, row])
        logger.info(" ".join(f"{k}={v:.4g}" for k, v in row.items()))


class _Means:
    """Means of named values over the steps that had them; read from the device only when asked."""

    def __init__(self) -> None:
        self.steps = 0
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: dict[str, torch.Tensor]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint; only data is read, never code.

    Raises
    ------
    ValueError
        If it is not one.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        wanted = {"step", "steps", "seconds", "config", "model", "average", "optimizer"}
        if not isinstance(state, dict) or not wanted <= state.keys():
            raise ValueError("it was written by another program or version")
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(
            f"{path.parent.name}/{path.name}: got no training checkpoint ({reason}); "
            "start again without --resume, in another folder"
        ) from None
    return state


def read_curve(path: Path) -> list[dict[str, float]]:
    """Rows of a ``curve.csv``, each with what it has; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(handle)]


def _write_curve(path: Path, names: list[str], rows: list[dict[str, float]]) -> None:
    partial = path.with_suffix(".part")
    with partial.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=names, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"step": int(row["step"])})
    os.replace(partial, path)


def _cut_curve(path: Path, step: int) -> None:
    """Drop rows that a killed run wrote after its last checkpoint."""
    rows = read_curve(path)
    if rows and rows[-1]["step"] > step:
        names = list(dict.fromkeys(name for row in rows for name in row))
        _write_curve(path, names, [row for row in rows if row["step"] <= step])


def _halves(panel: list[list[torch.Tensor]]) -> tuple[list, list]:
    """Feature maps of one batch, as those of its first and second half."""
    real = [[x.chunk(2)[0] for x in seen] for seen in panel]
    fake = [[x.chunk(2)[1] for x in seen] for seen in panel]
    return real, fake


def _float(panel: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [[x.float() for x in seen] for seen in panel]
