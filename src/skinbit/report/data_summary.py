"""The numbers of images and lesions in a study: used, left out, in folds and in the test subset."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import pandas as pd

from skinbit.data.splits import TEST_FOLD

_EXAMPLES = 3


@dataclass(frozen=True)
class SubsetSize:
    """Size of a fold, of the test subset, or of all folds.

    Attributes:
        name: ``fold 0``, ``test``, ….
        n_positive_pairs: Number of positive pairs.
        n_pairs: Number of all pairs.
        note: A remark, or empty.
    """

    name: str
    n_images: int
    n_lesions: int
    n_positive_pairs: int
    n_pairs: int
    note: str = ""

    @property
    def negatives_per_positive(self) -> float | None:
        """Return the number of negative pairs for each positive one; None without a positive pair."""
        return (self.n_pairs - self.n_positive_pairs) / self.n_positive_pairs if self.n_positive_pairs else None


@dataclass(frozen=True)
class LeftOut:
    """Images that a study leaves out for one reason.

    Attributes:
        n_lesions: Number of lesions, if they have an id.
        examples: A few image ids.
    """

    reason: str
    n_images: int
    n_lesions: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class DataSummary:
    """The data of a study.

    Attributes:
        validation: All folds that ran, together.
        test: The test subset; None if there is none.
        subsets: All folds, then the test subset.
        lesions_by_images: Result of :func:`images_per_lesion`.
        left_out: Images left out by reason, most images first.
    """

    validation: SubsetSize
    test: SubsetSize | None
    subsets: tuple[SubsetSize, ...]
    lesions_by_images: tuple[tuple[int, int], ...]
    left_out: tuple[LeftOut, ...]

    @property
    def n_images(self) -> int:
        """Return the number of images used."""
        return sum(subset.n_images for subset in self.subsets)

    @property
    def n_lesions(self) -> int:
        """Return the number of lesions used."""
        return sum(subset.n_lesions for subset in self.subsets)

    @property
    def n_left_out(self) -> int:
        """Return the number of images left out."""
        return sum(reason.n_images for reason in self.left_out)


def summarise_data(split: pd.DataFrame, rejected: pd.DataFrame, folds: Sequence[int]) -> DataSummary:
    """Return the numbers of images, lesions and pairs that a study used and left out.

    Args:
        split: ``image_id, lesion_id, subset, fold``.
        rejected: ``image_id, lesion_id, reason``.
        folds: Numbers of the folds that ran.
    """
    by_fold = {fold: split.loc[split["fold"] == fold, "lesion_id"] for fold in sorted(set(split["fold"].tolist()))}
    test = measure_subset("test", by_fold[TEST_FOLD]) if TEST_FOLD in by_fold else None
    subsets = [
        measure_subset(f"fold {fold}", lesion_ids, note="" if fold in folds else "did not run")
        for fold, lesion_ids in by_fold.items()
        if fold != TEST_FOLD
    ]
    return DataSummary(
        validation=measure_subset("validation", split.loc[split["fold"].isin(folds), "lesion_id"]),
        test=test,
        subsets=(*subsets, *([test] if test else [])),
        lesions_by_images=images_per_lesion(split["lesion_id"]),
        left_out=_left_out(rejected),
    )


def measure_subset(name: str, lesion_ids: pd.Series, note: str = "") -> SubsetSize:
    """Return the numbers of images, lesions and pairs of a subset.

    Args:
        name: Name of the subset.
        lesion_ids: Lesion of each image.
        note: See :class:`SubsetSize`.
    """
    per_lesion = Counter(lesion_ids.tolist())
    positives = sum(comb(n, 2) for n in per_lesion.values())
    return SubsetSize(name, len(lesion_ids), len(per_lesion), positives, comb(len(lesion_ids), 2), note)


def images_per_lesion(lesion_ids: pd.Series) -> tuple[tuple[int, int], ...]:
    """Return the number of lesions for each number of images, ascending.

    Args:
        lesion_ids: Lesion of each image.
    """
    return tuple(sorted(Counter(Counter(lesion_ids.tolist()).values()).items()))


def _left_out(rejected: pd.DataFrame) -> tuple[LeftOut, ...]:
    found = [
        LeftOut(
            reason=str(reason),
            n_images=len(images),
            n_lesions=len(set(images["lesion_id"]) - {""}),
            examples=tuple(images["image_id"].tolist()[:_EXAMPLES]),
        )
        for reason, images in rejected.groupby("reason")
    ]
    return tuple(sorted(found, key=lambda left_out: (-left_out.n_images, left_out.reason)))
