"""What a cut makes of lesions and groups, against plain loops over pairs."""

import itertools

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.scoring.lesions import (
    evaluate_lesions,
    find_mixed_groups,
    summarise_by_size,
    tabulate_positive_pairs,
)
from tests.matching.oracle import groups_within


@st.composite
def subsets(draw):
    """Similarities, lesions and ids in any order; few directions give many ties."""
    n_images = draw(st.integers(2, 14))
    rows = draw(st.lists(st.tuples(*[st.integers(-2, 2)] * 2), min_size=n_images, max_size=n_images))
    lesions = draw(st.lists(st.sampled_from("abcd"), min_size=n_images, max_size=n_images))
    image_ids = draw(st.permutations([f"image{n:02}" for n in range(n_images)]))
    return similarity_matrix(Pool(unit_vectors(np.array(rows) + 1e-3))), lesions, image_ids


def pairs_by_hand(similarities, lesions, image_ids):
    for a, b in itertools.combinations(sorted(range(len(image_ids)), key=image_ids.__getitem__), 2):
        yield lesions[a], lesions[b], image_ids[a], image_ids[b], float(similarities[a, b])


class TestPositivePairs:
    @given(subsets())
    def test_are_all_pairs_of_one_lesion_once_least_similar_first(self, subset):
        table = tabulate_positive_pairs(*subset)
        expected = [(a, i, j, s) for a, b, i, j, s in pairs_by_hand(*subset) if a == b]
        by_similarity = sorted(expected, key=lambda pair: (pair[3], *pair[:3]))
        assert list(table.itertuples(name=None)) == [(n, *pair) for n, pair in enumerate(by_similarity)]

    @given(subsets(), st.floats(-1, 1))
    def test_are_missed_below_the_threshold(self, subset, threshold):
        lesions = evaluate_lesions(tabulate_positive_pairs(*subset), threshold).set_index("lesion_id")
        own = {lesion: [s for a, b, *_, s in pairs_by_hand(*subset) if a == b == lesion] for lesion in set(subset[1])}
        assert set(lesions.index) == {lesion for lesion, similarities in own.items() if similarities}
        for lesion, row in lesions.iterrows():
            assert row["n_images"] == subset[1].count(lesion)
            assert row["n_pairs"] == len(own[lesion])
            assert row["n_missed"] == sum(similarity < threshold for similarity in own[lesion])
            assert (row["lowest"], row["highest"]) == (min(own[lesion]), max(own[lesion]))
        assert lesions["n_missed"].is_monotonic_decreasing

    @given(subsets(), st.floats(-1, 1))
    def test_summed_by_size_are_all_there(self, subset, threshold):
        lesions = evaluate_lesions(tabulate_positive_pairs(*subset), threshold)
        rows = lesions[["n_missed", "lowest", "lesion_id"]].to_records().tolist()
        assert rows == [
            (n, *row) for n, row in enumerate(sorted((row[1:] for row in rows), key=lambda r: (-r[0], *r[1:])))
        ]
        by_size = summarise_by_size(lesions)
        assert by_size["n_pairs"].sum() == len(tabulate_positive_pairs(*subset))
        assert by_size["n_missed"].sum() == lesions["n_missed"].sum()
        assert (by_size[["all_found", "some_found", "none_found"]].sum(axis=1) == by_size["n_lesions"]).all()

    def test_a_lesion_of_three_that_loses_one_pair_is_found_in_part(self):
        similarities = similarity_matrix(Pool(unit_vectors(np.array([[1, 0], [1, 1], [0, 1]]))))
        judged = evaluate_lesions(tabulate_positive_pairs(similarities, ["a"] * 3, "xyz"), 0.5)
        assert judged[["n_pairs", "n_missed"]].to_numpy().tolist() == [[3, 1]]
        assert summarise_by_size(judged)["some_found"].tolist() == [1]


class TestMixedGroups:
    @given(subsets(), st.floats(0, 2))
    def test_make_the_false_positives_of_dbscan(self, subset, eps):
        similarities, lesions, image_ids = subset
        groups = groups_within(similarities, eps)
        mixed = find_mixed_groups(pd.DataFrame({"image_id": image_ids, "lesion_id": lesions, "cluster_id": groups}))
        false_pairs = [
            groups[a]
            for a, b in itertools.combinations(range(len(lesions)), 2)
            if groups[a] == groups[b] and lesions[a] != lesions[b]
        ]
        by_group = dict(zip(mixed["cluster_id"], mixed["n_false_pairs"], strict=True))
        assert by_group == {group: false_pairs.count(group) for group in set(false_pairs)}
        assert mixed["n_false_pairs"].is_monotonic_decreasing
