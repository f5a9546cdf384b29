"""What makes a similarity: cosine, what keypoints say, neighbourhoods; and the way of all that through files."""

import json
from functools import partial

import numpy as np
import pytest

from skinbit.config import GeometryParams, RerankingParams, SimilarityParams
from skinbit.matching.assembly import (
    LabelledPool,
    Matching,
    calibrate,
    judged_pairs,
    pool_of,
)
from skinbit.matching.keypoints.shortlist import (
    NO_SHORTLIST,
    read_rows,
    read_shortlist,
    row_table,
    shortlist_table,
)
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Limits, Pool, similarity_matrix
from skinbit.matching.pairs.sampling import sample_pairs
from skinbit.matching.similarity.calibration import Calibration, calibration_error
from tests.matching.samples import given_pool, reranked, shortlist_of

COSINE, VERIFIED = SimilarityParams(), SimilarityParams(verification=True)


def photographs(seed: int, n_lesions: int = 30) -> LabelledPool:
    """Two noisy images of each lesion; keypoints agree on true pairs, hardly on false ones."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_lesions), 2)
    embeddings = unit_vectors(np.repeat(rng.normal(size=(n_lesions, 6)), 2, axis=0) + rng.normal(size=(len(labels), 6)))
    pairs = np.argwhere(np.triu(cosines_of(embeddings) > 0.5, 1))
    is_positive = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    return LabelledPool(
        embeddings, labels, shortlist_of(pairs, np.where(is_positive, 40, rng.integers(0, 4, len(pairs))))
    )


def similarities_of(*pool, **settings):
    return similarity_matrix(pool_of(*pool, **settings))


def cosines_of(embeddings):
    return similarity_matrix(Pool(embeddings))


def ranks_positives_first(pool: LabelledPool, similarities) -> float:
    """Return the share of images whose most similar other image shows the same lesion."""
    others = similarities - 2 * np.eye(len(similarities), dtype=np.float32)
    return float((pool.labels[others.argmax(axis=1)] == pool.labels).mean())


class TestSimilarities:
    def test_without_any_setting_they_are_cosines(self):
        pool = photographs(0)
        assert (similarities_of(pool.embeddings, COSINE) == cosines_of(pool.embeddings)).all()

    def test_keypoints_tell_apart_what_embeddings_do_not(self):
        pool, other = photographs(0), photographs(1)
        calibration = calibrate([other], VERIFIED)
        fused = similarities_of(pool.embeddings, VERIFIED, pool.shortlist, calibration)
        before = ranks_positives_first(pool, cosines_of(pool.embeddings))
        assert ranks_positives_first(pool, fused) > before + 0.1
        assert (fused == fused.T).all()
        assert np.abs(fused).max() <= 1

    def test_reranking_comes_last(self):
        pool = photographs(0)
        calibration = calibrate([photographs(1)], VERIFIED)
        both = VERIFIED.model_copy(update={"reranking": RerankingParams(k1=4, k2=1, weight=0.5)})
        fused = similarities_of(pool.embeddings, VERIFIED, pool.shortlist, calibration)
        mixed = similarities_of(pool.embeddings, both, pool.shortlist, calibration)
        assert (mixed == reranked(given_pool(fused), 4, 1, 0.5)).all()


class TestCalibration:
    def test_it_may_go_without_keypoints(self):
        logistic = SimilarityParams(calibration="logistic")
        calibration = calibrate([photographs(1)], logistic)
        pool = photographs(0)
        order = cosines_of(pool.embeddings).ravel().argsort(kind="stable")
        calibrated = similarities_of(pool.embeddings, logistic, calibration=calibration).ravel()[order]
        off_diagonal = calibrated[calibrated < 1]
        assert (np.diff(off_diagonal) >= 0).all()
        assert calibration.inliers_slopes == (0.0,) * len(calibration.inliers_slopes)

    def test_pairs_outside_of_the_shortlist_count_too(self):
        pool = photographs(1)
        calibration = calibrate([pool], VERIFIED)
        similarities = similarities_of(pool.embeddings, VERIFIED, pool.shortlist, calibration)[np.triu_indices(60, 1)]
        probabilities = 1 / (1 + np.exp(-8 * np.arctanh(similarities.astype(np.float64))))
        assert len(pool.shortlist.pairs) < 0.5 * len(probabilities)
        assert probabilities.sum() == pytest.approx(30, rel=0.05)

    def test_a_pair_that_was_not_compared_is_none_on_which_nothing_agrees(self):
        pool = photographs(1)
        calibration = calibrate([pool], VERIFIED)
        assert calibration.comparison_cost > 0
        one = shortlist_of([[0, 2]], [0])
        compared, not_compared = (
            similarities_of(pool.embeddings, VERIFIED, listed, calibration)[0, 2] for listed in (one, NO_SHORTLIST)
        )
        assert compared < not_compared

    def test_where_pairs_are_many_each_kept_one_stands_for_several(self, monkeypatch):
        pools = [photographs(1, 60), photographs(2, 60)]
        whole = calibrate(pools, VERIFIED)
        monkeypatch.setattr("skinbit.matching.assembly.sample_pairs", partial(sample_pairs, most_others=2000))
        thinned = calibrate(pools, VERIFIED)
        probability = [
            found.score(np.array([0.6]), found.support(np.array([2.0]), np.ones(1)))[0] for found in (whole, thinned)
        ]
        assert probability[1] == pytest.approx(probability[0], rel=0.2)

    @pytest.mark.parametrize("params", [VERIFIED, SimilarityParams(calibration="logistic")])
    def test_how_far_probabilities_are_right_is_told_on_other_lesions(self, params):
        calibration = calibrate([photographs(seed) for seed in (1, 2, 3)], params)
        judged = judged_pairs(calibration, photographs(4), params)
        assert 0 <= judged.brier_score < 0.1
        assert 0 <= calibration_error(judged.reliability()) < 0.05
        swapped = LabelledPool(photographs(4).embeddings, np.roll(photographs(4).labels, 1), photographs(4).shortlist)
        assert judged_pairs(calibration, swapped, params).brier_score > judged.brier_score

    def test_without_a_near_pair_nothing_is_told(self):
        pool = photographs(0)
        alone = LabelledPool(pool.embeddings, pool.labels, NO_SHORTLIST)
        judged = judged_pairs(calibrate([photographs(1)], VERIFIED), alone, VERIFIED)
        assert np.isnan([judged.brier_score, calibration_error(judged.reliability())]).all()

    def test_without_a_pair_of_one_lesion_it_says_so(self):
        pool = photographs(0)
        alone = LabelledPool(pool.embeddings, np.arange(60), NO_SHORTLIST)
        with pytest.raises(ValueError, match="nothing to separate"):
            calibrate([alone], VERIFIED)


class TestFiles:
    def test_a_calibration_survives(self):
        for kind in ("logistic", "isotonic"):
            calibration = calibrate([photographs(1)], SimilarityParams(verification=True, calibration=kind))
            assert Calibration.model_validate_json(json.dumps(calibration.model_dump()), strict=True) == calibration

    def test_a_shortlist_survives_by_ids_whatever_their_order(self):
        shortlist = shortlist_of([[0, 2], [1, 2]], [7, 0], [2.5, 1.0])
        table = shortlist_table(shortlist, ["007", "b", "NA"])
        assert table["image_a"].tolist() == ["007", "b"]
        found = read_shortlist(table, ["NA", "b", "007"])
        assert (found.pairs.tolist(), found.inliers.tolist()) == ([[0, 2], [0, 1]], [7, 0])
        assert found.zooms.tolist() == [2.5, 1.0]

    def test_a_shortlist_survives_by_rows(self):
        found = read_rows(row_table(shortlist_of([[0, 2]], [7], [1.5])))
        assert (found.pairs.tolist(), found.inliers.tolist(), found.zooms.tolist()) == ([[0, 2]], [7], [1.5])
        assert read_rows(row_table(NO_SHORTLIST)).pairs.shape == (0, 2)

    def test_a_model_says_what_its_similarities_are(self):
        pool = photographs(0)
        calibration = calibrate([photographs(1)], VERIFIED)
        matching = Matching(
            operating_points={},
            max_group_size=4,
            similarity=VERIFIED,
            geometry=GeometryParams(),
            calibration=calibration,
        )
        read = Matching.model_validate_json(json.dumps(matching.model_dump()), strict=True)
        expected = similarities_of(pool.embeddings, VERIFIED, pool.shortlist, calibration)
        found = read.pool(pool.embeddings, pool.shortlist, limits=Limits(100, 7))
        assert (similarity_matrix(found) == expected).all()
        assert found.limits == Limits(100, 7)
