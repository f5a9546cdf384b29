"""Photographs decoded once, for all folds and experiments that train on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from skinbit.config import LoaderParams, ViewParams
from skinbit.data.images import ImageFolder, decode_image
from skinbit.embedding.tables import Bytes

if TYPE_CHECKING:  # this module is imported with the graph, PyTorch when something is computed
    import torch

    from skinbit.embedding.preprocessing import Preprocessing


@dataclass(frozen=True)
class Decoding:
    """What :class:`skinbit.embedding.tables.Pixels` will hold, decoded batch by batch while it is written.

    Attributes:
        folder: Where the photographs are.
        image_ids: One per row.
        keys: Per row, the SHA-256 of the file.
        preprocessing: Of the backbone.
        views: Its test views.
        canvas_size: Side of a canvas in pixels.
        loader: Worker processes and batch size.
        max_pixels: Larger images are refused.
    """

    folder: ImageFolder
    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    preprocessing: Preprocessing
    views: ViewParams
    canvas_size: int
    loader: LoaderParams
    max_pixels: int

    @property
    def crop_side(self) -> int:
        """Return the least side to decode photographs with for the crops, as for features and new photographs."""
        return self.preprocessing.least_side(self.views)

    @property
    def description(self) -> dict[str, Any]:
        """Return what the pixels depend on besides the files."""
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
        """Decode the photographs; yield canvases and crops of the next images, in order."""
        import torch
        from torch.utils.data import DataLoader

        # Not a subclass of torch's Dataset, which would import it with the graph.
        photographs: Any = _Decoded(self)
        # Without a generator of its own it draws from the global one, while another thread draws weights from that.
        loader: DataLoader[Any] = DataLoader(
            photographs,
            self.loader.batch_size,
            num_workers=min(self.loader.workers, -(-len(self.image_ids) // self.loader.batch_size)),
            generator=torch.Generator(),
        )
        with tqdm(total=len(self.image_ids), unit="image", desc="decoding", disable=None) as bar:
            for canvases, crops in loader:
                yield canvases.numpy(), crops.numpy()
                bar.update(len(canvases))


class _Decoded:
    """Decodes photographs; runs in the loader's worker processes."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._whole = decoding.preprocessing.model_copy(update={"image_size": decoding.canvas_size, "crop_pct": 1.0})

    def __len__(self) -> int:
        return len(self._decoding.image_ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from skinbit.embedding.preprocessing import crop_zooms

        decoding = self._decoding
        content = decoding.folder.read(decoding.image_ids[index])
        image = decode_image(content, decoding.max_pixels, decoding.crop_side)
        crops = crop_zooms(image, decoding.preprocessing, decoding.views.zooms)
        if decoding.canvas_size > decoding.crop_side:  # a JPEG may have been halved for the crops
            image = decode_image(content, decoding.max_pixels, decoding.canvas_size)
        canvas = crop_zooms(image, self._whole, (1.0,))[0]
        return torch.from_numpy(canvas.transpose(1, 2, 0).copy()), torch.from_numpy(crops.transpose(0, 2, 3, 1).copy())


def as_tensor(images: Bytes) -> torch.Tensor:
    """Return images as a tensor without copying them again.

    Args:
        images: ``(…, h, w, 3)`` uint8, rows of a memory map.

    Returns:
        ``(…, 3, h, w)`` uint8, channels last in memory.
    """
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3)
