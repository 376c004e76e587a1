"""Whole pieces of work on a core each, instead of every small operation on all of them.

Torch by itself splits each operation over all cores and waits for the slowest. For operations of
some tenths of a millisecond that gains little, and when another process keeps one of the cores busy
every one of them waits for it: a loop of thousands becomes many times slower. A clip that stays on
one core waits for nobody, and its result does not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


def one_by_one(
    network: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
) -> torch.Tensor:
    """``network(batch)`` for ``[B, ...]``; on a CPU clip by clip, for the same digits in any batch.

    The library's convolutions and products cut batches of other sizes into other blocks, whose sums
    round differently. A CPU is no slower for it; on a GPU the batch stays one.
    """
    if batch.device.type != "cpu" or len(batch) < 2:
        return network(batch)
    return torch.cat([network(batch[i : i + 1]) for i in range(len(batch))])


def on_cores(function: Callable[[int], Result], count: int) -> list[Result]:
    """``[function(0), ..., function(count - 1)]``, each in one thread, several at a time.

    As many at a time as torch may use threads (``torch.set_num_threads``, ``OMP_NUM_THREADS``).
    ``function`` must enter ``torch.inference_mode`` itself: that is a setting of a thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # also for threads that start from here on
    try:
        if min(count, threads) < 2:
            return [function(i) for i in range(count)]
        with ThreadPoolExecutor(min(count, threads)) as pool:
            return list(pool.map(function, range(count)))
    finally:
        torch.set_num_threads(threads)
