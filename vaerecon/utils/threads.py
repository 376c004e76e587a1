"""One clip on one core, instead of every operation split over all cores.

By default torch splits each operation over all cores and waits for the slowest. For operations of
some tenths of a millisecond that gains little, and if another process keeps one core busy, a loop
of thousands of operations becomes many times slower. A result that is made on one core does not
depend on their number. Each thread sets itself; others keep their number of cores.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

KEPT = 32 * 2**20 - 2**16  # bytes; glibc's largest threshold is 32 MB, with its own header


def one_by_one(
    network: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
) -> torch.Tensor:
    """``network(batch)`` for ``[B, ...]``; on a CPU clip by clip: independent of the batch size.

    Batches of another size are split into other blocks, whose sums round differently.
    """
    if batch.device.type != "cpu":
        return network(batch)
    keep_freed_memory()
    return torch.cat([network(batch[i : i + 1]) for i in range(len(batch))])


def device_of(model: Any) -> torch.device:
    """Where ``model`` computes: with the CPU offloading of diffusers not where its weights lie."""
    for module in model.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return torch.device(model.device)


def on_cores(function: Callable[[int], torch.Tensor], count: int) -> torch.Tensor:
    """``function(0)`` to ``function(count - 1)``, stacked; each in one thread.

    As many at once as torch may use threads. ``function`` must turn gradients off itself: that is a
    setting of a thread.
    """
    keep_freed_memory()
    threads = torch.get_num_threads()  # in a pool's thread 1: work there waits for no other
    run = map if 1 in (count, threads) else _pool(threads).map
    with on_one_core():
        return torch.stack(list(run(function, range(count))))


@contextmanager
def on_one_core() -> Iterator[None]:
    """Inside it the calling thread does not split its work."""
    before = _set_own_threads()
    try:
        yield
    finally:
        _set_own_threads(before)


def _set_own_threads(numbers: Sequence[int] = ()) -> list[int]:
    """Limit the calling thread to one core, or set ``numbers``; returns those that it had.

    ``torch.set_num_threads`` would set the whole process. OpenMP, by which torch splits its
    operations, has a number for each thread, and so has MKL (0: that of the process).
    """
    torch.get_num_threads()  # a thread takes torch's number when it first asks: let it do so now
    openmp, set_mkl = _thread_settings()
    numbers = numbers or [1] * (len(openmp) + 1)
    before = [library.get_num_threads() for library in openmp]
    for library, number in zip(openmp, numbers, strict=False):
        library.set_num_threads(number)
    return [*before, set_mkl(numbers[-1])]


@cache
def _thread_settings() -> tuple[list[Any], Callable[[int], int]]:
    """The OpenMP libraries that are loaded, and MKL's setting of one thread's number."""
    openmp = ThreadpoolController().select(user_api="openmp").lib_controllers
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        if (folder / name).exists():
            library = ctypes.CDLL(str(folder / name))
            return openmp, getattr(library, "MKL_Set_Num_Threads_Local", lambda number: 0)
    return openmp, lambda number: 0


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: what the libraries set up in a new one takes longer than a log-mel."""
    return ThreadPoolExecutor(threads, "vaerecon", initializer=_set_own_threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has no such threads


@cache
def keep_freed_memory() -> None:
    """Have the C library reuse freed blocks of up to 32 MB, instead of handing each back.

    Mapping the pages of some megabytes again at every step can take longer than the arithmetic.
    Linux's malloc keeps blocks as large as the largest that has been freed (mallopt(3),
    M_MMAP_THRESHOLD), so one is freed that was never written to. Elsewhere this does nothing.
    """
    torch.empty(KEPT, dtype=torch.uint8)
