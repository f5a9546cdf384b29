"""Whitening of embeddings: directions in which photographs differ for no reason of interest lose their say.

``pca`` evens out the spread of all embeddings. ``learned`` evens out the spread *within* lesions, what another zoom,
rotation or light changes (Mikolajczyk and Matas 2007; Radenovic et al. 2019), and keeps the directions in which images
then differ most. Fit it on training lesions only: it is part of the model. It suits frozen networks: a head that was
trained on lesions has weighed its directions already.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import GRID_BITS, FloatArray, LabelArray, unit_vectors

Kind = Literal["pca", "learned"]

_EXACT_BITS = 53
"""Whole numbers of so many bits are exact in float64, and so are their sums while they have no more."""

_LEAST_VARIANCE = 1e-12
"""Relative to the largest: a direction with less is numerically flat and cannot be brought to variance 1."""


@dataclass(frozen=True)
class Whitening:
    """A whitening fitted on training lesions.

    Both arrays stand on grids on which :meth:`apply` is exact in float64: an image's result depends neither on the
    images beside it nor on the number of threads.

    Attributes:
        mean: ``(d,)`` float64, of the embeddings that it was fitted on.
        projection: ``(d, dim)`` float64, one whitened direction per column.
    """

    mean: NDArray[np.float64]
    projection: NDArray[np.float64]

    def apply(self, embeddings: FloatArray) -> FloatArray:
        """Whiten embeddings.

        Args:
            embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`, of the same model.

        Returns:
            ``(n, dim)`` float32, unit length again.

        Raises:
            ValueError: If an embedding has another dimension, or is the mean itself and so has no direction left.
        """
        if embeddings.shape[1:] != self.mean.shape:
            raise ValueError(
                f"embeddings have shape {embeddings.shape}, the whitening was fitted on dimension {len(self.mean)}. "
                "Remedy: whiten embeddings of the model that it was fitted with."
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
    """Fit a whitening on the embeddings of training lesions.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        labels: ``(n,)``, the lesion of each image; ``pca`` needs none.
        kind: ``pca`` whitens the covariance of all images, ``learned`` that of the differences of positive pairs.
        dim: Directions to keep, 1 to d, those with the largest variance first (of all images, for ``learned`` after
            whitening); none: all d.
        shrinkage: Share in [0, 1] of the covariance that is replaced by a sphere of the same total variance. With fewer
            images than dimensions the covariance alone is singular. 0 trusts it as it is, 1 whitens nothing.

    Returns:
        The whitening. Each direction's largest weight is positive.

    Raises:
        ValueError: If a value is out of range, ``learned`` has no positive pair, or the covariance is singular; with
            the remedy.
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
    # Over the pairs of a lesion with m images, the outer products of differences sum to m times those of deviations.
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
    """Scale all directions alike, fix their signs, and round each so that products with embeddings sum up exactly."""
    largest = np.take_along_axis(projection, np.argmax(np.abs(projection), axis=0)[None], axis=0)
    directions = projection * np.sign(largest)
    # A difference of two unit vectors' coordinates has at most 1 bit above the embeddings' grid; d of them are added.
    bits = _EXACT_BITS - 1 - GRID_BITS - int(np.ceil(np.log2(len(projection))))
    exponents = np.ceil(np.log2(np.abs(largest)))
    return _on_grid(directions, 2.0 ** (bits - exponents))


def _on_grid(values: NDArray[np.float64], grid: float | NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.rint(values * grid) / grid
    return rounded
