"""SIFT keypoints: positions that are found again under another zoom, rotation and light (Lowe 2004)."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinbit.config import GeometryParams
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import Keyed, Making, PieceStore, Rows, Wanted, complete
from skinbit.data.progress import Progress
from skinbit.data.threads import map_in_order
from skinbit.matching.labels import FloatArray, LabelArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of an image; a position with two dominant directions counts twice.

    Attributes:
        positions: ``(n, 2)`` float32, x to the right and y downwards, in pixels of the scaled image.
        diameters: ``(n,)`` float32, diameters of the described regions, pixels of the scaled image.
        angles: ``(n,)`` float32, directions in degrees, clockwise.
        descriptors: ``(n, 128)`` uint8.
        size: Width and height of the scaled image, pixels.
    """

    positions: FloatArray
    diameters: FloatArray
    angles: FloatArray
    descriptors: NDArray[np.uint8]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.positions)


class KeypointSets(Keyed, Protocol):
    """The keypoints of many images, wherever they are."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Return the image id of each image."""

    def at(self, row: int) -> Keypoints:
        """Return the keypoints of the image in a row."""


@dataclass(frozen=True)
class ChosenKeypoints:
    """The keypoints of some images, which stay in their tables, and so in the files of these.

    Attributes:
        places: Table and row in it of each image.
    """

    places: Sequence[tuple["KeypointTable", int]]

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """Return the image id of each image; those of several tables may be equal."""
        return tuple(table.image_ids[row] for table, row in self.places)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Return the fingerprint of everything that an image's keypoints depend on."""
        return tuple(table.keys[row] for table, row in self.places)

    def at(self, row: int) -> Keypoints:
        """Return the keypoints of the image in a row, without a copy."""
        table, place = self.places[row]
        return table.at(place)


@dataclass(frozen=True)
class KeypointTable:
    """The keypoints of many images, concatenated.

    Attributes:
        image_ids: Image id of each image.
        keys: Fingerprint of everything that an image's keypoints depend on.
        sizes: ``(n_images, 2)`` int64, width and height of each scaled image, pixels.
        offsets: ``(n_images + 1,)`` int64; image i has the keypoints ``offsets[i]`` to ``offsets[i + 1]``.
        positions: ``(n_keypoints, 2)`` float32; this and the following like in :class:`Keypoints`.
        diameters: ``(n_keypoints,)`` float32.
        angles: ``(n_keypoints,)`` float32.
        descriptors: ``(n_keypoints, 128)`` uint8.
        description: How keypoints were made; plain values.
    """

    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    sizes: LabelArray
    offsets: LabelArray
    positions: FloatArray
    diameters: FloatArray
    angles: FloatArray
    descriptors: NDArray[np.uint8]
    description: dict[str, Any]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Return the row of each image id."""
        return {image_id: row for row, image_id in enumerate(self.image_ids)}

    def at(self, row: int) -> Keypoints:
        """Return the keypoints of the image in a row, without a copy."""
        own = slice(self.offsets[row], self.offsets[row + 1])
        width, height = self.sizes[row].tolist()
        return Keypoints(
            self.positions[own], self.diameters[own], self.angles[own], self.descriptors[own], (width, height)
        )

    def of(self, image_id: str) -> Keypoints:
        """Return the keypoints of an image, without a copy."""
        return self.at(self.rows[image_id])


NO_KEYPOINTS = Keypoints(
    np.empty((0, 2), np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.float32),
    np.empty((0, 128), np.uint8),
    (0, 0),
)
"""Keypoints of an image without any, which define the shape and type of each array."""


def tabulate_keypoints(
    image_ids: Sequence[str], keys: Sequence[str], keypoints: Sequence[Keypoints], description: dict[str, Any]
) -> KeypointTable:
    """Return the keypoints of images as one table.

    Args:
        image_ids: Distinct image ids.
        keys: Fingerprint of each image's keypoints.
        keypoints: Keypoints of each image.
        description: How keypoints were made.

    Returns:
        The table, with images in the given order.
    """
    sets = [NO_KEYPOINTS, *keypoints]
    return KeypointTable(
        image_ids=tuple(image_ids),
        keys=tuple(keys),
        sizes=np.array([each.size for each in keypoints], dtype=np.int64).reshape(-1, 2),
        offsets=np.cumsum([len(each) for each in sets], dtype=np.int64),
        positions=np.concatenate([each.positions for each in sets]),
        diameters=np.concatenate([each.diameters for each in sets]),
        angles=np.concatenate([each.angles for each in sets]),
        descriptors=np.concatenate([each.descriptors for each in sets]),
        description=description,
    )


NO_TABLE = tabulate_keypoints((), (), (), {})
"""Table without images, if there is no earlier run."""


def choose_keypoints(tables: Sequence[KeypointTable], image_ids: Sequence[str]) -> ChosenKeypoints:
    """Return the keypoints of some images, in their order.

    Args:
        tables: Tables that have all of these images, each in one of them.
        image_ids: Image ids.
    """
    place_of = {image_id: (table, row) for table in tables for image_id, row in table.rows.items()}
    return ChosenKeypoints([place_of[image_id] for image_id in image_ids])


def describe_keypoints(params: GeometryParams) -> dict[str, Any]:
    """Return everything except the image that keypoints depend on.

    Args:
        params: Size of the image, number and contrast of keypoints.

    Returns:
        Plain values for JSON; equal descriptions and equal image bytes mean equal keypoints.
    """
    import PIL

    made_with = params.model_dump(mode="json", include={"image_side", "n_keypoints", "min_contrast"})
    return {**made_with, "versions": {"opencv": single_threaded_cv2().__version__, "pillow": PIL.__version__}}


def keypoint_key(description: dict[str, Any], image_sha256: str) -> str:
    """Return the fingerprint of an image's keypoints: image bytes, parameters, software."""
    return hashlib.sha256(f"{json.dumps(description, sort_keys=True)}{image_sha256}".encode()).hexdigest()


