"""Pools without a matrix of similarities, with calibrations and keypoints, against the matrix: every figure."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skinbit.errors import InputError
from skinbit.matching import verification
from skinbit.matching.blocked import Limits, evaluate_embeddings_in_blocks, evaluate_pool
from skinbit.matching.blocks import part_of, similarities_between, similarities_of_pairs, similarity_tiles, upper_rows
from skinbit.matching.calibration import Calibration
from skinbit.matching.evaluation import evaluate_at
from skinbit.matching.judging import among_distractors, judge_at
from skinbit.matching.large_pool import LargePool, large_pool
from skinbit.matching.methods import CUTS
from skinbit.matching.metrics import recall_at_1
from skinbit.matching.mistakes import find_mistakes
from skinbit.matching.operating_points import operating_points
from skinbit.matching.pairs import lesion_labels, positive_pairs, unit_vectors
from skinbit.matching.pools import DISTRACTORS, fold_pools, threshold_curve
from skinbit.matching.selection import select
from skinbit.matching.similarity import NO_SHORTLIST, Shortlist, pool_similarities, similarities_in_memory
from skinbit.matching.survey import best_f1_and_recall
from skinbit.matching.verification import sweep_thresholds
from skinbit.params import EvaluationParams, MemoryParams, RerankingParams, ScalingParams, SimilarityParams

CALIBRATION = Calibration("logistic", -9.0, 11.0, (0.7, 0.5, 0.6, 1.4, 2.0))
NONE = MemoryParams(max_matrix_images=1)


@st.composite
def pools(draw, least=2, most=30):
    """Similarities as a matrix, what they are computed from, and lesions; with ties, copies, scaling, calibration."""
    n_images = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    labels = rng.integers(0, max(1, n_images // 2), n_images)
    vectors = rng.normal(size=(n_images, 5))[labels] + draw(st.floats(0.05, 1.5)) * rng.normal(size=(n_images, 5))
    kind = draw(st.sampled_from(["plain", "grid", "copies"]))
    vectors = rng.integers(-2, 3, size=(n_images, 5)) + 1e-3 if kind == "grid" else vectors
    vectors = vectors[rng.integers(0, n_images, n_images)] if kind == "copies" else vectors
    scaling = draw(st.sampled_from([None, ScalingParams(share=0.1, least=2)]))
    shortlist, calibration = NO_SHORTLIST, None
    if draw(st.booleans()):
        pairs = np.argwhere(np.triu(rng.random((n_images, n_images)) < 0.2, 1))
        shortlist, calibration = Shortlist(pairs, rng.integers(0, 40, len(pairs))), CALIBRATION
        if scaling is not None:
            calibration = replace(CALIBRATION, pool_sizes=(2, 20), crowdings=(0.1, 0.3))
    inputs = (unit_vectors(vectors), SimilarityParams(scaling=scaling))
    pool = similarities_in_memory(*inputs, NONE, shortlist, calibration)
    assert isinstance(pool, LargePool)
    return pool_similarities(*inputs, shortlist, calibration), pool, [f"lesion {label}" for label in labels]


class TestSimilarities:
    @given(pools(), st.integers(1, 24 * 30**2))
    def test_in_tiles_are_those_of_the_matrix_bit_for_bit(self, pool, block_bytes):
        matrix, large, _ = pool
        for tile in similarity_tiles(large, block_bytes):
            height, width = tile.similarities.shape
            wanted = matrix[tile.first_row :, tile.first_column :][:height, :width].copy()
            if tile.is_diagonal:
                np.fill_diagonal(wanted, -np.inf)
            assert np.array_equal(tile.similarities, wanted)

    @given(pools(), st.randoms(use_true_random=False))
    def test_of_some_images_and_pairs_are_those_of_the_matrix(self, pool, random):
        matrix, large, _ = pool
        rows = np.array(random.sample(range(len(large)), random.randint(1, len(large))))
        columns = np.array(random.sample(range(len(large)), random.randint(1, len(large))))
        is_other = rows[:, None] != columns
        found = similarities_between(large, rows, columns)
        assert np.array_equal(found[is_other], matrix[np.ix_(rows, columns)][is_other])
        pairs = positive_pairs(np.zeros(len(large), np.int64))
        assert np.array_equal(similarities_of_pairs(large, pairs), matrix[tuple(pairs.T)])
        part, expected = part_of(large, rows), part_of(matrix, rows)
        pairs = positive_pairs(np.zeros(len(rows), np.int64))
        assert np.array_equal(similarities_of_pairs(part, pairs), expected[tuple(pairs.T)])

    @given(pools())
    def test_row_by_row_are_those_of_the_matrix(self, pool):
        matrix, large, _ = pool
        for start, stop, block in upper_rows(large):
            once = np.arange(start, stop)[:, None] < np.arange(start, len(large))
            assert np.array_equal(block[once], matrix[start:stop, start:][once])
        assert stop == len(large)

    def test_are_a_matrix_up_to_the_limit_and_cannot_be_re_ranked_beyond(self):
        embeddings = unit_vectors(np.eye(3))
        params = SimilarityParams(reranking=RerankingParams())
        matrix = similarities_in_memory(embeddings, params, MemoryParams(max_matrix_images=3))
        assert np.array_equal(matrix, pool_similarities(embeddings, params))
        with pytest.raises(InputError, match=r"3 images are to be re-ranked.*\n.*memory\.max_matrix_images=3 where"):
            similarities_in_memory(embeddings, params, MemoryParams(max_matrix_images=2))


def cuts_of(draw):
    similarity = st.floats(0, 1)
    return {method: draw(similarity) for method in CUTS}


class TestFigures:
    @given(pools(least=5), st.data())
    def test_of_an_evaluation_are_those_of_the_matrix_with_and_without_given_cuts(self, pool, data):
        matrix, large, lesion_ids = pool
        params = EvaluationParams(max_group_size=3)
        wanted, found = (evaluate_pool(similarities, lesion_ids, params) for similarities in (matrix, large))
        assert found.metrics == pytest.approx(wanted.metrics, abs=0, nan_ok=True)
        assert np.array_equal(found.clusters, wanted.clusters)
        cuts = cuts_of(data.draw)
        wanted, found = (
            evaluate_at(evaluate_pool(similarities, lesion_ids, params, cuts), cuts) for similarities in (matrix, large)
        )
        assert found == pytest.approx(wanted, abs=0, nan_ok=True)

    @given(pools(), st.sampled_from([2, 3]), st.data())
    def test_of_a_judgement_are_those_of_the_matrix(self, pool, cap, data):
        matrix, large, lesion_ids = pool
        assume(cap < len(lesion_ids))
        cuts = cuts_of(data.draw) | data.draw(st.sampled_from([{}, {"average": np.nan}, {"cosine": np.nan}]))
        wanted, found = (judge_at(similarities, lesion_ids, cuts, cap) for similarities in (matrix, large))
        assert found.metrics == pytest.approx(wanted.metrics, abs=0, nan_ok=True)
        assert found.predicted.keys() == wanted.predicted.keys()
        for method, pairs in wanted.predicted.items():
            for name, values in asdict(pairs).items():
                assert np.array_equal(getattr(found.predicted[method], name), values)
        added = [
            among_distractors(judged, similarities, lesion_ids, 1.5, 0.2)
            for judged, similarities in ((wanted, matrix), (found, large))
        ]
        assert added[1] == pytest.approx(added[0], abs=0, nan_ok=True)

    @given(pools(least=5), st.integers(1, 60), st.sampled_from([1, 4]))
    def test_of_an_evaluation_by_some_near_pairs_are_those_of_the_matrix(self, pool, first_pairs, first_part):
        matrix, large, lesion_ids = pool
        params = EvaluationParams(max_group_size=3)
        limits = Limits(24 * 7**2, first_pairs=first_pairs, first_part=first_part)
        with pytest.MonkeyPatch.context() as patch:  # pools of a few dozen images have few pairs
            patch.setattr(verification, "_HEAD_AT_LEAST", 1)
            patch.setattr(verification, "_HEAD_PER_POSITIVE", 1)
            found = evaluate_embeddings_in_blocks(large, lesion_ids, params, limits=limits)
        wanted = evaluate_pool(matrix, lesion_ids, params)
        assert found.uncertain == ()
        assert found.metrics == pytest.approx(wanted.metrics, abs=0, nan_ok=True)

    @given(pools())
    def test_of_a_training_are_those_of_the_matrix(self, pool):
        matrix, large, lesion_ids = pool
        labels = lesion_labels(lesion_ids)
        wanted = select(sweep_thresholds(matrix, labels)).f1, recall_at_1(matrix, labels)
        assert np.array_equal(best_f1_and_recall(large, labels, block_bytes=2000), wanted, equal_nan=True)

    @given(pools(), st.floats(0, 1), st.integers(1, 6))
    def test_of_mistakes_are_those_of_the_matrix(self, pool, cut, max_pairs):
        matrix, large, lesion_ids = pool
        image_ids = [str(97 * row % 89) for row in range(len(lesion_ids))]
        cuts = {"cosine": cut, "dbscan": 1.0 - cut}
        wanted, found = (
            find_mistakes(similarities, lesion_ids, image_ids, cuts, max_pairs) for similarities in (matrix, large)
        )
        for method in cuts:
            assert repr(found[method]) == repr(wanted[method])

    @pytest.mark.parametrize("kind", ["lesions", DISTRACTORS])
    def test_of_pools_are_those_of_the_matrix(self, kind):
        rng = np.random.default_rng(0)
        labels = lesion_labels([f"{lesion}" for lesion in rng.integers(0, 60, 90)])
        embeddings = unit_vectors(rng.normal(size=(90, 6))[labels] + 0.5 * rng.normal(size=(90, 6)))
        pairs = positive_pairs(labels)
        shortlist = Shortlist(pairs, rng.integers(0, 30, len(pairs)))
        matrix = pool_similarities(embeddings, SimilarityParams(), shortlist, CALIBRATION)
        large = large_pool(embeddings, shortlist.pairs, shortlist.inliers, CALIBRATION)
        points = [operating_points(threshold_curve(matrix, labels, []), -1.0, 1.0, 90)]
        distances = evaluate_pool(matrix, labels.astype(str).tolist(), EvaluationParams()).points["average"]
        others = {"cosine": points, "average": [distances]}
        wanted, found = (fold_pools(similarities, labels, others, 4, 3, kind) for similarities in (matrix, large))
        assert len(wanted) > 8
        pd.testing.assert_frame_equal(found, wanted, check_exact=True)
