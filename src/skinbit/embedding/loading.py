"""Batches loaded by worker processes, with the original errors of workers."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from skinbit.config import LoaderParams


@dataclass(frozen=True)
class _Items(Dataset[Any]):
    read: Callable[[int], Any]
    n_items: int

    def __len__(self) -> int:
        return self.n_items

    def __getitems__(self, indices: list[int]) -> list[Any] | Exception:
        try:
            return [self.read(index) for index in indices]
        except Exception as error:  # if raised here, it would arrive as the text of a traceback, without its number
            return error


def read_batches(
    read: Callable[[int], Any], batches: Sequence[list[int]], loader: LoaderParams, *, pin_memory: bool = False
) -> Generator[Any]:
    """Read items in worker processes.

    Args:
        read: Function that returns the tensors of an item; must be picklable.
        batches: Numbers of the items of each batch.
        loader: Worker processes.
        pin_memory: Whether batches are copied to a GPU.

    Yields:
        Batches of items, in order.

    Raises:
        Exception: The error of the first item that cannot be read, as raised in the worker.
    """
    loaded: DataLoader[Any] = DataLoader(
        _Items(read, sum(map(len, batches))),
        batch_sampler=batches,
        num_workers=min(loader.workers, len(batches)),
        collate_fn=_collate,
        pin_memory=pin_memory,
        # Without its own generator it draws from the global one, from which another thread may draw weights.
        generator=torch.Generator(),
    )
    for batch in loaded:
        if isinstance(batch, Exception):
            raise batch
        yield batch


def batches_in(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return the numbers from 0 on in batches; no batch has numbers of two pieces of these lengths."""
    return [
        list(range(first, min(first + batch_size, stop)))
        for start, stop in pairwise(accumulate(lengths, initial=0))
        for first in range(start, stop, batch_size)
    ]


def _collate(items: list[Any] | Exception) -> Any:
    if isinstance(items, Exception):
        return items
    try:
        return default_collate(items)
    except Exception as error:  # shared memory does not suffice
        return error
