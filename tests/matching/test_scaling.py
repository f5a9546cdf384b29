"""Local scaling against a loop over pairs, and what it is for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from skinbit.config import ScalingParams, SimilarityParams
from skinbit.matching.assembly import LabelledPool, calibrate, pool_of
from skinbit.matching.cuts.survey import best_f1_and_recall
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.similarity.hubness import hubness, missing_hubness, usual_hubness


@st.composite
def images(draw, least=1):
    """Embeddings; some are copies of others."""
    n_images = draw(st.integers(least, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    vectors = rng.normal(size=(n_images, 4))
    return unit_vectors(vectors[rng.integers(0, n_images, n_images)] if draw(st.booleans()) else vectors)


def params():
    return st.builds(ScalingParams, share=st.floats(0.01, 1), least=st.integers(1, 6))


def slow_hubness(embeddings, n_near):
    cosines = similarity_matrix(Pool(embeddings)).astype(np.float64)
    means = []
    for row, alike in enumerate(cosines):
        others = sorted((value for column, value in enumerate(alike) if column != row), reverse=True)
        means.append(sum(others[:n_near]) / len(others[:n_near]) if others else 0.0)
    return means


class TestHubness:
    @given(images(), params())
    def test_is_the_mean_cosine_of_an_image_with_its_nearest_others(self, embeddings, params):
        found = hubness(embeddings, params)
        assert found == pytest.approx(slow_hubness(embeddings, params.n_near(len(embeddings))), abs=1e-12)

    @given(images(least=2), params(), st.randoms(use_true_random=False))
    def test_depends_neither_on_the_order_of_the_images_nor_on_blocks(self, embeddings, params, random):
        order = np.array(random.sample(range(len(embeddings)), len(embeddings)))
        found = hubness(embeddings, params)
        assert np.array_equal(hubness(embeddings[order], params), found[order])
        assert np.array_equal(hubness(embeddings, params, block_values=random.randint(1, 200)), found)

    def test_an_image_alone_has_no_surroundings(self):
        assert hubness(unit_vectors(np.ones((1, 3))), ScalingParams()).tolist() == [0.0]

    @pytest.mark.parametrize(
        ("settings", "n_images", "n_near"),
        [
            ({}, 10, 4),
            ({}, 640, 8),
            ({}, 100_000, 1250),
            ({"share": 0.5, "least": 1}, 3, 2),
            ({"least": 8, "most": 8}, 100_000, 8),
        ],
        ids=str,
    )
    def test_surroundings_are_a_share_of_the_pool_within_bounds(self, settings, n_images, n_near):
        assert ScalingParams(**settings).n_near(n_images) == n_near

    def test_true_means_the_defaults_and_false_none(self):
        assert SimilarityParams.model_validate({"scaling": True}).scaling == ScalingParams()
        assert SimilarityParams.model_validate({"scaling": False}) == SimilarityParams()

    def test_scaled_similarities_are_calibrated(self):
        assert SimilarityParams(scaling=ScalingParams()).is_calibrated
        assert not SimilarityParams().is_calibrated

    def test_bounds_out_of_order_are_refused(self):
        with pytest.raises(ValidationError, match="most is 3, but least is 4: lower least, or raise most"):
            ScalingParams(most=3)


def archive(n_lesions, seed, n_images=2):
    """Embeddings of lesions that differ little from each other, and the lesion of each image."""
    rng = np.random.default_rng(seed)
    lesions = rng.normal(size=(n_lesions, 12)) + 0.7
    labels = np.repeat(np.arange(n_lesions), n_images)
    return unit_vectors(lesions[labels] + 0.35 * rng.normal(size=(len(labels), 12))), labels


class TestFewImages:
    PARAMS = SimilarityParams(scaling=ScalingParams(share=0.05))
    FOLDS = tuple(archive(60, seed) for seed in (1, 2, 3))

    @pytest.fixture
    def calibration(self):
        return calibrate([LabelledPool(*fold, NO_SHORTLIST) for fold in self.FOLDS], self.PARAMS)

    def likeness_of_strangers(self, n_images, calibration):
        """Return the mean similarity of two lesions in pools of so many images, each of a lesion of its own."""
        strangers, _ = archive(240, seed=9, n_images=1)
        pools = [strangers[start : start + n_images] for start in range(0, 240 - n_images + 1, n_images)]
        found = [similarity_matrix(pool_of(pool, self.PARAMS, calibration=calibration)) for pool in pools]
        return np.mean([similarities[np.triu_indices(n_images, 1)].mean() for similarities in found])

    @pytest.mark.parametrize("n_images", [2, 3, 5, 20])
    def test_strangers_look_no_more_alike_among_few_images_than_among_many(self, calibration, n_images):
        among_many = self.likeness_of_strangers(240, calibration)
        assert self.likeness_of_strangers(n_images, calibration) < among_many + 0.05

    @pytest.mark.parametrize("n_images", [2, 3, 5])
    def test_they_would_look_alike_without_what_the_folds_tell_of_few_images(self, calibration, n_images):
        unaware = calibration.model_copy(update={"pool_sizes": (), "crowdings": ()})
        among_many = self.likeness_of_strangers(240, unaware)
        assert self.likeness_of_strangers(n_images, unaware) > among_many + 0.2

    @pytest.mark.parametrize("n_images", [0, 1])
    def test_no_image_or_one_has_no_pair_to_scale(self, calibration, n_images):
        alone = self.FOLDS[0][0][:n_images]
        found = pool_of(alone, self.PARAMS, calibration=calibration)
        assert similarity_matrix(found).shape == (n_images, n_images)

    def test_usual_hubness_rises_up_to_pools_of_which_surroundings_are_a_share(self):
        sizes, means = usual_hubness(self.FOLDS, ScalingParams(share=0.1))
        assert sizes[0] == 2
        assert sizes[-1] == ScalingParams(share=0.1).least_pool == 40
        assert list(sizes) == sorted(set(sizes))
        assert means[0] < means[len(means) // 2] < means[-1]

    def test_usual_hubness_ends_with_the_smallest_subset(self):
        assert usual_hubness([*self.FOLDS, archive(7, seed=4)], ScalingParams())[0] == (2, 3, 4, 7)

    @given(st.integers(2, 200))
    def test_what_is_missing_falls_with_the_number_of_images(self, n_images):
        known = ((2, 10, 50), (0.1, 0.3, 0.4))
        missing = missing_hubness(n_images, *known)
        assert missing >= missing_hubness(n_images + 1, *known) >= 0
        assert (missing == 0) == (n_images >= 50)
        assert missing_hubness(n_images, (), ()) == 0


class TestScaledSimilarities:
    @given(images(), params())
    def test_are_cosines_less_the_mean_hubness_of_both_images(self, embeddings, params):
        cosines, crowded = similarity_matrix(Pool(embeddings)), hubness(embeddings, params)
        found = similarity_matrix(pool_of(embeddings, SimilarityParams(scaling=params)))
        for a, row in enumerate(found):
            for b, value in enumerate(row):
                expected = 1.0 if a == b else np.clip(cosines[a, b] - (crowded[a] + crowded[b]) / 2, -1, 1)
                assert value == np.float32(expected)

    @given(images(), params())
    def test_are_symmetric_and_in_range(self, embeddings, params):
        found = similarity_matrix(pool_of(embeddings, SimilarityParams(scaling=params)))
        assert np.array_equal(found, found.T)
        assert found.dtype == np.float32
        assert np.abs(found).max() <= 1

    def test_a_photograph_that_looks_like_all_others_no_longer_hides_partners(self):
        # Ten lesions of two images, and one image in the midst of all: for each image nearer than its partner.
        towards = np.eye(10)
        pairs = np.concatenate([towards + 0.55 * np.roll(towards, 1, axis=1), towards - 0.55 * np.roll(towards, 1, 1)])
        embeddings = unit_vectors(np.vstack([pairs + 0.12, np.ones(10)]))
        labels = np.append(np.tile(np.arange(10), 2), 10)
        scaled = pool_of(embeddings, SimilarityParams(scaling=ScalingParams(share=0.2, least=1)))
        assert best_f1_and_recall(scaled, labels)[1] > best_f1_and_recall(Pool(embeddings), labels)[1]