def extract_photographs(
    photographs: Photographs,
    store: PieceStore[KeypointTable],
    params: GeometryParams,
    n_workers: int,
    making: Making,
) -> KeypointTable:
    """Return the keypoints of every image, from earlier runs if possible.

    Args:
        photographs: Photographs, which are only read if no keypoints of the same bytes are stored.
        store: Keypoints of earlier runs; those of other bytes, parameters or software are not used.
        params: See :func:`extract_keypoints`.
        n_workers: Number of threads; changes only the speed.
        making: Executor, and size of a piece.

    Returns:
        The table, in the order of the photographs; as folders may share image ids, look images up by row.

    Raises:
        InputError: If a photograph has changed since it was listed; names the first.
    """
    description = describe_keypoints(params)
    keys = tuple(keypoint_key(description, sha256) for sha256 in photographs.hashes)
    image_ids = tuple(image_id for _, image_id in photographs.places)
    maker = KeypointMaker(photographs, params, n_workers, keys, description)
    places = complete(Wanted(f"keypoints of {len(keys)} photographs", "image", keys, image_ids), store, maker, making)
    return tabulate_keypoints(image_ids, keys, [table.at(row) for table, row in places], description)


@dataclass(frozen=True)
class KeypointMaker:
    """Finds the keypoints of photographs.

    Attributes:
        photographs: Photographs of any folders.
        params: See :func:`extract_keypoints`.
        n_workers: Number of threads.
        keys: Fingerprint of each photograph's keypoints.
        description: How keypoints are made.
    """

    photographs: Photographs
    params: GeometryParams
    n_workers: int
    keys: Sequence[str]
    description: dict[str, Any]

    def __call__(self, pieces: Sequence[Rows]) -> Iterator[KeypointTable]:
        """Yield the keypoints of the photographs in the rows of each piece."""
        rows = [row for piece in pieces for row in piece.tolist()]
        started = time.perf_counter()
        with (
            closing(map_in_order(self._find, rows, self.n_workers)) as found,
            Progress(total=len(rows), unit="image", desc="keypoints") as bar,
        ):
            for piece in pieces:
                keypoints = []
                for each in islice(found, len(piece)):
                    keypoints.append(each)
                    bar.update()
                image_ids = [self.photographs.places[row][1] for row in piece]
                keys = [self.keys[row] for row in piece]
                yield tabulate_keypoints(image_ids, keys, keypoints, self.description)
        logger.info("keypoints of %d photographs found in %.1f s", len(rows), time.perf_counter() - started)

    def _find(self, row: int) -> Keypoints:
        return extract_keypoints(self.photographs.decode(row, self.params.image_side), self.params)


def extract_keypoints(image: Image.Image, params: GeometryParams) -> Keypoints:
    """Return the keypoints of a photograph.

    Args:
        image: RGB.
        params: Size of the image, number and contrast of keypoints.

    Returns:
        The ``n_keypoints`` keypoints with most contrast, or a few more if the last ones are equal; none for a blank
        image. Equal pixels have equal keypoints.
    """
    cv2 = single_threaded_cv2()
    scaled = _scale(image, params.image_side)
    grey = cv2.cvtColor(np.asarray(scaled), cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT_create(params.n_keypoints, contrastThreshold=params.min_contrast)
    found, descriptors = sift.detectAndCompute(grey, None)
    if not found:
        return replace(NO_KEYPOINTS, size=scaled.size)
    return Keypoints(
        np.array([each.pt for each in found], dtype=np.float32),
        np.array([each.size for each in found], dtype=np.float32),
        np.array([each.angle for each in found], dtype=np.float32),
        descriptors.astype(np.uint8),  # all values are integers
        scaled.size,
    )


def _scale(image: Image.Image, longer_side: int) -> Image.Image:
    factor = longer_side / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def single_threaded_cv2() -> ModuleType:
    """Import OpenCV with one thread, as images and pairs are distributed over threads."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
