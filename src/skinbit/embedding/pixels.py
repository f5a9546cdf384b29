"""Photographs that are decoded once, for all folds and experiments that train on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from skinbit.config import LoaderParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.progress import Progress, count
from skinbit.embedding.tables import Bytes

if TYPE_CHECKING:  # this module is imported with the graph, PyTorch only for computations
    import torch

    from skinbit.embedding.preprocessing import Preprocessing


@dataclass(frozen=True)
class Decoding:
    """The content of :class:`skinbit.embedding.tables.Pixels`, decoded batch by batch while it is written.

    Attributes:
        photographs: Photographs, one per row.
        preprocessing: Preprocessing of the backbone.
        views: Test views of the backbone.
        canvas_size: Side of a canvas in pixels.
        loader: Worker processes and batch size.
    """

    photographs: ListedPhotographs
    preprocessing: Preprocessing
    views: ViewParams
    canvas_size: int
    loader: LoaderParams

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """Return the image id of each row."""
        return tuple(self.photographs.image_ids)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the SHA-256 of each row's file."""
        return tuple(self.photographs.hashes)

    @property
    def crop_side(self) -> int:
        """Return the smallest side at which photographs are decoded for crops, as for features and new photographs."""
        return self.preprocessing.least_side(self.views)

    @property
    def description(self) -> dict[str, Any]:
        """Return everything that the pixels depend on besides the files."""
        import PIL

        shape = self.preprocessing.model_dump(include={"image_size", "crop_pct", "interpolation"})
        sides = {"canvas_size": self.canvas_size, "crop_side": self.crop_side}
        return {**shape, **sides, "zooms": list(self.views.zooms), "pillow": PIL.__version__}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the two arrays by name."""
        n_images, size = len(self.image_ids), self.preprocessing.image_size
        return {
            "canvases": (n_images, self.canvas_size, self.canvas_size, 3),
            "crops": (n_images, len(self.views.zooms), size, size, 3),
        }

    def batches(self) -> Iterator[tuple[Bytes, Bytes]]:
        """Yield decoded canvases and crops in batches, in order."""
        from skinbit.embedding.loading import batches_of, read_batches

        batches = batches_of(0, len(self.image_ids), self.loader.batch_size)
        with Progress(total=len(self.image_ids), unit="image", desc="decoding") as bar:
            for canvases, crops in read_batches(_Decoded(self), batches, self.loader):
                yield canvases.numpy(), crops.numpy()
                bar.update(len(canvases))
        count("image", made=len(self.image_ids), found=0)


class _Decoded:
    """Decodes photographs, in the loader's worker processes."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._whole = decoding.preprocessing.model_copy(update={"image_size": decoding.canvas_size, "crop_pct": 1.0})

    def __call__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from skinbit.embedding.preprocessing import crop_zooms

        decoding = self._decoding
        sides = [decoding.crop_side]
        if decoding.canvas_size > decoding.crop_side:  # a JPEG may be decoded at half its size for the crops
            sides.append(decoding.canvas_size)
        images = decoding.photographs.decode_sizes(decoding.image_ids[index], sides)
        crops = crop_zooms(images[0], decoding.preprocessing, decoding.views.zooms)
        canvas = crop_zooms(images[-1], self._whole, (1.0,))[0]
        return torch.from_numpy(canvas.transpose(1, 2, 0).copy()), torch.from_numpy(crops.transpose(0, 2, 3, 1).copy())


def as_tensor(images: Bytes) -> torch.Tensor:
    """Return images as a tensor, without another copy.

    Args:
        images: ``(…, h, w, 3)`` uint8, rows of a memory map.

    Returns:
        ``(…, 3, h, w)`` uint8, channels last in memory.
    """
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3)
