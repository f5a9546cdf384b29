"""Pairs of a pool that are worth a person's look, and what a person said of pairs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.matching.clustering.merges import components
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.neighbours import neighbours_above
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.similarity.calibration import Values

SAME, DIFFERENT, CANNOT_TELL = 1, 0, -1
"""What a person says of a pair."""

SURE_POINTS = 6
"""Keypoints on which two photographs agree, from which on they count as a witness."""

_LEAST_PROBABLE = 1e-4
"""Of candidates whose keypoints do not agree."""


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be asked about: those that are not as good as impossible.

    Attributes:
        pairs: ``(m, 2)`` rows, the lower one first, no pair twice.
        probabilities: ``(m,)`` that a pair shows one lesion.
        inliers: ``(m,)`` keypoints on which both agree; -1 where they were never compared.
    """

    pairs: LabelArray
    probabilities: Values
    inliers: LabelArray


@dataclass(frozen=True)
class Said:
    """What a person said of pairs, in the order of the answers, without those that were undone.

    Attributes:
        pairs: ``(m, 2)`` rows, the lower one first; one that was asked again is there again.
        verdicts: ``(m,)`` of :data:`SAME`, :data:`DIFFERENT` and :data:`CANNOT_TELL`.
    """

    pairs: LabelArray
    verdicts: LabelArray


NOTHING_SAID = Said(np.empty((0, 2), np.int64), np.empty(0, np.int64))


NO_CANDIDATES = Candidates(np.empty((0, 2), np.int64), np.empty(0), np.empty(0, np.int64))


def find_candidates(pool: Pool, shortlist: Shortlist, log_odds: LogOdds) -> Candidates:
    """Return the pairs of a pool that are probable enough, or whose keypoints agree.

    Args:
        pool: The photographs.
        shortlist: The pairs whose keypoints were compared.
        log_odds: Of the pool's pairs.
    """
    near = neighbours_above(pool, log_odds.similarity(_LEAST_PROBABLE))
    agreeing = shortlist.pairs[shortlist.inliers >= SURE_POINTS]
    pairs = np.unique(np.concatenate([near.pairs.astype(np.int64), agreeing]), axis=0)
    inliers = np.append(shortlist.inliers, -1)[places_among(pairs, shortlist.pairs)]
    return Candidates(pairs, log_odds.probabilities(pool.of_pairs(pairs)), inliers)


def candidate_table(candidates: Candidates) -> pd.DataFrame:
    """Return candidates as a table ``row_a, row_b, probability, inliers``."""
    rows = dict(zip(("row_a", "row_b"), candidates.pairs.T, strict=True))
    return pd.DataFrame({**rows, "probability": candidates.probabilities, "inliers": candidates.inliers})


def read_candidates(table: pd.DataFrame) -> Candidates:
    """Return the candidates of a table from :func:`candidate_table`."""
    return Candidates(
        table[["row_a", "row_b"]].to_numpy(np.int64),
        table["probability"].to_numpy(np.float64),
        table["inliers"].to_numpy(np.int64),
    )


def follows(pairs: LabelArray, said: Said, n_images: int) -> NDArray[np.bool_]:
    """Return which pairs answers decide, ``(m,)``: they were asked about, or it follows from others.

    Args:
        pairs: ``(m, 2)`` rows.
        said: Answers that do not contradict each other.
        n_images: Of the pool.
    """
    settled = components(n_images, said.pairs[said.verdicts == SAME])
    keys, apart = (_keys(np.sort(settled[of], axis=1)) for of in (pairs, said.pairs[said.verdicts == DIFFERENT]))
    decided: NDArray[np.bool_] = (settled[pairs[:, 0]] == settled[pairs[:, 1]]) | np.isin(keys, apart)
    return decided


def places_among(pairs: LabelArray, others: LabelArray) -> LabelArray:
    """Return where pairs of rows stand among others, each once; -1 where they do not."""
    keys, keys_of_others = _keys(pairs), _keys(others)
    order = np.argsort(keys_of_others)
    places = np.append(order, -1)[np.searchsorted(keys_of_others, keys, sorter=order)]
    found: LabelArray = np.where(np.append(keys_of_others, -1)[places] == keys, places, -1)
    return found


def _keys(pairs: LabelArray) -> LabelArray:
    """Write two rows as one number."""
    keys: LabelArray = pairs[:, 0] * 2**32 + pairs[:, 1]
    return keys
