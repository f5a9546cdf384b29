"""Photographs that are decoded once, for all folds and experiments that train on pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skinbit.config import LoaderParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.pieces import Making, PieceStore, Rows, Wanted, complete
from skinbit.data.progress import Progress
from skinbit.embedding.tables import Bytes, Gathered, Pixels

if TYPE_CHECKING:  # this module is imported with the graph, PyTorch only for computations
    import torch

    from skinbit.embedding.preprocessing import Preprocessing


@dataclass(frozen=True)
class PixelMaker:
    """Decodes photographs.

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

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the SHA-256 of each photograph's file."""
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

    def __call__(self, pieces: Sequence[Rows]) -> Iterator[Pixels]:
        """Yield the pixels of the photographs in the rows of each piece."""
        from skinbit.embedding.loading import batches_in, read_batches

        listed_ids, hashes = self.photographs.image_ids, self.keys
        named = [[listed_ids[row] for row in piece] for piece in pieces]
        decoded = _Decoded(self, [image_id for image_ids in named for image_id in image_ids])
        batches = batches_in([len(piece) for piece in pieces], self.loader.batch_size)
        with (
            closing(read_batches(decoded, batches, self.loader)) as made,
            Progress(total=len(decoded.image_ids), unit="image", desc="decoding") as bar,
        ):
            for piece, image_ids in zip(pieces, named, strict=True):
                canvases, crops = self._empty(len(piece))
                done = 0
                while done < len(piece):
                    of_batch, crops_of_batch = next(made)
                    rows = slice(done, done := done + len(of_batch))
                    canvases[rows], crops[rows] = of_batch.numpy(), crops_of_batch.numpy()
                    bar.update(len(of_batch))
                keys = tuple(hashes[row] for row in piece)
                yield Pixels(tuple(image_ids), canvases, crops, keys, self.description)

    def _empty(self, n_images: int) -> tuple[Bytes, Bytes]:
        size = self.preprocessing.image_size
        canvases = np.empty((n_images, self.canvas_size, self.canvas_size, 3), dtype=np.uint8)
        return canvases, np.empty((n_images, len(self.views.zooms), size, size, 3), dtype=np.uint8)


@dataclass(frozen=True)
class _Decoded:
    """Decodes photographs, in the loader's worker processes."""

    maker: PixelMaker
    image_ids: list[str]

    def __call__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from skinbit.embedding.preprocessing import crop_zooms

        maker, canvas_size = self.maker, self.maker.canvas_size
        sides = [maker.crop_side]
        if canvas_size > maker.crop_side:  # a JPEG may be decoded at half its size for the crops
            sides.append(canvas_size)
        images = maker.photographs.decode_sizes(self.image_ids[index], sides)
        crops = crop_zooms(images[0], maker.preprocessing, maker.views.zooms)
        whole = maker.preprocessing.model_copy(update={"image_size": canvas_size, "crop_pct": 1.0})
        canvas = crop_zooms(images[-1], whole, (1.0,))[0]
        return torch.from_numpy(canvas.transpose(1, 2, 0).copy()), torch.from_numpy(crops.transpose(0, 2, 3, 1).copy())


def complete_pixels(maker: PixelMaker, store: PieceStore[Pixels], making: Making) -> Gathered[Pixels]:
    """Return the pixels of all photographs, after decoding those that no earlier run has decoded at these sizes.

    Args:
        maker: What decodes photographs.
        store: Pixels of earlier runs.
        making: Executor, and size of a piece.

    Returns:
        Where the pixels of each photograph are.

    Raises:
        InputError: If a photograph has changed since it was listed, or can no longer be decoded.
    """
    image_ids, keys = tuple(maker.photographs.image_ids), maker.keys
    wanted = Wanted(f"pixels of {len(keys)} photographs", "image", keys, image_ids)
    places = complete(wanted, _OfSizes(store, maker.description), maker, making)
    return Gathered(image_ids, keys, maker.description, places)


@dataclass(frozen=True)
class _OfSizes:
    """Stored pixels of some sizes: their keys are only those of the files."""

    store: PieceStore[Pixels]
    description: dict[str, Any]

    def finished(self) -> Pixels:
        return self._of_sizes(self.store.finished())

    def pieces(self) -> list[Pixels]:
        return [self._of_sizes(piece) for piece in self.store.pieces()]

    def keep(self, piece: Pixels) -> Pixels:
        return self.store.keep(piece)

    def _of_sizes(self, pixels: Pixels) -> Pixels:
        return pixels if pixels.description == self.description else replace(pixels, keys=())


def as_tensor(images: Bytes) -> torch.Tensor:
    """Return images as a tensor, without another copy.

    Args:
        images: ``(…, h, w, 3)`` uint8, rows of a memory map.

    Returns:
        ``(…, 3, h, w)`` uint8, channels last in memory.
    """
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3)
