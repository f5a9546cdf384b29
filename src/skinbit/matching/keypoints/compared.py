"""Compared pairs: the keypoints of many pairs are compared in pieces, which all experiments and runs share."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from skinbit.config import GeometryParams
from skinbit.data.pieces import Making, PieceStore, Rows, Wanted, complete
from skinbit.data.progress import Progress
from skinbit.data.threads import map_in_order
from skinbit.matching.keypoints.geometry import match_pair
from skinbit.matching.keypoints.shortlist import Shortlist, join_shortlists
from skinbit.matching.keypoints.sift import KeypointSets
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.neighbours import nearest_images
from skinbit.matching.pairs.pool import Pool

logger = logging.getLogger(__name__)

_BLOCK_PAIRS: Final = 64
"""Number of pairs that a thread processes at once."""


@dataclass(frozen=True)
class ComparedPairs:
    """Pairs of photographs whose keypoints were compared.

    Attributes:
        keys: Fingerprint of everything that each pair's comparison depends on.
        inliers: ``(m,)`` int64, number of keypoints on which both photographs agree.
        zooms: ``(m,)`` float64, zooms from the smaller to the larger photograph, in [1, 4]; 1 without inliers.
    """

    keys: tuple[str, ...]
    inliers: LabelArray
    zooms: NDArray[np.float64]


NO_PAIRS = ComparedPairs((), np.empty(0, np.int64), np.empty(0, np.float64))
"""Table without pairs, if there is no earlier run."""


@dataclass(frozen=True)
class Comparing:
    """How pairs are compared.

    Attributes:
        params: Ratio test, tolerance, smallest number of inliers; and which pairs are proposed.
        n_workers: Number of threads; changes only the speed.
        store: Pairs that earlier runs and other experiments have compared.
        making: Executor, and size of a piece.
    """

    params: GeometryParams
    n_workers: int
    store: PieceStore[ComparedPairs]
    making: Making


def compare_pairs(keypoints: KeypointSets, pairs: LabelArray, comparing: Comparing) -> Shortlist:
    """Compare the keypoints of many pairs, except those that were compared before.

    Args:
        keypoints: Keypoints of all images.
        pairs: ``(m, 2)`` rows of these images.
        comparing: Parameters, threads, and where compared pairs are kept.

    Returns:
        The pairs in the same order, with inliers and zooms.
    """
    params = comparing.params
    keys = _pair_keys(keypoints.keys, pairs, params)
    names = [f"{keypoints.image_ids[i]} and {keypoints.image_ids[j]}" for i, j in pairs.tolist()]
    maker = PairMaker(keypoints, pairs, params, comparing.n_workers, keys)
    places = complete(Wanted("compared pairs", "pair", keys, names), comparing.store, maker, comparing.making)
    inliers = np.array([compared.inliers[row] for compared, row in places], dtype=np.int64)
    return Shortlist(pairs, inliers, np.array([compared.zooms[row] for compared, row in places], dtype=np.float64))


def _pair_keys(keys: Sequence[str], pairs: LabelArray, params: GeometryParams) -> list[str]:
    """Return the fingerprint of each comparison, whichever photograph comes first."""
    how: dict[str, Any] = params.model_dump(mode="json", include={"ratio", "tolerance", "min_matches"})
    start = hashlib.sha256(json.dumps({**how, "numpy": np.__version__}, sort_keys=True).encode())

    def key_of(one: str, other: str) -> str:
        digest = start.copy()
        digest.update("".join(sorted((one, other))).encode())
        return digest.hexdigest()

    return [key_of(keys[i], keys[j]) for i, j in pairs.tolist()]


@dataclass(frozen=True)
class PairMaker:
    """Compares the keypoints of pairs.

    Attributes:
        keypoints: Keypoints of all images.
        pairs: ``(m, 2)`` rows of these images.
        params: See :func:`skinbit.matching.keypoints.geometry.match_pair`.
        n_workers: Number of threads.
        keys: Fingerprint of each pair's comparison.
    """

    keypoints: KeypointSets
    pairs: LabelArray
    params: GeometryParams
    n_workers: int
    keys: Sequence[str]

    def __call__(self, pieces: Sequence[Rows]) -> Iterator[ComparedPairs]:
        """Yield the compared pairs in the rows of each piece."""
        from threadpoolctl import threadpool_limits

        started, busy = time.perf_counter(), 0.0
        cut = [np.split(rows, range(_BLOCK_PAIRS, len(rows), _BLOCK_PAIRS)) for rows in pieces]
        n_pairs = sum(map(len, pieces))
        # One thread per matrix product, as pairs are distributed over threads.
        with (
            threadpool_limits(1, user_api="blas"),
            closing(
                map_in_order(self._compare, (block for blocks in cut for block in blocks), self.n_workers)
            ) as found,
            Progress(total=n_pairs, unit="pair", desc="comparing keypoints") as bar,
        ):
            for rows, blocks in zip(pieces, cut, strict=True):
                agreement: list[tuple[int, float]] = []
                for matched, seconds in islice(found, len(blocks)):
                    agreement += matched
                    busy += seconds
                    bar.update(len(matched))
                inliers, zooms = (np.array(values) for values in zip(*agreement, strict=True))
                keys = tuple(self.keys[row] for row in rows)
                yield ComparedPairs(keys, inliers.astype(np.int64), zooms.astype(np.float64))
        logger.info(
            "%d pairs compared by their keypoints in %.1f s on %d threads: %.1f ms of one core per pair",
            n_pairs,
            time.perf_counter() - started,
            self.n_workers,
            1000 * busy / max(1, n_pairs),
        )

    def _compare(self, rows: Rows) -> tuple[list[tuple[int, float]], float]:
        """Return inliers and zoom of pairs, and the seconds of one core that this took."""
        started = time.thread_time()
        # In the order of their keys, so that the last digit of a zoom does not depend on which photograph comes first.
        pairs = (sorted(pair, key=self.keypoints.keys.__getitem__) for pair in self.pairs[rows].tolist())
        matches = [match_pair(self.keypoints.at(i), self.keypoints.at(j), self.params) for i, j in pairs]
        return [(match.n_inliers, match.zoom) for match in matches], time.thread_time() - started


def shortlist_pairs(nearest: LabelArray, rows: LabelArray | None = None) -> LabelArray:
    """Return the pairs of images with their nearest images.

    Args:
        nearest: ``(n, k)`` rows of the most similar other images of each image.
        rows: Rows of the images whose pairs are returned; None: all images.

    Returns:
        ``(m, 2)`` int64, rows i < j, each pair once, ascending.
    """
    chosen = np.arange(len(nearest)) if rows is None else rows
    both = np.stack([np.repeat(chosen, nearest.shape[1]), nearest[chosen].ravel()], axis=1)
    return np.unique(np.sort(both, axis=1), axis=0)


def shortlist_by_keypoints(pool: Pool, keypoints: KeypointSets, comparing: Comparing) -> Shortlist:
    """Compare the keypoints of pairs that probably show the same lesion.

    Each image is compared with its nearest images. An image without inliers is compared with more of them, as partners
    of different zoom are often not among the nearest; most images of an archive have no partner. Two images that agree
    with the same third image are compared, too.

    Args:
        pool: The images, with plain cosines; forbidden pairs are not compared.
        keypoints: Keypoints of the same images, in the same order.
        comparing: Numbers of neighbours, and how pairs are compared.

    Returns:
        The compared pairs, ascending, with their inliers and zooms.
    """
    params = comparing.params
    nearest = nearest_images(pool, max(params.neighbours, params.more_neighbours)).rows
    first = pool.without_forbidden(shortlist_pairs(nearest[:, : params.neighbours]))
    found = compare_pairs(keypoints, first, comparing)
    agreed = found.pairs[found.inliers >= params.enough_inliers]
    undecided = np.setdiff1d(np.arange(len(pool)), agreed)
    more = pool.without_forbidden(shortlist_pairs(nearest, undecided))
    found = _compare_also(found, more, keypoints, comparing)
    agreed = found.pairs[found.inliers >= params.enough_inliers]
    common = pool.without_forbidden(_with_a_common_partner(agreed, len(pool)))
    return _compare_also(found, common, keypoints, comparing)


def _compare_also(found: Shortlist, pairs: LabelArray, keypoints: KeypointSets, comparing: Comparing) -> Shortlist:
    """Return a shortlist extended by further pairs, after comparing those that it does not have."""
    n_images = max(1, len(keypoints.image_ids))
    keys, held = (some[:, 0] * n_images + some[:, 1] for some in (pairs, found.pairs))
    rows = np.stack(np.divmod(np.setdiff1d(keys, held), n_images), axis=1)
    return join_shortlists(found, compare_pairs(keypoints, rows, comparing)) if len(rows) else found


def _with_a_common_partner(pairs: LabelArray, n_images: int) -> LabelArray:
    """Return the pairs of images, lower row first, that are both in a pair with the same third image."""
    from scipy.sparse import coo_array, triu

    both = np.concatenate([pairs, pairs[:, ::-1]])
    links = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n_images, n_images)).tocsr()
    common = triu(links @ links, 1)
    return np.stack([common.row, common.col], axis=1).astype(np.int64)
