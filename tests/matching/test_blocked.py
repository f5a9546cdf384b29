"""Evaluation without the matrix against evaluation with it: every figure, whatever the blocks and the order."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching import blocked, verification
from skinbit.matching.blocked import Limits, could_gain, evaluate_embeddings_in_blocks
from skinbit.matching.clustering import MergeTree, clusters_at, spanning_tree, sweep_merges
from skinbit.matching.evaluation import evaluate_at, evaluate_subset
from skinbit.matching.linkage import linkage_tree
from skinbit.matching.methods import CUTS
from skinbit.matching.metrics import mean_average_precision, recall_at
from skinbit.matching.pairs import cosine_similarities, positive_pairs, unit_vectors
from skinbit.matching.selection import select
from skinbit.matching.survey import find_positives, survey_pairs
from skinbit.params import EvaluationParams

THRESHOLDS = (0.3, 0.77)


@pytest.fixture(autouse=True)
def small_heads(monkeypatch):
    """Pools of a few dozen images have few pairs: start with few of them."""
    monkeypatch.setattr(verification, "_HEAD_AT_LEAST", 1)
    monkeypatch.setattr(verification, "_HEAD_PER_POSITIVE", 1)
    monkeypatch.setattr(verification, "_HEAD_GROWTH", 2)
    monkeypatch.setattr(blocked, "_GROWTH", 2)


@st.composite
def labelled_pools(draw, kinds=("lesions", "tied", "duplicated", "hub")):
    """Embeddings and lesions: well or badly told apart, with ties, duplicates, or many images around one."""
    n_images, n_dims = draw(st.integers(1, 40)), draw(st.integers(2, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    labels = rng.integers(0, max(1, n_images // draw(st.integers(1, 4))), n_images)
    vectors = rng.normal(size=(n_images, n_dims))[labels] + draw(st.floats(0.05, 2.0)) * rng.normal(
        size=(n_images, n_dims)
    )
    kind = draw(st.sampled_from(kinds))
    if kind == "tied":
        vectors = rng.integers(-2, 3, size=(n_images, n_dims)) + 1e-3
    if kind == "duplicated":
        vectors = vectors[rng.integers(0, n_images, n_images)]
    if kind == "hub":
        vectors[: n_images // 2] = vectors[0] + 1e-2 * vectors[: n_images // 2]
    return unit_vectors(vectors), labels


limits = st.builds(Limits, st.integers(24 * 3**2, 24 * 30**2), first_pairs=st.integers(1, 80))
ranges = st.sampled_from([((-1.0, 1.0), (0.0, 2.0)), ((0.2, 0.9), (0.1, 0.7)), ((0.95, 1.0), (0.05, 0.3))])


def parameters(cap, searched):
    return EvaluationParams(max_group_size=cap, threshold_range=searched[0], eps_range=searched[1])


def assert_same(found, wanted):
    assert found.uncertain == ()
    assert list(found.metrics) == list(wanted.metrics)
    assert np.array_equal([*found.metrics.values()], [*wanted.metrics.values()], equal_nan=True)
    assert np.array_equal(found.clusters, wanted.clusters)


def assert_part_of(found, wanted, reach):
    """A curve is the start of the whole one, and nothing up to its reach is missing."""
    n_rows = len(found.cuts)
    assert n_rows == np.count_nonzero(wanted.cuts <= reach)
    for name in ("cuts", "tp", "fp"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)[:n_rows])
    assert np.array_equal(found.reported[:-1], wanted.reported[: max(0, n_rows - 1)])


@given(labelled_pools(), limits, st.sampled_from([2, 3, 4]), ranges)
def test_every_figure_is_that_of_the_matrix(pool, limits, cap, searched):
    embeddings, labels = pool
    if cap >= len(embeddings):
        return  # without a cap SciPy chooses among equally close groups
    lesion_ids, params = labels.astype(str).tolist(), parameters(cap, searched)
    wanted = evaluate_subset(embeddings, lesion_ids, params, THRESHOLDS)
    found = evaluate_embeddings_in_blocks(embeddings, lesion_ids, params, THRESHOLDS, limits=limits)
    assert_same(found, wanted)
    for method, reach in found.reach.items():
        assert_part_of(found.sweeps[method], wanted.sweeps[method], reach)
    for method in CUTS:
        for rho in (1.0, 1.5, 3.0, 100.0):
            cuts = [one.points[method].best_cut(rho) for one in (found, wanted)]
            assert cuts[0] == cuts[1] or np.isnan(cuts).all()
        kept, whole = found.points[method], wanted.points[method]
        if np.isfinite(kept.reach):
            assert kept.reach == kept.cuts[-1]
            for name in ("cuts", "tp", "fp"):
                assert np.array_equal(getattr(kept, name), getattr(whole, name)[: len(kept.cuts)])


@given(labelled_pools(kinds=("lesions",)), limits)
def test_without_a_cap_and_ties_too(pool, limits):
    embeddings, labels = pool
    lesion_ids, params = labels.astype(str).tolist(), EvaluationParams(max_group_size=None)
    found = evaluate_embeddings_in_blocks(embeddings, lesion_ids, params, limits=limits)
    assert_same(found, evaluate_subset(embeddings, lesion_ids, params))


@given(labelled_pools(), limits, st.integers(0, 9))
def test_the_order_of_images_changes_no_figure(pool, limits, seed):
    embeddings, labels = pool
    order = np.random.default_rng(seed).permutation(len(labels))
    # Of equally close groups those with the first rows merge first, so linkages may depend on the order of ties.
    params = EvaluationParams(max_group_size=2)
    figures = [
        evaluate_embeddings_in_blocks(vectors, ids.astype(str).tolist(), params, limits=limits).metrics
        for vectors, ids in ((embeddings, labels), (embeddings[order], labels[order]))
    ]
    for name, value in figures[0].items():
        if not name.startswith(("average_", "complete_")) or name == "average_precision":
            assert value == pytest.approx(figures[1][name], rel=1e-12, nan_ok=True)


def separated(n_images=300):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(n_images), rng.integers(1, 4, n_images))[:n_images]
    vectors = rng.normal(size=(n_images, 24))[labels] + 0.5 * rng.normal(size=(n_images, 24))
    return unit_vectors(vectors), labels.astype(str).tolist()


def test_few_of_the_pairs_make_the_figures_of_clear_groups_certain():
    embeddings, lesion_ids = separated()
    found = evaluate_embeddings_in_blocks(embeddings, lesion_ids, EvaluationParams(), limits=Limits(first_pairs=3000))
    assert_same(found, evaluate_subset(embeddings, lesion_ids, EvaluationParams()))
    assert max(found.reach.values()) < 1


def test_curves_reach_cuts_that_were_chosen_elsewhere():
    embeddings, lesion_ids = separated(150)
    params, cuts = EvaluationParams(), {"cosine": 0.4, "dbscan": 0.9, "average": 1.1, "complete": 0.3}
    found = evaluate_embeddings_in_blocks(embeddings, lesion_ids, params, [0.4], cuts, Limits(first_pairs=200))
    assert evaluate_at(found, cuts) == evaluate_at(evaluate_subset(embeddings, lesion_ids, params, [0.4]), cuts)
    short = evaluate_embeddings_in_blocks(embeddings, lesion_ids, params, limits=Limits(first_pairs=1000))
    with pytest.raises(ValueError, match="lies beyond"):
        evaluate_at(short, {"average": 1.9})


def test_where_certainty_takes_too_many_pairs_it_is_not_claimed():
    rng = np.random.default_rng(3)
    embeddings, lesion_ids = unit_vectors(rng.normal(size=(80, 12))), rng.integers(0, 30, 80).astype(str).tolist()
    few = Limits(most_pairs=60, first_pairs=40)
    found = evaluate_embeddings_in_blocks(embeddings, lesion_ids, EvaluationParams(), limits=few)
    wanted = evaluate_subset(embeddings, lesion_ids, EvaluationParams()).metrics
    assert "average" in found.uncertain
    # What ranks pairs, and the best threshold, need no near pairs held.
    for name in ("cosine_f1", "cosine_threshold", "roc_auc", "average_precision", "mutual_f1", "recall_at_5"):
        assert found.metrics[name] == wanted[name]
    assert found.metrics["mean_average_precision"] == wanted["mean_average_precision"]


def test_equal_images_alone_make_nothing_certain():
    embeddings, lesion_ids = unit_vectors(np.ones((40, 3))), [str(row // 2) for row in range(40)]
    found = evaluate_embeddings_in_blocks(embeddings, lesion_ids, EvaluationParams(), limits=Limits(most_pairs=100))
    assert set(found.uncertain) == {"dbscan", "average", "complete"}
    assert (
        found.metrics["cosine_f1"] == evaluate_subset(embeddings, lesion_ids, EvaluationParams()).metrics["cosine_f1"]
    )


@given(labelled_pools(), st.sampled_from(["single", "average", "complete"]), st.sampled_from([2, 4, None]))
def test_where_no_gain_is_possible_there_is_none(pool, linkage, cap):
    embeddings, labels = pool
    similarities, pairs = cosine_similarities(embeddings), positive_pairs(labels)
    if len(pairs) == 0:
        return
    cap = None if linkage == "single" else cap
    tree = spanning_tree(similarities) if linkage == "single" else linkage_tree(similarities, linkage, cap)
    whole = sweep_merges(tree, labels, "dbscan")
    for reach in whole.cuts:
        part = MergeTree(tree.edges[tree.distances <= reach], tree.distances[tree.distances <= reach], tree.n_images)
        sweep = sweep_merges(part, labels, "dbscan")
        best = select(sweep)
        if not could_gain(sweep, best.cut, clusters_at(tree, reach), pairs, cap):
            assert select(whole).f1 == best.f1
            beyond = 2.0 * whole.tp / (whole.tp + 7.0 * whole.fp + whole.n_positive_pairs)
            assert beyond.argmax() < len(sweep.cuts)


def test_a_gain_is_ruled_out_where_strangers_are_joined():
    # Two lesions of two images; 0 and 1 sit with a stranger each, so joining them would cost too much.
    tree = MergeTree(np.array([[0, 4], [2, 3], [1, 5]]), np.array([0.1, 0.2, 0.3]), 6)
    labels, pairs = np.array([0, 0, 1, 1, 2, 3]), np.array([[0, 1], [2, 3]])
    sweep = sweep_merges(tree, labels, "average")
    assert could_gain(sweep, 0.25, clusters_at(tree, 0.3), pairs, None) is False
    with_one_stranger = np.array([0, 1, 2, 2, 0, 3])
    assert could_gain(sweep, 0.25, with_one_stranger, pairs, None) is True
    assert could_gain(sweep, 0.25, with_one_stranger, pairs, 2) is False


@given(labelled_pools(), st.integers(24 * 2**2, 24 * 30**2), st.booleans())
def test_ranks_of_partners_are_those_of_the_matrix(pool, block_bytes, is_one_lesion):
    embeddings, labels = pool
    labels = np.zeros_like(labels) if is_one_lesion else labels  # many partners are counted in another way
    similarities = cosine_similarities(embeddings)
    positives = find_positives(embeddings, labels)
    survey = survey_pairs(embeddings, positives, 1.0, np.empty(0, np.float32), block_bytes)
    for k in (1, 5):
        assert np.array_equal(survey.recall_at[k], recall_at(similarities, labels, k), equal_nan=True)
    wanted = mean_average_precision(similarities, labels)
    assert np.array_equal(survey.mean_average_precision, wanted, equal_nan=True)


def test_an_evaluation_from_the_matrix_has_no_end():
    embeddings, lesion_ids = separated(30)
    found = evaluate_subset(embeddings, lesion_ids, EvaluationParams())
    assert found == replace(found, reach={}, uncertain=())
