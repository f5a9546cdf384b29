"""HAM10000's lesion ids, corrected where two of them are one lesion.

``ham10000_same_lesion.csv`` lists pairs of photographs of two lesion ids on which keypoints agree, with what somebody
saw who looked at both side by side (docs/results.md tells how). No photograph is part of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

SAME_LESION: Final = Path(__file__).with_name("ham10000_same_lesion.csv")


def corrected_lesions(lesion_of: Mapping[str, str], looked_at: pd.DataFrame | None = None) -> dict[str, str]:
    """Return the lesion of each image after correction.

    Lesions are joined along chains, also through lesions of which no image is asked for. Joined ones have the first of
    their ids as name.

    Args:
        lesion_of: The published lesion of each image.
        looked_at: Pairs with ``lesion_a, lesion_b, image_b, verdict``; those of :data:`SAME_LESION` by default. The
            verdict ``same`` joins both lesions, ``misfiled`` moves ``image_b`` alone to ``lesion_a``, any other changes
            nothing.
    """
    pairs = pd.read_csv(SAME_LESION) if looked_at is None else looked_at
    moved = pairs[pairs["verdict"] == "misfiled"]
    lesions = {**lesion_of, **{row.image_b: row.lesion_a for row in moved.itertuples() if row.image_b in lesion_of}}
    joined = DisjointSet({*lesions.values(), *pairs["lesion_a"], *pairs["lesion_b"]})
    for row in pairs[pairs["verdict"] == "same"].itertuples():
        joined.merge(row.lesion_a, row.lesion_b)
    names = {lesion: min(joined.subset(lesion)) for lesion in set(lesions.values())}
    return {image_id: names[lesion] for image_id, lesion in lesions.items()}
