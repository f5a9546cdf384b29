"""Whitening of embeddings: directions in which photographs differ for irrelevant reasons get less weight.

``pca`` equalises the variance of all embeddings. ``learned`` equalises the variance *within* lesions, from different
zoom, rotation or light (Mikolajczyk and Matas 2007; Radenovic et al. 2019), and keeps the directions in which images
then differ most. It must be fitted on training lesions only, as it is part of the model. It suits frozen networks, as a
trained head has already weighted its directions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import GRID_BITS, FloatArray, LabelArray, unit_vectors

Kind = Literal["pca", "learned"]

_EXACT_BITS = 53
"""Integers of up to this many bits are exact in float64, and so are their sums."""

_LEAST_VARIANCE = 1e-12
"""Smallest variance relative to the largest: a direction with less is numerically flat and cannot be whitened."""


@dataclass(frozen=True)
class Whitening:
    """A whitening fitted on training lesions.

    Both arrays are rounded so that :meth:`apply` is exact in float64: the result of an image depends neither on other
    images nor on the number of threads.

    Attributes:
        mean: ``(d,)`` float64, mean of the embeddings on which it was fitted.
        projection: ``(d, dim)`` float64, one whitened direction per column.
    """

    mean: NDArray[np.float64]
    projection: NDArray[np.float64]

    def apply(self, embeddings: FloatArray) -> FloatArray:
        """Return whitened embeddings.

        Args:
            embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`, of the same model.

        Returns:
            ``(n, dim)`` float32, unit length again.

        Raises:
            ValueError: If an embedding has another dimension, or equals the mean.
        """
        if embeddings.shape[1:] != self.mean.shape:
            raise ValueError(
                f"embeddings have shape {embeddings.shape}, the whitening was fitted on dimension {len(self.mean)}. "
                "Remedy: use embeddings of the same model as for fitting."
            )
        return unit_vectors((embeddings.astype(np.float64) - self.mean) @ self.projection)


def fit_whitening(
    embeddings: FloatArray,
    labels: LabelArray | None = None,
    *,
    kind: Kind = "pca",
    dim: int | None = None,
    shrinkage: float = 0.1,
) -> Whitening:
    """Return a whitening fitted on the embeddings of training lesions.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        labels: ``(n,)``, the lesion of each image; ``pca`` needs none.
        kind: ``pca`` whitens the covariance of all images, ``learned`` that of the differences of positive pairs.
        dim: Number of directions, 1 to d, largest variance first (for ``learned``, variance of all images after
            whitening); None: all d.
        shrinkage: Share of the covariance, in [0, 1], that is replaced by a sphere of the same total variance. With
            fewer images than dimensions the covariance itself is singular. 0: no change; 1: no whitening.

    Returns:
        The whitening. The largest weight of each direction is positive.

    Raises:
        ValueError: If a value is out of range, ``learned`` has no positive pair, or the covariance is singular.
    """
    n_images, embedding_dim = embeddings.shape
    _check(n_images, embedding_dim, dim, shrinkage)
    wide = embeddings.astype(np.float64)
    mean = _on_grid(wide.mean(axis=0), 2.0**GRID_BITS)
    centred = wide - mean
    if kind == "pca":
        projection = _whitener(_shrunk(centred.T @ centred / n_images, shrinkage), dim or embedding_dim)
    else:
        within = _whitener(_shrunk(_within_lesion_covariance(wide, labels), shrinkage), embedding_dim)
        whitened = centred @ within
        projection = within @ _principal_axes(whitened.T @ whitened)[1]
    return Whitening(mean, _exact_directions(projection[:, :dim]))


def _check(n_images: int, embedding_dim: int, dim: int | None, shrinkage: float) -> None:
    if n_images < 2:
        raise ValueError(f"{n_images} images have no covariance to whiten. Remedy: fit on at least 2 images.")
    if dim is not None and not 1 <= dim <= embedding_dim:
        raise ValueError(f"dim is {dim}, embeddings have dimension {embedding_dim}. Remedy: set 1 to {embedding_dim}.")
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}. Remedy: set a share between 0 and 1.")


def _within_lesion_covariance(embeddings: NDArray[np.float64], labels: LabelArray | None) -> NDArray[np.float64]:
    """Return half the mean outer product of the differences of all positive pairs, ``(d, d)``."""
    if labels is None:
        raise ValueError("learned whitening needs the lesion of each image. Remedy: pass labels, or whiten with pca.")
    sizes = np.bincount(labels)
    n_positive_pairs = int((sizes * (sizes - 1) // 2).sum())
    if n_positive_pairs == 0:
        raise ValueError("no two images show one lesion. Remedy: fit on lesions with two images, or whiten with pca.")
    sums = np.zeros((len(sizes), embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    centres = sums / np.maximum(sizes, 1)[:, None]
    # For a lesion with m images, the outer products of its pairs' differences sum to m times those of deviations.
    deviations = (embeddings - centres[labels]) * np.sqrt(sizes[labels])[:, None]
    covariance: NDArray[np.float64] = deviations.T @ deviations / (2 * n_positive_pairs)
    return covariance


def _shrunk(covariance: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    shrunk: NDArray[np.float64] = (1 - shrinkage) * covariance + shrinkage * sphere
    return shrunk


def _whitener(covariance: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Return directions in which a covariance becomes the identity, ``(d, dim)``, largest variance first."""
    variances, axes = (values[..., :dim] for values in _principal_axes(covariance))
    if variances[-1] <= _LEAST_VARIANCE * variances[0]:
        raise ValueError(
            "the embeddings do not vary in every direction, so their covariance cannot be whitened. "
            "Remedy: raise shrinkage above 0, lower dim, or fit on more (distinct) images."
        )
    return axes / np.sqrt(variances)


def _principal_axes(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    variances, axes = np.linalg.eigh(covariance)
    return variances[::-1], axes[:, ::-1]


def _exact_directions(projection: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return directions that are equally scaled, with fixed signs, and rounded so that products are summed exactly."""
    largest = np.take_along_axis(projection, np.argmax(np.abs(projection), axis=0)[None], axis=0)
    directions = projection * np.sign(largest)
    # A difference of two unit vectors' coordinates has at most 1 bit above the embeddings' grid; d of them are added.
    bits = _EXACT_BITS - 1 - GRID_BITS - int(np.ceil(np.log2(len(projection))))
    exponents = np.ceil(np.log2(np.abs(largest)))
    return _on_grid(directions, 2.0 ** (bits - exponents))


def _on_grid(values: NDArray[np.float64], grid: float | NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.rint(values * grid) / grid
    return rounded
