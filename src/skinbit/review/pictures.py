"""Pictures of the photographs that are reviewed: in full, small, and how one lies on another."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

from skinbit.config import GeometryParams
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.review.alignment import align
from skinbit.review.grouped import Grouped

_QUALITY = 95
_HELD = 12
"""Photographs in memory: those of the pair that is shown, and of the next ones."""


class Pictures:
    """Whatever a page shows of photographs: it is read when it is first wanted, and checked against its hash."""

    def __init__(
        self,
        grouped: Grouped,
        thumbnails: Callable[[], Mapping[int, str]],
        keypoints: Callable[[], KeypointTable],
        geometry: GeometryParams,
    ) -> None:
        """Note where pictures come from.

        Args:
            grouped: What is reviewed.
            thumbnails: Reads the ``data:`` addresses of small copies, by row.
            keypoints: Reads the keypoints of all photographs.
            geometry: How they are compared.
        """
        self._grouped, self._geometry, self._lock = grouped, geometry, Lock()
        self._read_thumbnails, self._read_keypoints = thumbnails, keypoints
        self.photograph = lru_cache(_HELD)(self._photograph)

    def _photograph(self, row: int) -> bytes:
        """Return a photograph in full as a JPEG without metadata: upright, and decoded by the run's own rules.

        Raises:
            InputError: If its file is not as it was when it was grouped.
        """
        buffer = io.BytesIO()
        self._grouped.photographs.decode(row).save(buffer, format="JPEG", quality=_QUALITY)
        return buffer.getvalue()

    def thumbnail(self, row: int) -> bytes:
        """Return a small copy."""
        return base64.b64decode(self._thumbnails[row].partition(",")[2])

    def alignment(self, first: int, second: int) -> dict[str, Any] | None:
        """Return how one photograph lies on another, in plain values; None where keypoints do not know."""
        table = self._keypoints
        if len(table.image_ids) != len(self._grouped.lesions):
            return None
        found = align(table, first, second, self._geometry)
        return None if found is None else asdict(found)

    def warm_up(self) -> None:
        """Read what is large before it is wanted."""
        _ = self._keypoints
        _ = self._thumbnails

    @property
    def _thumbnails(self) -> Mapping[int, str]:
        with self._lock:
            return self._all_thumbnails

    @property
    def _keypoints(self) -> KeypointTable:
        with self._lock:
            return self._all_keypoints

    @cached_property
    def _all_thumbnails(self) -> Mapping[int, str]:
        return self._read_thumbnails()

    @cached_property
    def _all_keypoints(self) -> KeypointTable:
        return self._read_keypoints()
