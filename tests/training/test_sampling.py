"""How an epoch's lesions are dealt into batches, and which lesions stand together because they look alike."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.labels import unit_vectors
from skinbit.training.sampling import hard_order, lesion_batches


@st.composite
def labelled_images(draw):
    """Lesions of one to five images, in any order."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=30))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(draw(st.integers(0, 9))).permutation(labels)


@st.composite
def look_alikes(draw):
    """Centroids of lesions; whole numbers in few dimensions give many ties."""
    n_dims = draw(st.integers(1, 3))
    coordinates = st.lists(st.integers(-2, 2), min_size=n_dims, max_size=n_dims)
    rows = draw(st.lists(coordinates, min_size=2, max_size=25))
    return unit_vectors(np.array(rows) + 0.5)


def epoch_rng(seed, epoch=0):
    return np.random.default_rng([seed, epoch])


def dealt_lesions(batch, labels):
    """Return the lesions of a batch in their order, and check that the images of each stand together."""
    changes = [batch[0], *(after for before, after in pairwise(batch) if labels[before] != labels[after])]
    lesions = labels[changes].tolist()
    assert len(set(lesions)) == len(lesions)
    return lesions


def check_batches(batches, labels, lesions_per_batch, images_per_lesion):
    by_batch = [dealt_lesions(batch, labels) for batch in batches]
    assert sorted(lesion for lesions in by_batch for lesion in lesions) == list(range(labels.max() + 1))
    sizes = [len(lesions) for lesions in by_batch]
    assert max(sizes) <= lesions_per_batch
    assert max(sizes) - min(sizes) <= 1
    shown = np.concatenate(batches)
    assert len(set(shown.tolist())) == len(shown)
    assert np.bincount(labels[shown]).tolist() == np.minimum(np.bincount(labels), images_per_lesion).tolist()


lesions_per_batch = st.integers(2, 12)
images_per_lesion = st.integers(2, 6)
seeds = st.integers(0, 2**32 - 1)


@given(labelled_images(), lesions_per_batch, images_per_lesion, seeds)
def test_every_lesion_is_dealt_once_with_as_many_distinct_images_as_it_has(labels, at_most, n_images, seed):
    check_batches(lesion_batches(labels, at_most, n_images, epoch_rng(seed)), labels, at_most, n_images)


@given(labelled_images(), lesions_per_batch, images_per_lesion, seeds)
def test_the_same_holds_in_an_order_that_is_given(labels, at_most, n_images, seed):
    order = np.random.default_rng(seed).permutation(labels.max() + 1)
    batches = lesion_batches(labels, at_most, n_images, epoch_rng(seed), order)
    check_batches(batches, labels, at_most, n_images)
    assert [lesion for batch in batches for lesion in dealt_lesions(batch, labels)] == order.tolist()


@given(labelled_images(), st.integers(3, 12), seeds)
def test_no_lesion_is_left_without_another_in_its_batch(labels, at_most, seed):
    for batch in lesion_batches(labels, at_most, 2, epoch_rng(seed)):
        assert len(set(labels[batch])) >= 2


def test_there_are_as_few_batches_as_possible():
    labels = np.repeat(np.arange(97), 2)
    batches = lesion_batches(labels, 48, 2, epoch_rng(0))
    assert sorted(len(batch) // 2 for batch in batches) == [32, 32, 33]


def test_fewer_lesions_than_a_batch_holds_form_one_batch():
    labels = np.repeat(np.arange(3), 4)
    assert [len(batch) for batch in lesion_batches(labels, 128, 2, epoch_rng(0))] == [6]


def test_seed_and_epoch_decide_the_deal():
    labels = np.repeat(np.arange(40), 3)

    def deal(seed, epoch):
        return [batch.tolist() for batch in lesion_batches(labels, 8, 2, epoch_rng(seed, epoch))]

    assert deal(1, 4) == deal(1, 4)
    deals = [str(deal(seed, epoch)) for seed in range(5) for epoch in range(5)]
    assert len(set(deals)) == 25


def test_every_image_of_a_large_lesion_has_its_turn():
    labels = np.array([0] * 4 + [1] * 2)
    shown = np.concatenate([lesion_batches(labels, 2, 2, epoch_rng(0, epoch))[0] for epoch in range(200)])
    share = np.bincount(shown) / 200
    assert share[4:].tolist() == [1, 1]
    assert share[:4] == pytest.approx([0.5] * 4, abs=0.12)


def brute_force_order(centroids, group_size, anchors):
    """Deal by plain loops: every anchor that is still free takes the most similar lesions that are still free."""
    free = set(range(len(centroids)))
    order = []
    for anchor in anchors:
        if anchor not in free:
            continue
        free.remove(anchor)
        similarity = {other: float(np.dot(centroids[anchor], centroids[other])) for other in free}
        group = sorted(free, key=lambda other: (-similarity[other], other))[: group_size - 1]
        free.difference_update(group)
        order += [anchor, *group]
    return order


@given(look_alikes(), st.integers(2, 6), seeds)
def test_hard_order_deals_every_lesion_once(centroids, group_size, seed):
    assert sorted(hard_order(centroids, group_size, epoch_rng(seed))) == list(range(len(centroids)))


@given(look_alikes(), st.integers(2, 6), seeds)
def test_groups_hold_the_most_similar_lesions_that_are_still_free(centroids, group_size, seed):
    order = hard_order(centroids, group_size, epoch_rng(seed)).tolist()
    free = set(range(len(centroids)))
    for start in range(0, len(order), group_size):
        anchor, *group = order[start : start + group_size]
        free -= {anchor, *group}
        similarity = centroids.astype(float) @ centroids[anchor].astype(float)
        farthest = min((similarity[lesion] for lesion in group), default=1.0)
        assert all(similarity[lesion] <= farthest + 1e-6 for lesion in free)
        assert len(group) == group_size - 1 or not free


def test_hard_order_equals_brute_force_where_no_similarities_are_equal():
    for seed in range(30):
        centroids = unit_vectors(np.random.default_rng(seed).normal(size=(50, 8)))
        anchors = epoch_rng(seed).permutation(50).tolist()
        assert hard_order(centroids, 5, epoch_rng(seed)).tolist() == brute_force_order(centroids, 5, anchors)


def test_lesions_that_look_alike_come_into_one_batch():
    directions = np.repeat(np.eye(6), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(24, 6))
    centroids = unit_vectors(directions[np.random.default_rng(1).permutation(24)])
    groups = hard_order(centroids, 4, epoch_rng(0)).reshape(6, 4)
    assert all(len(set(centroids[group].argmax(axis=1))) == 1 for group in groups)
