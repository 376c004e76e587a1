"""Batches by the number of the step: any step's batch can be drawn again, in any order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np


class Batches:
    """Draws the batch of a step from a generator that is seeded by the step's number.

    So a run that goes on from a checkpoint sees the batches that it would have seen, and threads
    may draw ahead without changing what is drawn.

    ``draw`` is a function of a numpy generator, thread-safe with ``workers``, the threads that draw
    ahead (0 draws on demand, which is best where the CPU also trains). ``process`` is the number of
    the process: each of several GPUs has its own batches.
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator], Any],
        seed: int,
        process: int = 0,
        workers: int = 0,
    ):
        self.draw, self.key, self.workers = draw, (seed, process), workers
        self.pool = ThreadPoolExecutor(workers, "batches") if workers else None
        self.coming: dict[int, Future[Any]] = {}

    def __getitem__(self, step: int) -> Any:
        if self.pool is None:
            return self._drawn(step)
        for ahead in range(step, step + self.workers + 1):
            if ahead not in self.coming:
                self.coming[ahead] = self.pool.submit(self._drawn, ahead)
        return self.coming.pop(step).result()

    def _drawn(self, step: int) -> Any:
        return self.draw(np.random.default_rng((*self.key, step)))

    def torch_seed(self, step: int) -> int:
        """Seed of torch's own draws (a posterior's noise) in a step."""
        sequence = np.random.SeedSequence((*self.key, step, 1))
        return int(sequence.generate_state(1, np.uint64)[0] >> 1)

    def close(self) -> None:
        """Stop drawing ahead."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.coming.clear()
