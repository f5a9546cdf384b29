"""The exact sweeps against brute force and scikit-learn, ties and duplicates included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from sklearn.metrics import average_precision_score, roc_auc_score

from skinbit.matching import verification
from skinbit.matching.clustering import clusters_at, select_cut, spanning_tree, sweep_merges
from skinbit.matching.metrics import average_precision, recall_at_1, roc_auc
from skinbit.matching.pairs import cosine_similarities, lesion_labels, unit_vectors
from skinbit.matching.ranking import count_pairs, most_similar_pairs, rank_pairs
from skinbit.matching.selection import choice_at, select
from skinbit.matching.verification import select_threshold, sweep_thresholds, with_tail

EPS_GRID = np.linspace(0.01, 1.99, 34)


@st.composite
def embedded_images(draw):
    """Embeddings and lesions: small whole numbers in few dimensions give many ties and duplicates."""
    n_images = draw(st.integers(2, 28))
    n_dims = draw(st.integers(1, 3))
    coordinates = st.lists(st.integers(-2, 2), min_size=n_dims, max_size=n_dims)
    rows = draw(st.lists(coordinates, min_size=n_images, max_size=n_images))
    labels = draw(st.lists(st.integers(0, n_images // 2), min_size=n_images, max_size=n_images))
    spread = draw(st.sampled_from([0.0, 1e-4, 0.3]))
    noise = np.random.default_rng(draw(st.integers(0, 9))).normal(size=(n_images, n_dims))
    return unit_vectors(np.array(rows) + spread * noise + 1e-3), np.array(labels)


def all_pairs(embeddings, labels):
    """Every unordered pair by two plain loops: its similarity, and whether it shows one lesion."""
    found = []
    for i in range(len(embeddings)):
        for j in range(i + 1, len(embeddings)):
            similarity = np.float32(sum(float(a) * float(b) for a, b in zip(embeddings[i], embeddings[j], strict=True)))
            found.append((float(np.clip(similarity, -1, 1)), bool(labels[i] == labels[j])))
    return np.array([s for s, _ in found]), np.array([p for _, p in found], dtype=bool)


def brute_force_counts(predicted, positive):
    return int((predicted & positive).sum()), int((predicted & ~positive).sum())


def f1_of(tp, fp, n_positive):
    return 2 * tp / (tp + fp + n_positive)


@pytest.fixture(params=["everything is in the head", "the head is tiny"])
def head_size(request, monkeypatch):
    """A curve's head is made pair by pair, its tail by counting. Test both, and a head that has to grow."""
    if request.param == "the head is tiny":
        monkeypatch.setattr(verification, "_HEAD_AT_LEAST", 1)
        monkeypatch.setattr(verification, "_HEAD_PER_POSITIVE", 1)
        monkeypatch.setattr(verification, "_HEAD_GROWTH", 2)


def whole_curve(similarities, labels):
    return with_tail(sweep_thresholds(similarities, labels), similarities, rank_pairs(similarities, labels))


