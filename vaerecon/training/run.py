"""From folders of audio to trained parts, for the command line and notebooks."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vaerecon.models.placement import pick_device
from vaerecon.training import model_folder
from vaerecon.training.data.corpus import MEMORY_LIMIT
from vaerecon.training.loop import TrainingLoop
from vaerecon.training.parts.part import Data, Part
from vaerecon.training.run_files import read_checkpoint, run_folder
from vaerecon.training.settings import DEFAULTS, FINE_TUNING_STEPS, PARTS, LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

PRECISIONS = ("no", "bf16", "fp16")  # accelerate's names; "no" is float32
FINE_TUNING_RATE = 0.1  # of trained weights, times the rate for fresh ones
GPU_ADVERSARIAL_FROM = 1 / 3  # share of the steps before discriminators are used, on a GPU
FREE = {"save_every", "samples"}  # settings that do not change the weights


def part_class(part: str, kind: str = "Part") -> Any:
    """``VaePart``, ``VaeObjective`` or ``VaeSize``, and so on; imported only when needed."""
    module = importlib.import_module(f"vaerecon.training.parts.{part}")
    return getattr(module, part.capitalize() + kind)


def train(
    part: str, data: Sequence[Path] | Data, output: Path, config: LoopConfig | dict[str, Any], *,
    objective: Any = None, resume: bool = False, device: str | None = "cpu", precision: str = "no",
    memory_limit: float = MEMORY_LIMIT, progress: bool = True,
    begun: Callable[[], object] = lambda: None, **options: Any,
) -> TrainingLoop:  # fmt: skip
    """Train one part, and write ``output/<part>`` (config and safetensors).

    Missing parts are copied, so that ``output`` is a whole model. Returns the finished loop, with
    the averaged weights in ``part.model``.

    Parameters
    ----------
    part
        ``"vae"``, ``"vocoder"`` or ``"fast"``.
    data
        Folders of audio, of which about 6 % of the files are held out; or what ``Data.read`` gives.
    output
        Receives the part's folder, and ``<part>_run/`` with checkpoint, curve and samples.
    config
        The settings; or a dictionary of some: the others are the checkpoint's on resume, else the
        defaults.
    objective
        The part's own objective, or a dictionary, likewise.
    resume
        Go on from the checkpoint if it is there.
    device, precision
        As in :func:`make_accelerator`.
    memory_limit
        GB of audio to keep in memory; a larger collection is read from disk.
    begun
        Called when everything has been checked, before the first step.
    **options
        The part's own: ``size``, ``init``, ``vae``, ``freeze_encoder``.

    Raises
    ------
    ValueError
        For data, settings or weights that cannot be used, an output that holds another training,
        or a checkpoint of other settings.
    """
    output = Path(output)
    state = _earlier(output, part, resume)
    if isinstance(config, dict):
        config = _loop_config(part, config, state, options.get("init") is not None, device)
    if objective is None or isinstance(objective, dict):
        known = state["objective"] if state else {}
        objective = part_class(part, "Objective")(**(known | (objective or {})))
    if not isinstance(data, Data):
        check_apart(data, output)
    accelerator = make_accelerator(device, precision)
    if state is not None:
        check_same(state, config, objective, output)
    if not isinstance(data, Data):
        data = Data.read(data, config.seed, memory_limit, progress)
    torch.manual_seed(config.seed)  # fresh weights
    model: Part = part_class(part)(data, config, objective, **options)
    loop = TrainingLoop(model, config, run_folder(output, part), accelerator)
    if state is not None:
        loop.resume(state)
    if accelerator.is_main_process:
        model_folder.begin(output, part, options.get("init"))
        begun()
    loop.run(progress)
    loop.average.load()
    if accelerator.is_main_process:
        model_folder.finish(output, part, model.model, model.finish())
    accelerator.wait_for_everyone()
    return loop


def _earlier(output: Path, part: str, resume: bool) -> dict[str, Any] | None:
    """The checkpoint, if any; a ValueError if there is one that is not to be resumed."""
    path = run_folder(output, part) / "checkpoint.pt"
    if not path.exists():
        return None
    if not resume:
        raise ValueError(f"output: {output.name} holds a training ({part}_run/checkpoint.pt); go "
                         "on with --resume (resume=True), or name another folder")  # fmt: skip
    return read_checkpoint(path)


def check_apart(data: Sequence[Path], output: Path) -> None:
    """Refuse an output within the data: the samples written there would be trained on."""
    for folder in data:
        if output.resolve().is_relative_to(Path(folder).resolve()):
            raise ValueError(
                f"output: {output.name} lies within the training data; sounds are written "
                "there, which would be trained on: name a folder beside the data"
            )


def check_same(state: dict[str, Any], config: LoopConfig, objective: Any, output: Path) -> None:
    """Refuse to resume with settings that differ from the checkpoint's."""
    wanted = asdict(config) | asdict(objective)
    # a setting that the checkpoint does not know had its default
    known = asdict(type(objective)()) | state["config"] | state["objective"]
    for name, value in known.items():
        got = wanted.get(name, value)
        if name not in FREE and got != value:
            raise ValueError(f"resume: the training in {output.name} began with {name} = {value}, "
                             f"got {got}; resume with the same settings, or begin anew from its "
                             f"weights: another output, and --init {output.name}")  # fmt: skip


