"""Nodes: frozen features, computed once per image and backbone, and the baseline embeddings made from them."""

import logging
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    ComputeParams,
    DataParams,
    GeometryParams,
    LoaderParams,
    SimilarityParams,
    ViewParams,
)
from skinbit.data.executor import Execution
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import PieceStore, Wanted, complete, of_photographs
from skinbit.embedding.embeddings import baseline_embeddings, fit_to_training_lesions
from skinbit.embedding.pixels import PixelMaker, complete_pixels
from skinbit.embedding.tables import Embeddings, Features, Gathered, Pixels
from skinbit.matching.keypoints.sift import KeypointTable

logger = logging.getLogger(__name__)


def check_backbone(
    row_problems: pd.DataFrame,
    backbone: BackboneParams,
    loader: LoaderParams,
    compute: ComputeParams,
    seed: int,
) -> dict[str, Any]:
    """Load a backbone before any image is decoded, so that a wrong name or missing weights end the run at once.

    Args:
        row_problems: Not used; invalid metadata must end the run before weights are loaded.
        backbone: Settings of the backbone.
        loader: Batch size.
        compute: Device, precision and threads.
        seed: Seed of the weights if they are not pretrained.

    Returns:
        The description of the backbone, which is part of the key of its features.

    Raises:
        InputError: If the backbone cannot be loaded.
    """
    from skinbit.embedding.backbones import load_backbone
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.features import describe_backbone

    loaded = load_backbone(backbone, seed)
    description = describe_backbone(loaded, backbone, resolve_compute(compute), loader.batch_size)
    logger.info(
        "%s: %.1f million weights, %d features, %s; %d views of an image",
        backbone.model,
        sum(tensor.numel() for tensor in loaded.module.parameters()) / 1e6,
        loaded.feature_dim,
        description["compute"]["device"],
        backbone.test_views.n_views,
    )
    return description


def extract_features(
    images: ImageFolder,
    image_index: pd.DataFrame,
    description: dict[str, Any],
    feature_cache: Callable[[str, str], PieceStore[Features]],
    backbone: BackboneParams,
    loader: LoaderParams,
    compute: ComputeParams,
    data: DataParams,
    executor: Execution,
    seed: int,
    *,
    name: str,
    file: str = "features",
) -> Gathered[Features]:
    """Compute the features of images that are not in the cache, one per test view.

    Args:
        images: The folder of photographs.
        image_index: The images used, with the hashes of their files.
        description: Description of the backbone, from :func:`check_backbone`.
        feature_cache: Looks up features of earlier runs; those from other files, weights or settings are not used.
        backbone: Settings of the backbone.
        loader: Worker processes and batch size.
        compute: Device, precision and threads.
        data: Limits of a photograph.
        executor: Size of a piece, and where pieces are made.
        seed: Seed of the weights if they are not pretrained.
        name: Name of the features in the cache.
        file: Name of the file in the cache, for images of the study or for distractors.

    Returns:
        Where the features of all images used are, in the order of the index.

    Raises:
        InputError: If the weights differ from the description, a photograph has changed since it was listed, or its
            features are unusable.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.features import Extraction, feature_key
    from skinbit.embedding.makers import FeatureMaker

    image_ids = tuple(image_index["image_id"])
    keys = tuple(feature_key(description, sha256) for sha256 in image_index["sha256"])
    extraction = Extraction(ListedPhotographs(images, image_index, data), loader, resolve_compute(compute))
    maker = FeatureMaker(extraction, backbone, seed, keys, description)
    wanted = Wanted(f"{name}, features of {len(keys)} photographs", "image", keys, image_ids)
    places = complete(wanted, feature_cache(name, file), maker, of_photographs(executor, loader.batch_size))
    return Gathered(image_ids, keys, description, places)


def decode_photographs(
    images: ImageFolder,
    image_index: pd.DataFrame,
    description: dict[str, Any],
    pixel_cache: PieceStore[Pixels],
    canvas: float,
    loader: LoaderParams,
    data: DataParams,
    executor: Execution,
) -> Gathered[Pixels]:
    """Decode all images used that are not in the cache, at the sizes for training and validation.

    Args:
        images: The folder of photographs.
        image_index: The images used, with the hashes of their files.
        description: Description of the backbone, with its preprocessing and test views.
        pixel_cache: Pixels of earlier runs; those from other files or of other sizes are not used.
        canvas: Side of decoded images, as a multiple of the backbone's image size.
        loader: Worker processes and batch size.
        data: Limits of a photograph.
        executor: Size of a piece, and where pieces are made.

    Returns:
        Where the decoded photographs are, in the order of the index.
    """
    from skinbit.embedding.preprocessing import Preprocessing

    preprocessing = Preprocessing.model_validate(description["preprocessing"])
    maker = PixelMaker(
        photographs=ListedPhotographs(images, image_index, data),
        preprocessing=preprocessing,
        views=ViewParams.model_validate(description["test_views"]),
        canvas_size=math.ceil(preprocessing.image_size * canvas),
        loader=loader,
    )
    return complete_pixels(maker, pixel_cache, of_photographs(executor))


def extract_training_views(
    pixels: Pixels,
    description: dict[str, Any],
    feature_cache: Callable[[str, str], PieceStore[Features]],
    backbone: BackboneParams,
    augmentation: AugmentationParams,
    loader: LoaderParams,
    compute: ComputeParams,
    executor: Execution,
    seed: int,
    *,
    name: str,
    n_views: int,
) -> Gathered[Features]:
    """Compute features of random augmentations of all images that are not in the cache, for frozen backbones.

    Args:
        pixels: Decoded photographs.
        description: Description of the backbone, from :func:`check_backbone`.
        feature_cache: Looks up views of earlier runs.
        backbone: Settings of the backbone.
        augmentation: Ranges of the augmentation.
        loader: Batch size.
        compute: Device, precision and threads.
        executor: Size of a piece, and where pieces are made.
        seed: Seed of the augmentation.
        name: Name of the views in the cache.
        n_views: Smallest number of views per image.

    Returns:
        Where the training views of every image are: ``n_views``, or more if the cache has them.

    Raises:
        InputError: If the weights differ from the description, or the features of a view are unusable.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.features import feature_key
    from skinbit.training.views import ViewMaker, complete_views, describe_views

    described = describe_views(description, pixels, augmentation, seed)
    keys = tuple(feature_key(described, sha256) for sha256 in pixels.keys)
    batch_size = loader.batch_size
    maker = ViewMaker(pixels, backbone, augmentation, resolve_compute(compute), batch_size, seed, keys, described)
    making = of_photographs(executor, batch_size)
    return complete_views(maker, name, n_views, feature_cache(name, "training_views"), making)


