"""Process long sounds in overlapping windows and join the results by crossfades.

A sound of at most :data:`CHUNK_SECONDS` is one window. A longer one is split into windows of that
length that overlap by :data:`OVERLAP_SECONDS` (the last two have equal lengths). Memory then
depends on the window, not on the sound, and time grows in proportion to the sound.

In an overlap there are two results. Near its end a window has less context than its neighbour. So
the crossfade takes only :data:`FADE_SECONDS` in the middle of the overlap: before it the result is
that of the earlier window, after it that of the later one.

If a device runs out of memory, windows of half the length are used, with a warning.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from vaerecon.utils.numbers import is_number

CHUNK_SECONDS = 30.0  # s; longest window that is computed at once
SHORTEST_SECONDS = 8.0  # s; four overlaps: shorter windows would be nothing but overlap
OVERLAP_SECONDS = 2.0  # s; overlap of neighbouring windows
FADE_SECONDS = 0.56  # s; leaves 0.72 s of context, more than any layer of AudioLDM2's models uses

Join = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class WindowPlan:
    """Length and overlap of windows, in units such as mel frames or latent positions."""

    longest: int  # units; longest window
    overlap: int  # units shared by neighbouring windows; at most a quarter of `longest`
    fade: int  # units of the crossfade, in the middle of the overlap
    rate: float  # units per second, for messages

    def __post_init__(self) -> None:
        if not 0 <= self.fade <= self.overlap or self.longest < max(1, 4 * self.overlap):
            raise ValueError(
                f"chunk: got windows of {self.longest} with an overlap of {self.overlap}, expected "
                f"at least {max(1, 4 * self.overlap)}; take longer windows"
            )

    @property
    def margin(self) -> int:
        """Units at each end of an overlap that come from one window alone."""
        return (self.overlap - self.fade) // 2

    def stop(self, start: int, length: int) -> int:
        """Return the end of the window that begins at ``start``, of ``length`` units in total."""
        left = length - start
        if left <= self.longest:
            return length
        if left < 2 * self.longest - self.overlap:  # the last two windows: equal lengths
            return start + math.ceil((left + self.overlap) / 2)
        return start + self.longest


def plan_windows(seconds: float, rate: float) -> WindowPlan:
    """Return the window plan of the pipeline for ``rate`` units per second.

    Raises ValueError if ``seconds`` is below :data:`SHORTEST_SECONDS`.
    """
    if not (is_number(seconds) and SHORTEST_SECONDS <= seconds < math.inf):
        raise ValueError(
            f"chunk_seconds: got {seconds!r}, expected at least {SHORTEST_SECONDS:g} seconds: "
            "shorter windows would be nothing but overlap"
        )
    longest, overlap, fade = (round(s * rate) for s in (seconds, OVERLAP_SECONDS, FADE_SECONDS))
    return WindowPlan(longest, overlap, fade, rate)


def split(length: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` of consecutive spans of at most ``longest``, none of them short."""
    plan = WindowPlan(longest, 0, 0, 1.0)
    start = 0
    while start < length:
        stop = plan.stop(start, length)
        yield start, stop
        start = stop


def fade_in(plan: WindowPlan, unit: int = 1) -> torch.Tensor:
    """Return the weights of the later window in an overlap: 0, a linear rise, 1."""
    weights = torch.zeros(plan.overlap * unit, dtype=torch.float32)
    fade, first = plan.fade * unit, plan.margin * unit
    weights[first : first + fade] = (torch.arange(fade, dtype=torch.float32) + 0.5) / max(1, fade)
    weights[first + fade :] = 1.0
    return weights


def crossfade(plan: WindowPlan, unit: int = 1, axis: int = -1) -> Join:
    """Return a join function that fades linearly from the earlier to the later window.

    ``unit`` is the number of values per unit of the plan, such as 160 samples per mel frame;
    ``axis`` is that of time, and negative.
    """
    weights = fade_in(plan, unit).reshape(-1, *[1] * (-1 - axis))

    def join(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        # lerp is exact where a weight is 0 or 1
        return torch.lerp(before, after, weights.to(before.device, before.dtype))

    return join


def overlap_windows(
    length: int, compute: Callable[[int, int], torch.Tensor], plan: WindowPlan, *,
    unit: int = 1, axis: int = -1, join: Join | None = None, stage: str = "",
) -> Iterator[torch.Tensor]:  # fmt: skip
    """Compute window by window and yield consecutive pieces of the result.

    ``compute(start, stop)``, in units of ``length``, returns a tensor with ``unit`` values per unit
    along ``axis``, which is negative (the last window may have more or fewer). ``join`` combines
    the two results for an overlap; default: :func:`crossfade`. ``stage`` is the name in the warning
    when memory runs out, and in the ValueError if even the shortest windows need too much.
    """
    join = join or crossfade(plan, unit, axis)
    shared = plan.overlap * unit
    start, held = 0, None
    while True:
        stop = plan.stop(start, length)
        window = None
        with suppress(torch.OutOfMemoryError):  # leaving the block frees the memory of the attempt
            window = compute(start, stop)
        if window is None:
            plan = _with_shorter_windows(plan, min(stop - start, plan.longest), stage)
            continue
        if held is not None:
            overlap, rest = window.split([shared, window.shape[axis] - shared], axis)
            window = torch.cat([join(held, overlap), rest], axis)
            del overlap, rest  # they keep the memory of the window
        if stop == length:
            yield window
            return
        end = window.shape[axis] - shared
        held = window.narrow(axis, end, shared).clone()  # a view would keep the whole window
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
