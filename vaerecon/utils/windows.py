"""Long sounds in windows: planned, computed one after another, joined again.

What is no longer than :data:`CHUNK_SECONDS` is one window. What is longer is cut into windows of
that length that overlap by :data:`OVERLAP_SECONDS` (the last two share evenly what is left). Memory
then follows the window, not the sound, and time grows in proportion to the sound.

In an overlap there are two answers. Near its own end a window knows less than its neighbour: so
only in the middle of the overlap, over :data:`FADE_SECONDS`, one passes into the other; what lies
before is the earlier window's, what lies behind the later one's.

A device that runs out of memory gets windows of half the length, with a warning.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from vaerecon.utils.numbers import is_number

CHUNK_SECONDS = 30.0  # s; longest stretch that is computed at once
SHORTEST_SECONDS = 8.0  # s; four overlaps: below that, windows would be nothing but overlap
OVERLAP_SECONDS = 2.0  # s; what neighbouring windows share
FADE_SECONDS = 0.56  # s; leaves 0.72 s of context, more than any layer of AudioLDM2's models sees

Join = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class WindowPlan:
    """How long windows are and how they overlap, in units: mel frames, latent positions, ..."""

    longest: int  # units in one window at most
    overlap: int  # units that neighbours share; at most a quarter of `longest`
    fade: int  # units in the middle of the overlap over which one passes into the other
    rate: float  # units per second, for messages

    def __post_init__(self) -> None:
        if not 0 <= self.fade <= self.overlap or self.longest < max(1, 4 * self.overlap):
            raise ValueError(
                f"chunk: got windows of {self.longest} with an overlap of {self.overlap}, expected "
                f"at least {max(1, 4 * self.overlap)}; take longer windows"
            )

    @property
    def margin(self) -> int:
        """Units at each end of an overlap that belong to one window alone."""
        return (self.overlap - self.fade) // 2

    def stop(self, start: int, length: int) -> int:
        """Where the window that begins at ``start`` ends, in ``length`` units altogether."""
        left = length - start
        if left <= self.longest:
            return length
        if left < 2 * self.longest - self.overlap:  # two more: they share evenly
            return start + math.ceil((left + self.overlap) / 2)
        return start + self.longest


def plan_windows(seconds: float, rate: float) -> WindowPlan:
    """The windows that the pipeline uses, for ``rate`` units per second.

    ValueError if ``seconds`` is below :data:`SHORTEST_SECONDS`.
    """
    if not (is_number(seconds) and SHORTEST_SECONDS <= seconds < math.inf):
        raise ValueError(
            f"chunk_seconds: got {seconds!r}, expected at least {SHORTEST_SECONDS:g} seconds: "
            "shorter windows would be nothing but overlap"
        )
    longest, overlap, fade = (round(s * rate) for s in (seconds, OVERLAP_SECONDS, FADE_SECONDS))
    return WindowPlan(longest, overlap, fade, rate)


def split(length: int, longest: int) -> Iterator[tuple[int, int]]:
    """``(start, stop)`` of consecutive spans of at most ``longest``, none of them very short."""
    plan = WindowPlan(longest, 0, 0, 1.0)
    start = 0
    while start < length:
        stop = plan.stop(start, length)
        yield start, stop
        start = stop


def fade_in(plan: WindowPlan, unit: int = 1) -> torch.Tensor:
    """The weights of the later window over an overlap: 0, a linear rise, 1."""
    weights = torch.zeros(plan.overlap * unit, dtype=torch.float32)
    fade, first = plan.fade * unit, plan.margin * unit
    weights[first : first + fade] = (torch.arange(fade, dtype=torch.float32) + 0.5) / max(1, fade)
    weights[first + fade :] = 1.0
    return weights


def crossfade(plan: WindowPlan, unit: int = 1, axis: int = -1) -> Join:
    """A join that passes linearly from the earlier answer to the later one, along ``axis``.

    ``unit`` is the number of values per unit of the plan, such as 160 samples per mel frame;
    ``axis`` is negative.
    """
    weights = fade_in(plan, unit).reshape(-1, *[1] * (-1 - axis))

    def join(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        # exact where a weight is 0 or 1, which lerp is
        return torch.lerp(before, after, weights.to(before.device, before.dtype))

    return join


def overlap_windows(
    length: int, compute: Callable[[int, int], torch.Tensor], plan: WindowPlan, *,
    unit: int = 1, axis: int = -1, join: Join | None = None, stage: str = "",
) -> Iterator[torch.Tensor]:  # fmt: skip
    """Compute window by window and give the result piece by piece, in order, without gaps.

    ``compute(start, stop)``, in units of ``length``, gives a tensor with ``unit`` values per unit
    along ``axis``, which is negative (the last window may have more or fewer). ``join`` makes one
    of two answers to an overlap; default: :func:`crossfade`. ``stage`` is named in the warning when
    memory runs out, and in the ValueError if it does not suffice for the shortest windows.
    """
    join = join or crossfade(plan, unit, axis)
    shared = plan.overlap * unit
    start, held = 0, None
    while True:
        stop = plan.stop(start, length)
        window = None
        with suppress(torch.OutOfMemoryError):  # what the failed attempt held is free behind it
            window = compute(start, stop)
        if window is None:
            plan = _with_shorter_windows(plan, min(stop - start, plan.longest), stage)
            continue
        if held is not None:
            overlap, rest = window.split([shared, window.shape[axis] - shared], axis)
            window = torch.cat([join(held, overlap), rest], axis)
            del overlap, rest  # they hold what is not joined in memory
        if stop == length:
            yield window
            return
        end = window.shape[axis] - shared
        held = window.narrow(axis, end, shared).clone()  # not the whole window with it
        yield window.narrow(axis, 0, end)
        start = stop - plan.overlap


def _with_shorter_windows(plan: WindowPlan, tried: int, stage: str) -> WindowPlan:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    name, shortest = stage or "window", max(1, 4 * plan.overlap)
    if tried <= shortest:
        raise ValueError(
            f"{name}: out of memory with {tried / plan.rate:g} s at once, the shortest there is; "
            "free the device's memory, use device='cpu' (--device cpu) or dtype='bfloat16'"
        )
    longest = max(shortest, tried // 2)
    seconds = longest / plan.rate
    warnings.warn(
        f"{name}: out of memory with {tried / plan.rate:g} s at once, going on with {seconds:g} s; "
        f"chunk_seconds={seconds:g} (--chunk-seconds {seconds:g}) starts with that",
        stacklevel=2,
    )
    return replace(plan, longest=longest)
