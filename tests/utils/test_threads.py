"""One clip on one core: what threads compute, and that no other thread's setting changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch

import vaerecon as vr
from vaerecon.utils.threads import on_cores

SOUND = torch.randn(16000, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["as the environment says", "set"])
def threads(request) -> int:
    """Torch's number, at least 2: as it is at the start of a process, or set by the user.

    Where it is set, MKL has a number of its own, which does not follow OpenMP's.
    """
    before = torch.get_num_threads()
    if request.param == "set" or before == 1:
        torch.set_num_threads(max(2, before))
    yield torch.get_num_threads()
    torch.set_num_threads(before)


def number_in_a_new_thread() -> int:
    """Torch's number as a thread that has just begun sees it."""
    seen: list[int] = []
    run_together([lambda: seen.append(torch.get_num_threads())])
    return seen[0]


def run_together(functions: list[Callable[[], object]]) -> None:
    """Run each in a new thread, all at once."""
    started = [threading.Thread(target=function) for function in functions]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


@pytest.mark.parametrize("n_clips", [1, 3])
def test_every_thread_keeps_its_number_of_cores(threads, n_clips):
    """Four threads that have just begun compute at once, 20 times."""
    sounds = SOUND.expand(n_clips, -1)
    for _ in range(20):
        seen: list[int] = []
        ready = threading.Barrier(4)

        def compute(ready=ready, seen=seen) -> None:
            ready.wait()
            vr.log_mel(sounds)
            seen.append(torch.get_num_threads())

        run_together([compute] * 4)
        assert seen == [threads] * 4
        assert torch.get_num_threads() == threads
        assert number_in_a_new_thread() == threads


def test_two_calls_that_overlap_leave_the_number_as_it_was(threads):
    """The second begins within the first, and ends after it."""
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first(i: int) -> torch.Tensor:
        first_is_in.set()
        assert second_is_in.wait(60)
        return torch.zeros(1)

    def second(i: int) -> torch.Tensor:
        second_is_in.set()
        assert first_is_out.wait(60)
        return torch.zeros(1)

    run_together(
        [
            lambda: (on_cores(first, 1), first_is_out.set()),
            lambda: (first_is_in.wait(60), on_cores(second, 1)),
        ]
    )
    assert first_is_out.is_set()
    assert torch.get_num_threads() == threads
    assert number_in_a_new_thread() == threads


@pytest.mark.parametrize("count", [1, 3])
def test_a_clip_is_computed_by_one_core(threads, count):
    """The process takes no more time than the thread: OpenMP, MKL and its FFT add nothing."""
    matrix, frames = torch.ones(1200, 1200), torch.ones(2048, 1024)
    gate = threading.Lock()

    def compute(i: int) -> torch.Tensor:
        with gate:  # one at a time, so that all that the process does is done here
            started = time.process_time() - time.thread_time()
            for _ in range(4):
                matrix @ matrix, torch.fft.rfft(frames), frames.sin()
            beside = time.process_time() - time.thread_time() - started
        return torch.tensor([beside, time.thread_time()])

    on_cores(compute, count)  # a pool's threads begin here
    beside = on_cores(compute, count)[:, 0]
    assert float(beside.max()) < 0.2 * one_core_seconds(matrix, frames)


def one_core_seconds(matrix: torch.Tensor, frames: torch.Tensor) -> float:
    """Processor time of the same work."""
    started = time.process_time()
    for _ in range(4):
        matrix @ matrix, torch.fft.rfft(frames), frames.sin()
    return time.process_time() - started


def test_on_cores_within_on_cores_does_not_wait_for_itself():
    """More pieces than threads, each of which has pieces of its own."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)

        def row(i: int) -> torch.Tensor:
            return on_cores(lambda j: torch.tensor(10 * i + j), 3)

        assert on_cores(row, 4).tolist() == [[10 * i + j for j in range(3)] for i in range(4)]
    finally:
        torch.set_num_threads(before)


def test_on_cores_keeps_order_and_puts_threads_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        seen = on_cores(lambda i: torch.tensor([i, torch.get_num_threads()]), 5)
        assert seen.tolist() == [[i, 1] for i in range(5)]
        assert torch.get_num_threads() == 2

        def fail(i: int) -> torch.Tensor:
            raise ValueError(f"clip {i}")

        with pytest.raises(ValueError, match="clip 0"):
            on_cores(fail, 3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
