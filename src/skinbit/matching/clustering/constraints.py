"""What is known of images before any are joined: their lesions, and what people have answered about pairs of them."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering.merges import components
from skinbit.matching.labels import LabelArray, first_of_lesion, positive_pairs


def _no_pairs() -> LabelArray:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Constraints:
    """Images that are joined from the start, and images that never come together; they do not contradict.

    Attributes:
        known: ``(n,)`` the known lesion of each image, -1 where it has none: images of one lesion are joined from the
            start, those of two never come together.
        must: ``(m, 2)`` rows of images that are joined from the start.
        cannot: ``(k, 2)`` rows of images that never come together, nor do images that are joined to them.
    """

    known: LabelArray
    must: LabelArray = field(default_factory=_no_pairs)
    cannot: LabelArray = field(default_factory=_no_pairs)

    @cached_property
    def starts(self) -> LabelArray:
        """The first row of the group that each image is in from the start, ``(n,)``."""
        groups = components(len(self.known), np.concatenate([self.must, first_of_lesion(self.known)]))
        first_rows: LabelArray = np.unique(groups, return_index=True)[1][groups]
        return first_rows

    @property
    def links(self) -> LabelArray:
        """The first image of each of these groups with every further one, ``(l, 2)``."""
        return first_of_lesion(self.starts)

    @cached_property
    def has_known(self) -> NDArray[np.bool_]:
        """Whether the group with each name, that of its first row, holds an image of a known lesion, ``(n,)``."""
        has_known = np.zeros(len(self.known), dtype=bool)
        has_known[self.starts[self.known >= 0]] = True
        return has_known

    @property
    def n_together(self) -> int:
        """Pairs that are joined from the start, without those of two known images."""
        of_groups, of_known = np.bincount(self.starts), np.bincount(self.starts[self.known >= 0])
        return int((of_groups * (of_groups - 1) // 2).sum() - (of_known * (of_known - 1) // 2).sum())

    @property
    def n_apart(self) -> int:
        """Pairs that answers keep apart."""
        return len(self.apart(self.starts))

    def forbidden(self, names: LabelArray) -> LabelArray:
        """Return which groups never come together.

        Args:
            names: ``(n,)`` the group of each image, any numbers.

        Returns:
            ``(p, 2)`` names, the lower one first, ascending; without what is known of lesions.
        """
        return np.unique(np.sort(names[self.cannot], axis=1), axis=0)

    def apart(self, names: LabelArray) -> LabelArray:
        """Return the pairs of images whose groups never come together, ``(p, 2)``, as in :meth:`forbidden`."""
        order = np.argsort(names, kind="stable")
        ranked = names[order]
        found = [_no_pairs()]
        for pair in self.forbidden(names).tolist():
            left, right = (order[slice(*np.searchsorted(ranked, (name, name + 1)))] for name in pair)
            found.append(np.column_stack([np.repeat(left, len(right)), np.tile(right, len(left))]))
        return np.sort(np.concatenate(found), axis=1)

    def not_compared(self) -> LabelArray:
        """Return the pairs of images that are joined from the start, or that answers keep apart, ``(p, 2)``."""
        return np.concatenate([positive_pairs(self.starts), self.apart(self.starts)])


def unconstrained(n_images: int) -> Constraints:
    """Return that nothing is known of some images."""
    return Constraints(np.full(n_images, -1, dtype=np.int64))
