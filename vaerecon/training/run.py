"""From folders of audio to trained parts, for the command line and notebooks."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vaerecon.training import model_folder
from vaerecon.training.data.corpus import MEMORY_LIMIT
from vaerecon.training.devices import make_accelerator
from vaerecon.training.loop import TrainingLoop
from vaerecon.training.parts.part import Data, Part
from vaerecon.training.run_files import read_checkpoint
from vaerecon.training.settings import (
    DEFAULTS,
    FINE_TUNING_RATE,
    FINE_TUNING_STEPS,
    GPU_ADVERSARIAL_FROM,
    PARTS,
    LoopConfig,
)

logger = logging.getLogger(__name__)

FREE = {"save_every", "samples"}  # settings that do not change the weights


def part_class(part: str, kind: str = "Part") -> Any:
    """``VaePart``, ``VaeObjective`` or ``VaeSize``, and so on; imported only when needed."""
    module = importlib.import_module(f"vaerecon.training.parts.{part}")
    return getattr(module, part.capitalize() + kind)


def train(
    part: str,
    data: Sequence[Path] | Data,
    output: Path,
    config: LoopConfig,
    *,
    resume: bool = False,
    device: str | None = "cpu",
    precision: str = "no",
    memory_limit: float = MEMORY_LIMIT,
    started: float | None = None,
    progress: bool = True,
    begun: Callable[[], object] = lambda: None,
    **options: Any,
) -> TrainingLoop:
    """Train one part, and write ``output/<part>`` (config and safetensors).

    Missing parts are copied, so that ``output`` is a whole model
    (:mod:`vaerecon.training.model_folder`). Returns the finished loop, with the averaged weights in
    ``part.model``.

    Parameters
    ----------
    part
        ``"vae"``, ``"vocoder"`` or ``"fast"``.
    data
        Folders of audio, of which about 6 % of the files are held out for validation; or what
        :meth:`vaerecon.training.parts.part.Data.read` returns for them.
    output
        Receives the part's folder, and ``<part>_run/`` with checkpoint, curve and samples.
    resume
        Go on from ``output/<part>_run/checkpoint.pt`` if it is there.
    device, precision
        As in :func:`vaerecon.training.devices.make_accelerator`.
    memory_limit
        GB of audio to keep in memory; a larger collection is read from disk.
    started
        ``time.perf_counter()`` when ``config.minutes`` began to count; by default now.
    begun
        Called when everything has been checked, before the first step.
    **options
        The part's own: ``size``, ``objective``, ``init``, ``vae``, ``freeze_encoder``.

    Raises
    ------
    ValueError
        For data, settings or weights that cannot be used, an output that holds another training,
        or a checkpoint of other settings.
    """
    folder = Path(output) / f"{part}_run"
    check_output(folder, resume)
    if not isinstance(data, Data):
        check_apart(data, output)
    accelerator = make_accelerator(device, precision)
    objective = options.pop("objective", None) or part_class(part, "Objective")()
    if resume and (folder / "checkpoint.pt").exists():
        check_same(read_checkpoint(folder / "checkpoint.pt"), config, objective, folder)
    if not isinstance(data, Data):
        data = Data.read(data, config.seed, memory_limit, progress)
    import torch

    torch.manual_seed(config.seed)  # fresh weights
    model: Part = part_class(part)(data, config, objective, **options)
    loop = TrainingLoop(model, config, folder, accelerator, started)
    if resume:
        loop.resume()
    if accelerator.is_main_process:
        model_folder.begin(Path(output), part, options.get("init"))
        begun()
    loop.run(progress)
    loop.average.load()
    if accelerator.is_main_process:
        model_folder.finish(Path(output), part, model.model, model.finish())
    accelerator.wait_for_everyone()
    return loop


def check_output(folder: Path, resume: bool) -> None:
    """Refuse to write a new training over another one."""
    if not resume and (folder / "checkpoint.pt").exists():
        raise ValueError(
            f"output: {folder.parent.name} holds a training ({folder.name}/checkpoint.pt); "
            "go on with --resume (resume=True), or name another folder"
        )


def check_apart(data: Sequence[Path], output: Path) -> None:
    """Refuse an output within the data: the samples written there would be trained on."""
    for folder in data:
        if Path(output).resolve().is_relative_to(Path(folder).resolve()):
            raise ValueError(
                f"output: {Path(output).name} lies within the training data; sounds are written "
                "there, which would be trained on: name a folder beside the data"
            )


def check_same(state: dict[str, Any], config: LoopConfig, objective: Any, folder: Path) -> None:
    """Refuse to go on with other settings than those that a checkpoint began with."""
    wanted = asdict(config) | asdict(objective)
    known = state["config"] | state["objective"]
    for name, value in known.items():
        got = wanted.get(name, value)
        if name not in FREE and got != value:
            raise ValueError(
                f"resume: {folder.name} began with {name} = {value}, got {got}; resume with the "
                f"same settings, or begin anew from its weights: another output, and "
                f"--init {folder.parent.name}"
            )


def loop_config(
    part: str,
    output: Path,
    given: dict[str, Any],
    resume: bool = False,
    fine_tuning: bool = False,
    device: str | None = None,
) -> LoopConfig:
    """Settings for a part: those ``given``, else the checkpoint's on resume, else the defaults.

    ``given`` has fields of :class:`LoopConfig`; None means not given. ``fine_tuning``, from trained
    weights, has a lower rate and fewer steps. On a GPU discriminators are used by default.
    """
    given = {name: value for name, value in given.items() if value is not None}
    path = Path(output) / f"{part}_run" / "checkpoint.pt"
    if resume and path.exists():
        state = read_checkpoint(path)
        known = LoopConfig(**state["config"] | {"betas": tuple(state["config"]["betas"])})
        if "minutes" in given and given["minutes"] != known.minutes:
            given.setdefault("steps", 0)
        if "steps" in given:
            given.setdefault("minutes", None)
        return replace(known, **given)
    defaults = DEFAULTS[part]
    rate = defaults.learning_rate * (FINE_TUNING_RATE if fine_tuning else 1)
    steps = FINE_TUNING_STEPS if fine_tuning else defaults.steps
    if "minutes" in given:
        steps = 0
    config = LoopConfig(**{"learning_rate": rate, "steps": steps} | given)
    if config.adversarial_from is None and device == "cuda":
        config = replace(config, adversarial_from=GPU_ADVERSARIAL_FROM)
    return config


def train_all(
    data: Sequence[Path],
    output: Path,
    minutes: float,
    given: dict[str, Any],
    *,
    resume: bool = False,
    device: str | None = "cpu",
    precision: str = "no",
    memory_limit: float = MEMORY_LIMIT,
    parts: Sequence[str] = PARTS,
    options: dict[str, dict[str, Any]] | None = None,
    begun: Callable[[], object] = lambda: None,
) -> None:
    """Train all parts from one data folder into one output folder within ``minutes``.

    The audio is read once. The remaining time is divided as in
    :data:`vaerecon.training.settings.DEFAULTS`; what a part does not use goes to the next ones. The
    vocoder is trained with the mels of the VAE that was trained just before it.

    ``minutes`` is the wall time for everything, from now; with ``resume``, time spent before
    counts. ``given`` has fields of :class:`LoopConfig` for all parts, ``options`` further arguments
    of :func:`train` by part. Other parameters and errors are those of :func:`train`.
    """
    started, options, output = time.perf_counter(), options or {}, Path(output)
    todo, spent = _unfinished(parts, output, resume)
    check_apart(data, output)
    if not todo:
        logger.info("all parts are trained")
        return
    read = Data.read(data, given.get("seed") or 0, memory_limit)
    for part in todo:
        path = output / f"{part}_run" / "checkpoint.pt"
        if resume and path.exists():  # it has its own share
            config = loop_config(part, output, {}, resume=True)
        else:
            left = minutes * 60 - spent - (time.perf_counter() - started)
            share = DEFAULTS[part].share / sum(DEFAULTS[p].share for p in todo[todo.index(part) :])
            own = {"minutes": max(left * share, 1.0) / 60}
            config = loop_config(part, output, given | own, device=device)
        extra = dict(options.get(part, {}))
        if part == "vocoder" and model_folder.is_trained(output, "vae"):
            extra.setdefault("vae", output / "vae")
        how: dict[str, Any] = {"resume": resume, "device": device, "precision": precision,
                               "begun": begun}  # fmt: skip
        train(part, read, output, config, **how | extra)


def _unfinished(parts: Sequence[str], output: Path, resume: bool) -> tuple[list[str], float]:
    """The parts that are not trained to their end, and the seconds spent on all so far."""
    left, spent = [], 0.0
    for part in parts:
        check_output(output / f"{part}_run", resume)
        path = output / f"{part}_run" / "checkpoint.pt"
        state = read_checkpoint(path) if path.exists() else {"step": 0, "steps": -1, "seconds": 0}
        spent += state["seconds"]
        if state["step"] != state["steps"] or not model_folder.is_trained(output, part):
            left.append(part)
    return left, spent
