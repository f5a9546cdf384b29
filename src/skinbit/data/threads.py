"""Parallel work on many files in threads, in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Number of items per thread that may be in progress or finished but not yet consumed."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], n_threads: int = 0) -> Generator[Result]:
    """Apply a function in threads; unlike ``Executor.map``, only a few items ahead of the consumer.

    Args:
        function: Function that mostly reads, decodes or hashes, outside of the interpreter lock.
        items: Arguments of the function.
        n_threads: Number of threads; 0: one per core, and one that waits for the disk.

    Yields:
        Results in the order of ``items``.
    """
    n_threads = n_threads or available_cores() + 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= _AHEAD * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