def embed_subset(features: Features, split: pd.DataFrame, similarity: SimilarityParams, *, fold: int) -> Embeddings:
    """Make the baseline embeddings of one fold's validation images, or of the test images.

    Args:
        features: Features of all images used.
        split: ``image_id, lesion_id, subset, fold``.
        similarity: Whether embeddings are whitened, and whether zooms are compared.
        fold: Number of the fold; -1 is the test subset.

    Returns:
        Their embeddings, in the order of the split.
    """
    image_ids = split.loc[split["fold"] == fold, "image_id"].tolist()
    embeddings = baseline_embeddings(features, image_ids, similarity.zoom_pairs)
    return _whitened(embeddings, features, split, similarity, fold)


def embed_distractors(
    distractor_features: Features,
    features: Features,
    split: pd.DataFrame,
    similarity: SimilarityParams,
    *,
    fold: int,
) -> Embeddings:
    """Make the baseline embeddings of the distractors in the same way as those of one fold's validation images.

    Args:
        distractor_features: Features of all distractors.
        features: Features of all images used, if embeddings are whitened.
        split: ``image_id, lesion_id, subset, fold``.
        similarity: Whether embeddings are whitened, and whether zooms are compared.
        fold: Number of the fold.

    Returns:
        One embedding per distractor.
    """
    image_ids = list(distractor_features.image_ids)
    embeddings = baseline_embeddings(distractor_features, image_ids, similarity.zoom_pairs)
    return _whitened(embeddings, features, split, similarity, fold)


def _whitened(
    embeddings: Embeddings, features: Features, split: pd.DataFrame, similarity: SimilarityParams, fold: int
) -> Embeddings:
    params = similarity.whitening
    if params is None or not len(embeddings.values):
        return embeddings
    return fit_to_training_lesions(features, split, fold, params, similarity.zoom_pairs).apply(embeddings)


def find_keypoints(
    images: ImageFolder,
    image_index: pd.DataFrame,
    keypoint_cache: PieceStore[KeypointTable],
    geometry: GeometryParams,
    data: DataParams,
    compute: ComputeParams,
    executor: Execution,
) -> KeypointTable:
    """Find the keypoints of every image, once for all experiments and folds.

    Args:
        images: The folder of photographs.
        image_index: ``image_id, file, sha256, width, height``.
        keypoint_cache: Keypoints of an earlier run.
        geometry: Size of the image, number and contrast of keypoints.
        data: Limits of a photograph.
        compute: Number of threads.
        executor: Size of a piece, and where pieces are made.

    Returns:
        Keypoints of all images.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.matching.keypoints.sift import extract_photographs

    threads = resolve_compute(compute).threads
    photographs = Photographs((ListedPhotographs(images, image_index, data),))
    return extract_photographs(photographs, keypoint_cache, geometry, threads, of_photographs(executor))
