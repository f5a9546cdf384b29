"""From features to the embeddings of a baseline."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.config import ViewParams, WhiteningParams
from skinbit.data.mapped import take
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.tables import Embeddings, Features
from skinbit.errors import InputError
from skinbit.matching.labels import FloatArray, lesion_labels, unit_vectors
from skinbit.matching.similarity.whitening import Whitening, fit_whitening

_BLOCK_ROWS = 1024
"""Number of images whose views are averaged at once."""

_LEAST_DISTANCE = 1e-4
"""The mean cosine distance of two images below which embeddings count as the same."""


def baseline_embeddings(features: Features, image_ids: list[str], with_zooms: bool = False) -> Embeddings:
    """Return frozen features as embeddings, averaged over test views.

    Args:
        features: Features of at least these images.
        image_ids: Image ids, in the order of the result.
        with_zooms: Whether embeddings also have the vectors of single zooms.

    Returns:
        One embedding per image.

    Raises:
        InputError: If an image has no features.
    """
    row_of = {image_id: row for row, image_id in enumerate(features.image_ids)}
    missing = [image_id for image_id in image_ids if image_id not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} images of split.csv have no features, the first is {missing[0]}.\n"
            "  Remedy: the features are from an earlier split; run baseline_embeddings as a whole."
        )
    rows = np.array([row_of[image_id] for image_id in image_ids], dtype=np.int64)
    values, zooms = _average(average_views, features, rows), None
    if with_zooms:
        views = ViewParams.model_validate(features.description["test_views"])
        zooms = _average(partial(average_rotations, views=views), features, rows)
    return Embeddings(tuple(image_ids), values, features.description, zooms)


def _average(average: Callable[[FloatArray], FloatArray], features: Features, rows: NDArray[np.int64]) -> FloatArray:
    """Return averages of the views of some rows, of which only a block is in memory at once."""
    starts = range(0, max(len(rows), 1), _BLOCK_ROWS)
    return np.concatenate([average(take(features.values, rows[start : start + _BLOCK_ROWS])) for start in starts])


@dataclass(frozen=True)
class Whitenings:
    """Whitening transforms of embeddings.

    Attributes:
        values: Whitening of the averages over all test views.
        zooms: Whitening of the vectors of single zooms, which are distributed differently; None if zooms are not used.
    """

    values: Whitening
    zooms: Whitening | None = None

    def apply(self, embeddings: Embeddings) -> Embeddings:
        """Return whitened embeddings, including their zooms."""
        values, zooms = self.values.apply(embeddings.values), embeddings.zooms
        if self.zooms is not None and zooms is not None:
            whitened = self.zooms.apply(zooms.reshape(-1, zooms.shape[2]))
            zooms = whitened.reshape(*zooms.shape[:2], whitened.shape[1])
        return replace(embeddings, values=values, zooms=zooms)


def fit_to_training_lesions(
    features: Features, split: pd.DataFrame, fold: int, params: WhiteningParams, with_zooms: bool = False
) -> Whitenings:
    """Return a whitening fitted on the embeddings of all lesions except those of one fold and of the test subset.

    Args:
        features: Features of all images.
        split: ``image_id, lesion_id, subset, fold``.
        fold: Fold to leave out; -1: only the test subset is left out.
        params: Kind, dimension, shrinkage.
        with_zooms: Whether to fit a whitening of single zooms, too.

    Returns:
        The fitted whitenings.

    Raises:
        InputError: If there are too few embeddings.
    """
    training = split[(split["fold"] != fold) & (split["fold"] != TEST_FOLD)]
    embeddings = baseline_embeddings(features, training["image_id"].tolist(), with_zooms)
    labels = lesion_labels(training["lesion_id"].tolist())
    fit = partial(fit_whitening, kind=params.kind, dim=params.dim, shrinkage=params.shrinkage)
    try:
        of_values, zooms = fit(embeddings.values, labels), embeddings.zooms
        if zooms is None:
            return Whitenings(of_values)
        return Whitenings(of_values, fit(zooms.reshape(-1, zooms.shape[2]), np.repeat(labels, zooms.shape[1])))
    except ValueError as error:
        raise InputError(f"Embeddings cannot be whitened: {error}") from error


def hardly_differ(values: FloatArray) -> bool:
    """Whether embeddings are so alike that cosines cannot tell images apart.

    Args:
        values: ``(n, d)``, unit length.

    Returns:
        True where the mean cosine of two different images is within 1e-4 of 1; False for fewer than two images.
    """
    n_images = len(values)
    if n_images < 2:
        return False
    # The squared length of the sum is the sum of all cosines, those of an image with itself among them.
    total = float(np.square(values.sum(axis=0, dtype=np.float64)).sum())
    return (total - n_images) / (n_images * (n_images - 1)) > 1.0 - _LEAST_DISTANCE


def average_views(values: FloatArray) -> FloatArray:
    """Return the average of a photograph's test views, all with the same weight.

    Args:
        values: ``(n_images, n_views, feature_dim)``.

    Returns:
        ``(n_images, feature_dim)`` float32, unit length.
    """
    wide = values.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=2, keepdims=True)
    return unit_vectors((wide / np.maximum(lengths, np.finfo(np.float64).tiny)).mean(axis=1))


def average_rotations(values: FloatArray, views: ViewParams) -> FloatArray:
    """Return the average over rotations for every zoom of a photograph.

    Args:
        values: ``(n_images, n_views, feature_dim)``; all zooms of the first rotation come first.
        views: Rotations and zooms.

    Returns:
        ``(n_images, n_zooms, feature_dim)`` float32, unit length.
    """
    n_images, _, feature_dim = values.shape
    n_zooms, n_rotations = len(views.zooms), len(views.rotations)
    by_zoom = values.reshape(n_images, n_rotations, n_zooms, feature_dim).swapaxes(1, 2)
    flat = by_zoom.reshape(n_images * n_zooms, n_rotations, feature_dim)
    return average_views(flat).reshape(n_images, n_zooms, feature_dim)


def lesions_of(embeddings: Embeddings, split: pd.DataFrame, fold: int) -> list[str]:
    """Return the lesion of each embedded image.

    Args:
        embeddings: Embeddings of a fold's images.
        split: ``image_id, lesion_id, subset, fold``.
        fold: Number of the fold; -1 is the test subset.

    Returns:
        ``n_images`` lesion ids, in the order of the embeddings.

    Raises:
        InputError: If the embeddings are not exactly those of this fold's images.
    """
    expected = split[split["fold"] == fold]
    if list(embeddings.image_ids) != expected["image_id"].tolist():
        raise InputError(
            f"The embeddings on disk are not those of the images in fold {fold} (-1: test subset) of split.csv.\n"
            "  Remedy: they are from an earlier split; run baseline_embeddings again."
        )
    return expected["lesion_id"].tolist()