def _loop_config(
    part: str, given: dict[str, Any], state: dict[str, Any] | None, fine_tuning: bool,
    device: str | None,
) -> LoopConfig:  # fmt: skip
    """Settings for a part: those ``given``, else the checkpoint's, else the defaults.

    ``fine_tuning``, from trained weights, has a lower rate and fewer steps. On a GPU discriminators
    are used by default.
    """
    if state is not None:
        known = LoopConfig(**state["config"])
        if "minutes" in given and given["minutes"] != known.minutes:
            given = {"steps": 0} | given
        if "steps" in given:
            given = {"minutes": None} | given
        return replace(known, **given)
    defaults = DEFAULTS[part]
    chosen: dict[str, Any] = {
        "learning_rate": defaults.learning_rate * (FINE_TUNING_RATE if fine_tuning else 1),
        "steps": FINE_TUNING_STEPS if fine_tuning else defaults.steps,
    }
    if "minutes" in given:
        chosen["steps"] = 0
    if device == "cuda":
        chosen["adversarial_from"] = GPU_ADVERSARIAL_FROM
    return LoopConfig(**chosen | given)


def train_all(
    data: Sequence[Path], output: Path, minutes: float, given: dict[str, Any], *,
    parts: Sequence[str] = PARTS, options: dict[str, dict[str, Any]] | None = None,
    resume: bool = False, device: str | None = "cpu", memory_limit: float = MEMORY_LIMIT,
    **how: Any,
) -> None:  # fmt: skip
    """Train all parts from one data folder into one output folder within ``minutes``.

    The audio is read once. The remaining time is divided as in
    :data:`vaerecon.training.settings.DEFAULTS`; time that a part does not use goes to the next
    ones. The vocoder is trained with the mels of the VAE that was trained just before it.

    ``minutes`` is the wall time for everything, from now; with ``resume``, earlier time counts too.
    ``given`` has fields of :class:`LoopConfig` for all parts, ``options`` further arguments of
    :func:`train` by part. Other parameters and errors are those of :func:`train`.
    """
    started, output = time.perf_counter(), Path(output)
    todo, spent = [], 0.0
    for part in parts:
        state = _earlier(output, part, resume)
        finished = state is not None and state["step"] == state["steps"]
        if not (finished and model_folder.is_trained(output, part)):
            todo.append(part)
        spent += state["seconds"] if state else 0.0
    check_apart(data, output)
    if not todo:
        logger.info("all parts are trained")
        return
    read = Data.read(data, given.get("seed") or 0, memory_limit)
    for index, part in enumerate(todo):
        config: dict[str, Any] = {}
        if _earlier(output, part, resume) is None:  # else it has its own share
            left = minutes * 60 - spent - (time.perf_counter() - started)
            share = DEFAULTS[part].share / sum(DEFAULTS[p].share for p in todo[index:])
            config = given | {"minutes": max(left * share, 1.0) / 60}
        extra = dict((options or {}).get(part, {}))
        if part == "vocoder" and model_folder.is_trained(output, "vae"):
            extra.setdefault("vae", output / "vae")
        train(part, read, output, config, resume=resume, device=device, **how | extra)


def make_accelerator(device: str | None = None, precision: str = "no") -> Accelerator:
    """Hugging Face accelerate's object for a device; for ``None`` it chooses one.

    ``accelerate launch --num_processes 4 -m vaerecon train`` uses four devices: each process draws
    its own crops, gradients are averaged, the first process validates and writes. A ValueError if
    accelerate is not installed, or the device is missing, cannot compute in ``precision``, or
    differs from this process's earlier training (accelerate keeps one for all).
    """
    try:
        from accelerate import Accelerator
    except ImportError:
        raise ValueError(
            "training: the package accelerate is not installed: `pip install accelerate`"
        ) from None
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if pick_device(device) == "cpu" and precision == "fp16":
        raise ValueError("precision: got 'fp16' on a CPU, expected 'no' or 'bf16'")
    try:
        found = Accelerator(cpu=device == "cpu", mixed_precision=precision)
    except ValueError as error:
        raise ValueError(
            f"training: this process has trained on another device or in another precision before "
            f"and accelerate keeps those; start a new process ({error})"
        ) from error
    if device is not None and found.device.type != device:
        raise ValueError(f"device: got {device!r}, but this process has trained on "
                         f"{found.device.type!r} before; start a new process")  # fmt: skip
    return found
