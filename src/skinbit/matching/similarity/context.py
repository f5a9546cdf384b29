"""Evidence of metadata columns about two photographs: values that agree, differ, or are missing.

Two photographs of the same lesion agree in sex and site, and nearly in age; those of different lesions agree by chance.
The evidence of an agreement or a difference is the log of a likelihood ratio (Fellegi and Sunter 1969). It is fitted
together with similarity and keypoints, so that redundant columns are not counted twice. Missing values are no
evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from skinbit.config import Block
from skinbit.matching.labels import LabelArray

Values = NDArray[np.float64]

_LEAST_DIFFERENT = 0.01
"""Smallest assumed share of positive pairs that differ, as one value in a hundred is wrong. Tables that state a
patient's sex once per lesion have no contradictions, but the next table may have some."""


class ColumnWeight(Block):
    """The evidence of a column about two photographs.

    Attributes:
        column: Name of the column.
        agreement: Log-odds that a pair gains if both values agree, 0 or more.
        difference: Log-odds that a pair loses if they differ, 0 or more.
    """

    column: str
    agreement: Annotated[float, Field(ge=0)]
    difference: Annotated[float, Field(ge=0)]

    @property
    def in_bits(self) -> tuple[str, float, float]:
        """Return the name, the gain of agreement and the loss of difference, as binary logarithms."""
        return self.column, self.agreement / np.log(2.0), self.difference / np.log(2.0)

    def lessened(self, share: float) -> Self:
        """Return a share, in [0, 1], of the column's evidence, as other evidence is partly redundant."""
        return type(self)(column=self.column, agreement=share * self.agreement, difference=share * self.difference)


@dataclass(frozen=True)
class Context:
    """Metadata columns of ``n`` images; NaN for missing values.

    Attributes:
        same: ``(s, n)`` codes of the columns in which both images of a pair must agree.
        evidence: ``(e, n)`` codes, numbers, or days of the columns that count as evidence.
        tolerances: ``(e,)`` largest difference between two values that agree.
    """

    same: Values
    evidence: Values
    tolerances: Values

    def subset(self, rows: LabelArray) -> Self:
        """Return the columns for some of the images."""
        return type(self)(self.same[:, rows], self.evidence[:, rows], self.tolerances)

    def forbids(self, first: LabelArray, second: LabelArray) -> NDArray[np.bool_]:
        """Whether pairs differ in a column in which they must agree.

        Args:
            first: Rows of the first image of each pair, of a shape that broadcasts with ``second``.
            second: Rows of the second image.
        """
        differ = np.zeros(np.broadcast_shapes(first.shape, second.shape), dtype=bool)
        for values in self.same:
            differ |= np.abs(values[first] - values[second]) > 0  # False for NaN
        return differ

    def compared(self, first: LabelArray, second: LabelArray) -> Values:
        """Return for each column of evidence whether pairs agree or differ.

        Args:
            first: ``(m,)`` rows of the first image of each pair.
            second: ``(m,)`` rows of the second image.

        Returns:
            ``(2 e, m)``: for each column, a row that is 1 if both agree, and a row that is -1 if they differ.
        """
        rows = []
        for values, tolerance in zip(self.evidence, self.tolerances, strict=True):
            distances = np.abs(values[first] - values[second])
            rows += [distances <= tolerance, -(distances > tolerance).astype(np.float64)]
        return np.array(rows, dtype=np.float64).reshape(2 * len(self.evidence), len(first))

    def support(self, first: LabelArray, second: LabelArray, weights: Sequence[ColumnWeight]) -> Values:
        """Return the log-odds that the columns add to pairs.

        Args:
            first: Rows of the first image of each pair, of a shape that broadcasts with ``second``.
            second: Rows of the second image.
            weights: Weight of each column of evidence.

        Returns:
            Float64 of the common shape; 0 if values are missing.
        """
        added = np.zeros(np.broadcast_shapes(first.shape, second.shape))
        for values, tolerance, weight in zip(self.evidence, self.tolerances, weights, strict=True):
            distances = np.abs(values[first] - values[second])
            added += weight.agreement * (distances <= tolerance) - weight.difference * (distances > tolerance)
        return added


def weigh(compared: Values, weights: Sequence[ColumnWeight]) -> Values:
    """Return the log-odds that columns add to pairs, from :meth:`Context.compared`."""
    slopes = np.array([slope for weight in weights for slope in (weight.agreement, weight.difference)])
    added: Values = slopes @ compared
    return added


def likelihood_ratios(
    compared: Values, is_positive: NDArray[np.bool_], pairs_each: Values, columns: Sequence[str]
) -> tuple[ColumnWeight, ...]:
    """Return the evidence of each column on its own (Fellegi and Sunter 1969).

    Args:
        compared: ``(2 e, m)`` from :meth:`Context.compared`, of labelled pairs.
        is_positive: ``(m,)``, whether they show the same lesion.
        pairs_each: ``(m,)``, number of pairs that each one represents.
        columns: Names of the ``e`` columns.

    Returns:
        Logs of likelihood ratios; 0 for a column in which positive pairs agree no more often than others.
    """
    weights = []
    for column, agrees, differs in zip(columns, compared[::2], compared[1::2], strict=True):
        rates = []
        for some in (is_positive, ~is_positive):
            agreeing, differing = (pairs_each[some] @ values[some] for values in (agrees, -differs))
            rates.append((agreeing + 0.5) / (agreeing + differing + 1.0))  # plus half a pair of each kind, as a prior
        positive, negative = min(rates[0], 1.0 - _LEAST_DIFFERENT), rates[1]
        weights.append(
            ColumnWeight(
                column=column,
                agreement=max(0.0, float(np.log(positive / negative))),
                difference=max(0.0, float(np.log((1.0 - negative) / (1.0 - positive)))),
            )
        )
    return tuple(weights)
