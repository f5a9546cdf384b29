"""Metrics of whole groups, besides the F1 of their pairs.

Pairs weight a lesion by the square of its images. BCubed (Amigó et al. 2009) weights all images equally; ARI (Hubert
and Arabie 1985) and AMI (Vinh et al. 2010) are corrected for what groups of the same sizes reach by chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import LabelArray


def evaluate_groups(cluster_ids: LabelArray, labels: LabelArray) -> dict[str, float]:
    """Return the metrics that compare groups of images with lesions.

    Args:
        cluster_ids: ``(n,)``, group of each image, any numbers.
        labels: ``(n,)``, lesion of each image, any numbers.

    Returns:
        - ``bcubed_precision``: mean over images of the share of the image's group with the same lesion, including the
            image itself, in (0, 1].
        - ``bcubed_recall``: mean over images of the share of the image's lesion in the same group, in (0, 1].
        - ``bcubed_f1``: harmonic mean of both. All three are also defined for singleton lesions.
        - ``ari``: adjusted Rand index, at most 1, 0 on average by chance.
        - ``ami``: adjusted mutual information with the mean of both entropies, at most 1, 0 on average by chance. ARI
        and
            AMI are NaN if no pair is positive or no pair is negative, as chance then explains all agreement.
        - ``exact_groups``: share of lesions whose images form a group, none missing and none added.
        - ``n_groups``: number of groups.
        - ``n_groups_error``: (groups - lesions) / lesions; negative if lesions are merged overall.

        Without images, all but ``n_groups`` are NaN.
    """
    overlaps = count_overlaps(cluster_ids, labels)
    n_groups, n_lesions = len(overlaps.group_sizes), len(overlaps.lesion_sizes)
    return {
        **_bcubed(overlaps),
        "ari": _adjusted_rand(overlaps),
        "ami": _adjusted_mutual_information(overlaps),
        "exact_groups": _exact_groups(overlaps),
        "n_groups": float(n_groups),
        "n_groups_error": (n_groups - n_lesions) / n_lesions if n_lesions else float("nan"),
    }


@dataclass(frozen=True)
class Overlaps:
    """Sizes of groups and lesions, and of their non-empty intersections.

    Attributes:
        group_sizes: ``(n_groups,)``, groups in the order of their ids.
        lesion_sizes: ``(n_lesions,)``, lesions in the order of their labels.
        groups: ``(m,)``, group of each intersection, 0 …, ascending.
        lesions: ``(m,)``, lesion of each intersection, 0 …, ascending within a group.
        n_common: ``(m,)``, number of images in each intersection, at least 1.
    """

    group_sizes: LabelArray
    lesion_sizes: LabelArray
    groups: LabelArray
    lesions: LabelArray
    n_common: LabelArray

    @property
    def n_images(self) -> int:
        """All images."""
        return int(self.lesion_sizes.sum())


def count_overlaps(cluster_ids: LabelArray, labels: LabelArray) -> Overlaps:
    """Return the numbers of images that groups and lesions have in common.

    Args:
        cluster_ids: ``(n,)``, group of each image, any numbers.
        labels: ``(n,)``, lesion of each image, any numbers.
    """
    _, groups, group_sizes = np.unique(cluster_ids, return_inverse=True, return_counts=True)
    _, lesions, lesion_sizes = np.unique(labels, return_inverse=True, return_counts=True)
    cells, n_common = np.unique(groups * max(1, len(lesion_sizes)) + lesions, return_counts=True)
    in_groups, in_lesions = np.divmod(cells, max(1, len(lesion_sizes)))
    return Overlaps(group_sizes, lesion_sizes, in_groups, in_lesions, n_common)


def _bcubed(overlaps: Overlaps) -> dict[str, float]:
    if overlaps.n_images == 0:
        return dict.fromkeys(("bcubed_precision", "bcubed_recall", "bcubed_f1"), float("nan"))
    squares = overlaps.n_common**2  # for each common image, the images of its lesion in its group, including itself
    precision = float((squares / overlaps.group_sizes[overlaps.groups]).sum() / overlaps.n_images)
    recall = float((squares / overlaps.lesion_sizes[overlaps.lesions]).sum() / overlaps.n_images)
    f1 = 2 * precision * recall / (precision + recall)
    return {"bcubed_precision": precision, "bcubed_recall": recall, "bcubed_f1": f1}


def _exact_groups(overlaps: Overlaps) -> float:
    if overlaps.n_images == 0:
        return float("nan")
    is_whole_group = overlaps.n_common == overlaps.group_sizes[overlaps.groups]
    is_whole_lesion = overlaps.n_common == overlaps.lesion_sizes[overlaps.lesions]
    return int((is_whole_group & is_whole_lesion).sum()) / len(overlaps.lesion_sizes)


def _is_trivial(sizes: LabelArray) -> bool:
    """Whether all images are in one group, or each is in its own."""
    return len(sizes) <= 1 or len(sizes) == sizes.sum()


def _adjusted_rand(overlaps: Overlaps) -> float:
    if _is_trivial(overlaps.lesion_sizes):
        return float("nan")
    in_both, in_group, in_lesion = (
        _count_pairs(sizes) for sizes in (overlaps.n_common, overlaps.group_sizes, overlaps.lesion_sizes)
    )
    by_chance = in_group * in_lesion / _count_pairs(np.array([overlaps.n_images]))
    return (in_both - by_chance) / ((in_group + in_lesion) / 2 - by_chance)


def _count_pairs(sizes: LabelArray) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _adjusted_mutual_information(overlaps: Overlaps) -> float:
    if _is_trivial(overlaps.lesion_sizes):
        return float("nan")
    if _is_trivial(overlaps.group_sizes):
        return 0.0  # exactly the value by chance; the difference below would be a rounding error
    n_images = overlaps.n_images
    expected_common = overlaps.group_sizes[overlaps.groups] * overlaps.lesion_sizes[overlaps.lesions] / n_images
    shared = float((overlaps.n_common * np.log(overlaps.n_common / expected_common)).sum() / n_images)
    by_chance = _expected_information(overlaps.group_sizes, overlaps.lesion_sizes)
    entropy = (_entropy(overlaps.group_sizes) + _entropy(overlaps.lesion_sizes)) / 2
    return min(1.0, (shared - by_chance) / (entropy - by_chance))  # equal groups may exceed 1 by a rounding error


def _entropy(sizes: LabelArray) -> float:
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _expected_information(group_sizes: LabelArray, lesion_sizes: LabelArray) -> float:
    """Return the mean mutual information of groups and lesions over all permutations of the images.

    The contribution of a group and a lesion depends only on their sizes, and there are few distinct sizes: thousands of
    groups and lesions take milliseconds, instead of seconds for a sum over all of them.
    """
    from scipy.special import gammaln

    n_images = int(lesion_sizes.sum())
    log_factorial = gammaln(np.arange(n_images + 1) + 1.0)
    expected = 0.0
    for group_size, n_such_groups in _distinct(group_sizes):
        for lesion_size, n_such_lesions in _distinct(lesion_sizes):
            n_common = np.arange(max(1, group_size + lesion_size - n_images), min(group_size, lesion_size) + 1)
            # The number of common images is hypergeometric.
            log_chance = (
                _log_choose(log_factorial, group_size, n_common)
                + _log_choose(log_factorial, n_images - group_size, lesion_size - n_common)
                - _log_choose(log_factorial, n_images, np.array([lesion_size]))
            )
            information = n_common / n_images * np.log(n_common * (n_images / (group_size * lesion_size)))
            expected += n_such_groups * n_such_lesions * float((np.exp(log_chance) * information).sum())
    return expected


def _distinct(sizes: LabelArray) -> list[tuple[int, int]]:
    """Return each distinct size and its frequency."""
    values, counts = np.unique(sizes, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def _log_choose(log_factorial: NDArray[np.float64], n: int, k: LabelArray) -> NDArray[np.float64]:
    chosen: NDArray[np.float64] = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    return chosen
