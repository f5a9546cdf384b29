"""The pairs of a labelled pool on which a calibration is fitted: all rare ones, and a sample of the others."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import LabelArray, positive_pairs

_MOST_OTHERS = 300_000
"""Largest number of sampled other pairs; each then represents several."""


def sample_pairs(
    labels: LabelArray, listed: LabelArray | None = None, most_others: int = _MOST_OTHERS
) -> tuple[LabelArray, NDArray[np.float64]]:
    """Return all positive pairs of a pool, all listed pairs, and evenly spaced other pairs.

    Args:
        labels: ``(n,)``, the lesion of each image.
        listed: ``(l, 2)`` rows of further pairs that are included, lower row first.
        most_others: Largest number of other pairs.

    Returns:
        ``(m, 2)`` rows of both images, lower row first, ascending; and ``(m,)``, the number of pairs that each
        represents.
    """
    n_images = len(labels)
    # Every pair has a position: pairs of the first image come first, then those of the second one, …
    starts = np.append(0, np.cumsum(np.arange(n_images - 1, 0, -1)))
    rare = positive_pairs(labels) if listed is None else np.concatenate([positive_pairs(labels), listed])
    certain = np.unique(starts[rare[:, 0]] + rare[:, 1] - rare[:, 0] - 1)
    n_others = n_images * (n_images - 1) // 2 - len(certain)
    step = max(1, -(-n_others // most_others))
    nth = np.arange(0, n_others, step)
    others = nth + np.searchsorted(certain - np.arange(len(certain)), nth, side="right")
    kept = np.sort(np.concatenate([certain, others]))
    first = np.searchsorted(starts, kept, side="right") - 1
    pairs = np.column_stack([first, kept - starts[first] + first + 1])
    return pairs, np.where(np.isin(kept, certain), 1.0, step)
