"""How a baseline turns features into embeddings."""

import numpy as np
import pandas as pd

from skinbit.embedding.tables import Embeddings, Features
from skinbit.errors import InputError
from skinbit.matching.pairs import FloatArray, unit_vectors


def baseline_embeddings(features: Features, image_ids: list[str]) -> Embeddings:
    """Take frozen features as embeddings, the test views averaged.

    Args:
        features: Of at least these images.
        image_ids: Which images, in this order.

    Returns:
        One embedding per image.

    Raises:
        InputError: If an image has no features; names it.
    """
    row_of = {image_id: row for row, image_id in enumerate(features.image_ids)}
    missing = [image_id for image_id in image_ids if image_id not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} images of split.csv have no features, the first is {missing[0]}.\n"
            "  Remedy: the features are of an earlier split; run baseline_embeddings as a whole."
        )
    rows = [row_of[image_id] for image_id in image_ids]
    return Embeddings(tuple(image_ids), average_views(features.values[rows]), features.description)


def average_views(values: FloatArray) -> FloatArray:
    """Average a photograph's test views into one embedding; every view has the same say.

    Args:
        values: ``(n_images, n_views, feature_dim)``.

    Returns:
        ``(n_images, feature_dim)`` float32, unit length.
    """
    wide = values.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=2, keepdims=True)
    return unit_vectors((wide / np.maximum(lengths, np.finfo(np.float64).tiny)).mean(axis=1))


def lesions_of(embeddings: Embeddings, split: pd.DataFrame) -> list[str]:
    """Look up the lesion of each embedded image.

    Args:
        embeddings: Of ``n_images`` images.
        split: ``image_id, lesion_id, …`` of at least these images.

    Returns:
        ``n_images`` lesion ids, in the order of the embeddings.

    Raises:
        InputError: If the embeddings are of other images than the split.
    """
    lesion_of = dict(zip(split["image_id"], split["lesion_id"], strict=True))
    unknown = [image_id for image_id in embeddings.image_ids if image_id not in lesion_of]
    if unknown:
        raise InputError(
            f"{len(unknown)} embedded images are not in split.csv, the first is {unknown[0]}.\n"
            "  Remedy: the embeddings are of an earlier split; run baseline_embeddings again."
        )
    return [lesion_of[image_id] for image_id in embeddings.image_ids]