@pytest.mark.usefixtures("head_size")
class TestThresholdSweep:
    @given(embedded_images())
    def test_every_row_counts_what_brute_force_counts(self, images):
        embeddings, labels = images
        similarity, positive = all_pairs(embeddings, labels)
        sweep = whole_curve(cosine_similarities(embeddings), labels)
        assert (np.diff(sweep.cuts) < 0).all()
        for cut, reported, tp, fp in zip(sweep.cuts, sweep.reported, sweep.tp, sweep.fp, strict=True):
            assert (tp, fp) == brute_force_counts(similarity >= cut, positive)
            assert (tp, fp) == brute_force_counts(similarity >= reported, positive)

    @given(embedded_images())
    def test_the_best_f1_is_that_of_all_distinct_thresholds(self, images):
        embeddings, labels = images
        similarity, positive = all_pairs(embeddings, labels)
        similarities = cosine_similarities(embeddings)
        choice = select(sweep_thresholds(similarities, labels))
        if not positive.any():
            assert np.isnan(choice.f1)
            assert np.isnan(choice.cut)
            return
        tried = [brute_force_counts(similarity >= t, positive) for t in np.unique(similarity)]
        assert choice.f1 == pytest.approx(max(f1_of(tp, fp, positive.sum()) for tp, fp in tried), abs=1e-12)
        tp, fp = brute_force_counts(similarity >= choice.cut, positive)
        assert choice.precision == pytest.approx(tp / (tp + fp))
        assert choice.recall == pytest.approx(tp / positive.sum())

    @given(embedded_images())
    def test_the_reported_threshold_is_midway_between_neighbouring_similarities(self, images):
        embeddings, labels = images
        similarity, positive = all_pairs(embeddings, labels)
        similarities = cosine_similarities(embeddings)
        choice = select(sweep_thresholds(similarities, labels))
        if positive.any():
            upper = similarity[similarity >= choice.cut].min()
            lower = similarity[similarity < choice.cut].max(initial=-1.0)
            assert choice.cut == (upper + lower) / 2

    @given(embedded_images(), st.floats(-1, 1), st.floats(1e-6, 2))
    def test_a_searched_range_is_searched_exactly(self, images, low, width):
        embeddings, labels = images
        high = min(1.0, low + width)
        if high <= low:
            return
        similarity, positive = all_pairs(embeddings, labels)
        similarities = cosine_similarities(embeddings)
        ranking = rank_pairs(similarities, labels)
        choice = select_threshold(similarities, ranking, whole_curve(similarities, labels), low, high)
        if positive.any():
            distinct = similarity[(similarity >= low) & (similarity <= high)]
            tried = [brute_force_counts(similarity >= t, positive) for t in [low, high, *distinct]]
            assert low <= choice.cut <= high
            assert choice.f1 == pytest.approx(max(f1_of(tp, fp, positive.sum()) for tp, fp in tried), abs=1e-12)
            assert f1_of(*brute_force_counts(similarity >= choice.cut, positive), positive.sum()) == choice.f1

    @given(embedded_images())
    def test_ranking_metrics_equal_scikit_learn(self, images):
        embeddings, labels = images
        similarity, positive = all_pairs(embeddings, labels)
        ranking = rank_pairs(cosine_similarities(embeddings), labels)
        assert ranking.n_positive_pairs == positive.sum()
        if positive.any():
            assert average_precision(ranking) == pytest.approx(average_precision_score(positive, similarity))
        if positive.any() and not positive.all():
            assert roc_auc(ranking) == pytest.approx(roc_auc_score(positive, similarity))


class TestCounting:
    @given(embedded_images(), st.integers(1, 500), st.integers(1, 60))
    def test_the_most_similar_pairs_are_those_of_a_full_sort_up_to_a_whole_tie(self, images, block_values, n_pairs):
        embeddings, labels = images
        descending = np.sort(all_pairs(embeddings, labels)[0])[::-1]
        nearest, below = most_similar_pairs(cosine_similarities(embeddings), n_pairs, block_values)
        assert len(nearest) <= n_pairs
        assert nearest.tolist() == descending[: len(nearest)].tolist()
        if len(descending) <= n_pairs:
            assert (len(nearest), below) == (len(descending), -1.0)
        else:
            assert below == descending[len(nearest)]
            assert len(nearest) == 0 or below < nearest[-1]
            assert (descending >= below).sum() > n_pairs

    @given(embedded_images(), st.integers(1, 500))
    def test_counts_are_exact_at_any_value(self, images, block_values):
        embeddings, labels = images
        similarity, _ = all_pairs(embeddings, labels)
        values = np.unique(np.float32(np.concatenate([similarity[::3], [-1.0, -0.5, 0.0, 0.25, 1.0]])))
        at_least, above = count_pairs(cosine_similarities(embeddings), values, block_values)
        assert at_least.tolist() == [(similarity >= value).sum() for value in values]
        assert above.tolist() == [(similarity > value).sum() for value in values]


