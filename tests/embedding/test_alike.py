"""Embeddings that hardly differ are noticed, since every metric made of them is noise."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import CutParams, MemoryParams, SimilarityParams
from skinbit.embedding.embeddings import hardly_differ
from skinbit.embedding.tables import Embeddings
from skinbit.matching.labels import unit_vectors
from skinbit.pipelines.evaluation.nodes.scoring import evaluate_embeddings


def around_one_point(spread: float, n_images: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return unit_vectors(np.eye(1, 16) + spread * rng.normal(size=(n_images, 16)))


@given(st.floats(0, 0.2), st.integers(2, 12), st.integers(0, 1000))
def test_it_is_the_mean_cosine_of_two_images_that_counts(spread, n_images, seed):
    values = around_one_point(spread, n_images, seed)
    cosines = values.astype(np.float64) @ values.T.astype(np.float64)
    distance = 1.0 - cosines[np.triu_indices(n_images, k=1)].mean()
    if abs(distance - 1e-4) > 1e-6:  # of single precision
        assert hardly_differ(values) == (distance < 1e-4)


@pytest.mark.parametrize("n_images", [0, 1])
def test_one_image_differs_from_none(n_images):
    assert not hardly_differ(around_one_point(0.0, n_images))


@pytest.mark.parametrize(("spread", "warned"), [(1e-4, True), (0.1, False)])
def test_a_fold_of_such_embeddings_is_named(spread, warned, caplog):
    ids = tuple(f"image{number}" for number in range(8))
    lesions = [f"lesion{number // 2}" for number in range(8)]
    split = pd.DataFrame({"image_id": ids, "lesion_id": lesions, "subset": "train", "fold": 3})
    cuts = CutParams(threshold_range=(-1, 1), eps_range=(0, 2), max_group_size=4)
    embeddings = Embeddings(ids, around_one_point(spread), {}, None)
    with caplog.at_level(logging.WARNING, logger="skinbit"):
        evaluate_embeddings(embeddings, split, cuts, SimilarityParams(), MemoryParams(), name="dinov2_baseline", fold=3)
    said = [line for line in caplog.messages if line.startswith("fold 3 of dinov2_baseline: ")]
    assert len(said) == warned
