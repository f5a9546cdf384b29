"""Photographs read in worker processes, batch by batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from skinbit.config import LoaderParams
from skinbit.errors import InputError


@dataclass(frozen=True)
class _Items(Dataset[Any]):
    read: Callable[[int], Any]
    n_items: int

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> Any:
        try:
            return self.read(index)
        except InputError as error:  # raised here, it would come out as the text of a traceback
            return error


def read_batches(
    read: Callable[[int], Any], n_items: int, loader: LoaderParams, *, pin_memory: bool = False
) -> Iterator[Any]:
    """Read items in worker processes.

    Args:
        read: Returns the tensors of an item; can be pickled.
        n_items: Their number.
        loader: Worker processes and batch size.
        pin_memory: Whether batches go to a GPU.

    Yields:
        Batches of items, in order.

    Raises:
        InputError: That of the first item whose reading raises one.
    """
    batches: DataLoader[Any] = DataLoader(
        _Items(read, n_items),
        loader.batch_size,
        num_workers=min(loader.workers, -(-n_items // loader.batch_size)),
        collate_fn=_collate,
        pin_memory=pin_memory,
        # Without a generator of its own it draws from the global one, while another thread draws weights from that.
        generator=torch.Generator(),
    )
    for batch in batches:
        if isinstance(batch, InputError):
            raise batch
        yield batch


def _collate(items: list[Any]) -> Any:
    failed = next((item for item in items if isinstance(item, InputError)), None)
    return default_collate(items) if failed is None else failed