class TestEpsSweep:
    @pytest.mark.parametrize("min_samples", [1, 2])
    @given(images=embedded_images())
    def test_equals_dbscan_at_every_eps(self, images, min_samples):
        embeddings, labels = images
        similarities = cosine_similarities(embeddings)
        distances = np.maximum(1.0 - similarities.astype(np.float64), 0.0)
        tree = spanning_tree(similarities)
        sweep = sweep_merges(tree, labels, "dbscan")
        upper = np.triu_indices(len(labels), 1)
        positive = (labels[:, None] == labels)[upper]
        for eps in np.concatenate([EPS_GRID, sweep.cuts[sweep.cuts > 0], sweep.reported]):
            groups = dbscan_groups(distances, eps, min_samples)
            together = (groups[:, None] == groups)[upper]
            found = clusters_at(tree, eps)
            assert np.array_equal((found[:, None] == found)[upper], together)
            if positive.any():
                tp, fp = brute_force_counts(together, positive)
                assert choice_at(sweep, eps).f1 == pytest.approx(f1_of(tp, fp, positive.sum()), abs=1e-12)

    @given(embedded_images(), st.floats(0, 1.9), st.floats(1e-6, 2))
    def test_a_searched_range_is_searched_exactly(self, images, low, width):
        embeddings, labels = images
        high = min(2.0, low + width)
        sweep = sweep_merges(spanning_tree(cosine_similarities(embeddings)), labels, "dbscan")
        choice = select_cut(sweep, low, high)
        if sweep.n_positive_pairs:
            tried = [low, high, *sweep.cuts[(sweep.cuts >= low) & (sweep.cuts <= high)]]
            assert low <= choice.cut <= high
            assert choice.f1 == max(choice_at(sweep, eps).f1 for eps in tried)
            assert choice_at(sweep, choice.cut).f1 == choice.f1

    @given(embedded_images())
    def test_the_best_eps_is_midway_between_merges_and_best(self, images):
        embeddings, labels = images
        sweep = sweep_merges(spanning_tree(cosine_similarities(embeddings)), labels, "dbscan")
        choice = select(sweep)
        if sweep.n_positive_pairs:
            assert choice.f1 == sweep.f1.max()
            lower = sweep.cuts[sweep.cuts <= choice.cut].max()
            assert choice.cut == (lower + sweep.cuts[sweep.cuts > choice.cut].min(initial=2.0)) / 2

    def test_cluster_ids_count_from_0_in_the_order_of_the_rows(self):
        embeddings = unit_vectors(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
        tree = spanning_tree(cosine_similarities(embeddings))
        assert clusters_at(tree, 0.1).tolist() == [0, 1, 0, 2]
        assert clusters_at(tree, np.nan).tolist() == [0, 1, 2, 3]


def dbscan_groups(distances, eps, min_samples):
    """scikit-learn's labels, each noise image a group of one."""
    groups = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(distances).labels_.copy()
    noise = groups < 0
    groups[noise] = len(groups) + np.arange(noise.sum())
    return groups


class TestSimilarities:
    @given(embedded_images(), st.integers(1, 40))
    def test_do_not_depend_on_block_size_or_order(self, images, height):
        embeddings, _ = images
        whole = cosine_similarities(embeddings)
        order = np.random.default_rng(0).permutation(len(embeddings))
        assert np.array_equal(cosine_similarities(embeddings[order]), whole[np.ix_(order, order)])
        wide = embeddings.astype(np.float64)
        rows = [wide[start : start + height] @ wide.T for start in range(0, len(wide), height)]
        assert np.array_equal(np.clip(np.concatenate(rows), -1, 1).astype(np.float32), whole)
        assert np.array_equal(whole, whole.T)

    def test_are_exact_products_even_in_high_dimensions(self):
        vectors = np.random.default_rng(0).normal(size=(20, 2048))
        embeddings = unit_vectors(vectors).astype(np.float64)
        forwards = sum(np.outer(column, column) for column in embeddings.T)
        backwards = sum(np.outer(column, column) for column in embeddings.T[::-1])
        assert np.array_equal(forwards, backwards)

    def test_embeddings_have_unit_length(self):
        vectors = np.random.default_rng(0).normal(size=(50, 384)) * 1e3
        assert np.allclose(np.linalg.norm(unit_vectors(vectors).astype(float), axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
    def test_refuse_vectors_without_direction_and_name_the_row(self, bad):
        vectors = np.ones((3, 2))
        vectors[1] = bad
        with pytest.raises(ValueError, match="row 1"):
            unit_vectors(vectors)


class TestRecallAt1:
    def test_is_the_share_of_images_whose_nearest_shows_the_same_lesion(self):
        angles = np.radians([0, 10, 90, 95, 14])
        embeddings = unit_vectors(np.c_[np.cos(angles), np.sin(angles)])
        # Nearest others: 0→1 hit, 1→4 miss, 2→3 hit, 3→2 hit; image 4 has no partner and does not count.
        assert recall_at_1(cosine_similarities(embeddings), np.array([0, 0, 1, 1, 2])) == 3 / 4

    def test_ties_count_as_their_share(self):
        embeddings = unit_vectors(np.ones((3, 2)))
        assert recall_at_1(cosine_similarities(embeddings), np.array([0, 0, 1])) == 1 / 2

    def test_is_undefined_without_partners(self):
        embeddings = unit_vectors(np.eye(3))
        assert np.isnan(recall_at_1(cosine_similarities(embeddings), np.array([0, 1, 2])))


def test_lesions_are_numbered_in_the_order_of_their_ids():
    assert lesion_labels(["b", "a", "b", "10"]).tolist() == [2, 1, 2, 0]
