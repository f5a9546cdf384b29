"""Misclassified pairs at a given cut: all are counted, and the worst are listed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from skinbit.matching.labels import FloatArray, LabelArray, lesion_labels, positive_pairs
from skinbit.matching.methods import Similarity
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import Tile, look_at

Error = Literal["false_positive", "false_negative"]

_CUT_NAMES = {"cosine": "threshold", "dbscan": "eps"}


@dataclass(frozen=True)
class Mistake:
    """A misclassified pair.

    Attributes:
        image_a: Image whose id comes first in text order.
        image_b: The other image.
        lesion_a: True lesion of ``image_a``.
        lesion_b: True lesion of ``image_b``; the same for a false negative, another one for a false positive.
        similarity: Similarity of both images.
        error: Kind of the error.
    """

    image_a: str
    image_b: str
    lesion_a: str
    lesion_b: str
    similarity: Similarity
    error: Error


@dataclass(frozen=True)
class Outcomes:
    """Numbers of a subset's pairs at one cut, by outcome; all None if F1 is undefined.

    Attributes:
        true_positive: Predicted positive pairs.
        false_positive: Predicted negative pairs.
        false_negative: Positive pairs that are not predicted.
        possible_label_error: False positives that are at least as similar as the median positive pair.
    """

    true_positive: int | None
    false_positive: int | None
    false_negative: int | None
    possible_label_error: int | None


UNDEFINED = Outcomes(None, None, None, None)


@dataclass(frozen=True)
class Mistakes:
    """The misclassified pairs of one subset and method.

    Attributes:
        method: ``cosine`` or ``dbscan``.
        cut: Threshold (similarity) or eps (distance); NaN if none could be chosen.
        n_images: Number of images in the subset.
        n_lesions: Number of lesions in the subset.
        n_positive_pairs: Number of positive pairs.
        label_error_from: Similarity of the median positive pair; NaN if there is none.
        outcomes: Exact counts; ``UNDEFINED`` if there is no cut, or no positive pair.
        pairs: The worst pairs of both kinds, worst first; empty if counts are undefined.
    """

    method: str
    cut: float
    n_images: int
    n_lesions: int
    n_positive_pairs: int
    label_error_from: float
    outcomes: Outcomes
    pairs: tuple[Mistake, ...]


def find_mistakes(
    pool: Pool,
    images: Sequence[tuple[str, str]],
    cuts: Mapping[str, float],
    groups: Mapping[str, LabelArray],
    max_pairs: int,
) -> dict[str, Mistakes]:
    """Return the misclassified pairs of a subset; their counts lead to its F1 at these cuts.

    Pairs are sorted by the distance of their similarity to the cut on the wrong side; DBSCAN's cut is the similarity
    ``1 - eps``. Ties are ordered by image ids. Memory does not grow with the number of mistakes.

    Args:
        pool: The images.
        images: Id and true lesion of each image; ids are distinct.
        cuts: Threshold for ``cosine``, eps for ``dbscan``, or both.
        groups: ``(n_images,)``, groups at the cut for every method of ``cuts`` except ``cosine``.
        max_pairs: Largest number of listed pairs of each kind.

    Returns:
        Misclassified pairs by method.
    """
    # With images ordered by id, pairs ordered by rows are ordered by ids.
    order = np.array(sorted(range(len(images)), key=lambda row: images[row][0]), dtype=np.int64)
    subset = _Images(tuple(images[row] for row in order.tolist()), pool.subset(order))
    labels = lesion_labels([lesion for _, lesion in subset.images])
    positives = subset.pool.of_pairs(positive_pairs(labels)).astype(np.float64)
    label_error_from = float(np.median(positives)) if len(positives) else float("nan")
    observers = {
        method: _Observer(labels, cut, groups[method][order] if method in groups else None, label_error_from, max_pairs)
        for method, cut in cuts.items()
        if len(positives) and not np.isnan(cut)
    }
    look_at(subset.pool, observers.values(), "misclassified pairs")
    n_images, n_lesions = len(labels), len(np.unique(labels))
    return {
        method: Mistakes(
            method,
            cut,
            n_images,
            n_lesions,
            len(positives),
            label_error_from,
            observers[method].outcomes() if method in observers else UNDEFINED,
            _merge(subset, observers[method].worst) if method in observers else (),
        )
        for method, cut in cuts.items()
    }


@dataclass(frozen=True)
class _Images:
    """Id and lesion of each image of a subset, ordered by id."""

    images: tuple[tuple[str, str], ...]
    pool: Pool


class _Observer:
    """Counts the outcomes of all pairs for one method, and keeps the worst misclassified ones."""

    def __init__(
        self, labels: LabelArray, cut: float, groups: LabelArray | None, label_error_from: float, max_pairs: int
    ) -> None:
        self._labels, self._groups, self._label_error_from = labels, groups, label_error_from
        self._limit = cut if groups is None else 1.0 - cut
        self._counts = np.zeros(4, dtype=np.int64)
        self.worst = [
            _Worst("false_positive", 1.0, self._limit, max_pairs),
            _Worst("false_negative", -1.0, self._limit, max_pairs),
        ]

    def add(self, tile: Tile) -> None:
        """Process the pairs of a tile."""
        alike, rows, columns = tile.similarities, tile.rows, tile.columns
        once = rows[:, None] < columns
        same = (self._labels[rows, None] == self._labels[columns]) & once
        if self._groups is None:
            # A Python float would be rounded to single precision first.
            predicted = (alike >= np.float64(self._limit)) & once
        else:
            predicted = (self._groups[rows, None] == self._groups[columns]) & once
        mistakes = {"false_positive": predicted & ~same, "false_negative": same & ~predicted}
        label_errors = mistakes["false_positive"] & (alike >= np.float64(self._label_error_from))
        self._counts += [np.count_nonzero(kind) for kind in (predicted & same, *mistakes.values(), label_errors)]
        for kept in self.worst:
            kept.add(*tile.pairs_where(mistakes[kept.error]))

    def outcomes(self) -> Outcomes:
        """Return the counts."""
        return Outcomes(*self._counts.tolist())


class _Worst:
    """Keeps the worst pairs of one kind; ties are ordered by row."""

    def __init__(self, error: Error, direction: float, limit: float, max_pairs: int) -> None:
        self.error = error
        self.rows = np.empty((0, 2), dtype=np.int64)
        self.excess = np.empty(0)
        self._direction = direction
        self._limit = limit
        self._max_pairs = max_pairs
        self._least = -np.inf

    def add(self, pairs: LabelArray, similarities: FloatArray) -> None:
        """Process pairs of this kind, rows ``(m, 2)``."""
        excess = self._direction * (similarities.astype(np.float64) - self._limit)
        is_worse = excess >= self._least
        self.rows = np.concatenate([self.rows, pairs[is_worse]])
        self.excess = np.concatenate([self.excess, excess[is_worse]])
        if len(self.excess) > self._max_pairs:
            kept = np.lexsort((self.rows[:, 1], self.rows[:, 0], -self.excess))[: self._max_pairs]
            self.rows, self.excess = self.rows[kept], self.excess[kept]
            self._least = float(self.excess[-1])


def _merge(subset: _Images, worst: Sequence[_Worst]) -> tuple[Mistake, ...]:
    """Return both kinds of mistakes as one list, worst first."""
    errors = [kept.error for kept in worst for _ in kept.rows]
    rows = np.concatenate([kept.rows for kept in worst])
    excess = np.concatenate([kept.excess for kept in worst])
    order = np.lexsort((rows[:, 1], rows[:, 0], -excess))
    similarities = subset.pool.of_pairs(rows).tolist()
    found = []
    for n in order.tolist():
        (image_a, lesion_a), (image_b, lesion_b) = (subset.images[row] for row in rows[n].tolist())
        found.append(Mistake(image_a, image_b, lesion_a, lesion_b, similarities[n], errors[n]))
    return tuple(found)


def mistakes_document(experiment: str, mistakes: Mistakes) -> dict[str, Any]:
    """Return the misclassified pairs of an experiment as plain values.

    Args:
        experiment: Name of the experiment.
        mistakes: Misclassified pairs of one method.

    Returns:
        ``experiment``, ``method``; ``threshold`` or ``eps``, depending on the method; ``possible_label_error_from``,
        the similarity of the median positive pair, from which a false positive may be a wrong label; ``counts``:
        ``n_images``, ``n_lesions``, ``n_pairs`` and ``n_positive_pairs`` of the subset, the outcomes of its pairs (see
        :class:`Outcomes`), ``listed_false_positive`` and ``listed_false_negative``; ``pairs``, worst first, with the
        attributes of :class:`Mistake`. Undefined values are None.
    """
    listed = [pair.error for pair in mistakes.pairs]
    return {
        "experiment": experiment,
        "method": mistakes.method,
        _CUT_NAMES[mistakes.method]: _defined(mistakes.cut),
        "possible_label_error_from": _defined(mistakes.label_error_from),
        "counts": {
            "n_images": mistakes.n_images,
            "n_lesions": mistakes.n_lesions,
            "n_pairs": mistakes.n_images * (mistakes.n_images - 1) // 2,
            "n_positive_pairs": mistakes.n_positive_pairs,
            **asdict(mistakes.outcomes),
            **{f"listed_{error}": listed.count(error) for error in get_args(Error)},
        },
        "pairs": [asdict(pair) for pair in mistakes.pairs],
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
