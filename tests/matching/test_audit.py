"""What similarities and keypoints tell an audit, on embeddings whose answers are known."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.audit.findings import Finding
from skinbit.audit.similarities import AuditedImages, compare_images, without_copies
from skinbit.audit.summary import lesions_to_join
from skinbit.config import AuditParams, GeometryParams
from skinbit.matching.keypoints.sift import NO_KEYPOINTS, Keypoints, tabulate_keypoints
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from tests.kept import comparing
from tests.matching.samples import limited, pools, tile_sizes

GEOMETRY = GeometryParams(neighbours=2)


def make_keypoints(seed, n=40):
    generator = np.random.default_rng(seed)
    return Keypoints(
        generator.uniform(10, 290, (n, 2)).astype(np.float32),
        np.full(n, 8, np.float32),
        np.zeros(n, np.float32),
        generator.integers(0, 255, (n, 128)).astype(np.uint8),
        (300, 300),
    )


def make_images(vectors, lesion_ids, skins=None):
    """Return images with these embeddings; those of one skin have the same keypoints, None has none."""
    ids = tuple(f"I{row:03}" for row in range(len(vectors)))
    keypoints = [NO_KEYPOINTS if skin is None else make_keypoints(skin) for skin in skins or [None] * len(ids)]
    table = tabulate_keypoints(ids, ids, keypoints, {})
    return AuditedImages(ids, lesion_ids, Pool(unit_vectors(np.asarray(vectors, dtype=float))), table)


def at_angles(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def found(comparison, kind):
    return {finding.images for finding in comparison.findings if finding.kind == kind}


class TestPairsOfTwoLesions:
    def test_whose_places_agree_are_errors_whatever_their_similarity(self):
        images = make_images(at_angles(0, 1, 60, 61), list("aabb"), [1, 2, 1, 3])
        comparison = compare_images(images, AuditParams(), comparing(replace_neighbours(3)))
        (finding,) = (each for each in comparison.findings if each.kind == "near_duplicate")
        assert (finding.images, finding.lesions, finding.severity) == (("I000", "I002"), ("a", "b"), "error")
        assert finding.detail == "40 keypoints match"
        assert finding.similarity == pytest.approx(0.5)

    def test_that_agree_on_fewer_points_are_none(self):
        images = make_images(at_angles(0, 1, 60, 61), list("aabb"), [1, 2, 1, 3])
        comparison = compare_images(images, AuditParams(min_points=41), comparing(replace_neighbours(3)))
        assert found(comparison, "near_duplicate") == set()

    def test_that_are_more_alike_than_most_of_one_lesion_are_warnings(self):
        images = make_images(at_angles(0, 10, 30, 40, 12), list("aabbc"))
        comparison = compare_images(images, AuditParams(), comparing(GEOMETRY))
        assert found(comparison, "look_alike") == {("I001", "I004")}
        assert comparison.alike_from == pytest.approx(np.cos(np.deg2rad(10)))

    def test_are_alike_from_the_given_similarity_on(self):
        images = make_images(at_angles(0, 10, 30, 40, 12), list("aabbc"))
        comparison = compare_images(images, AuditParams(similarity=0.93), comparing(GEOMETRY))
        assert found(comparison, "look_alike") == {
            ("I001", "I004"),
            ("I000", "I004"),
            ("I001", "I002"),
            ("I002", "I004"),
        }

    def test_beyond_the_most_alike_are_counted_and_not_listed(self):
        images = make_images(at_angles(0, 10, 30, 40, 12), list("aabbc"))
        comparison = compare_images(images, AuditParams(similarity=0.93, max_pairs=1), comparing(GEOMETRY))
        assert found(comparison, "look_alike") == {("I001", "I004")}
        assert comparison.counts["look_alike"] == 4

    def test_that_agree_do_not_count_as_alike_again(self):
        images = make_images(at_angles(0, 10, 30, 40, 12), list("aabbc"), [1, 2, 3, 4, 2])
        comparison = compare_images(images, AuditParams(), comparing(GEOMETRY))
        assert found(comparison, "near_duplicate") == {("I001", "I004")}
        assert found(comparison, "look_alike") == set()
        assert comparison.counts["look_alike"] == 0

    def test_all_errors_are_listed_however_many(self):
        images = make_images(at_angles(*range(6)), list("abcdef"), [1] * 6)
        comparison = compare_images(images, AuditParams(max_pairs=1), comparing(replace_neighbours(5)))
        assert len(found(comparison, "near_duplicate")) == 15


class TestPairsOfOneLesion:
    def test_that_are_less_alike_than_most_of_two_are_warnings(self):
        images = make_images(at_angles(0, 90, 30, 32, 60, 62), list("aabbcc"))
        comparison = compare_images(images, AuditParams(), comparing(GEOMETRY))
        assert found(comparison, "unlike_pair") == {("I000", "I001")}

    def test_whose_places_agree_are_right(self):
        images = make_images(at_angles(0, 90, 30, 32, 60, 62), list("aabbcc"), [1, 1, 2, 3, 4, 5])
        assert found(compare_images(images, AuditParams(), comparing(GEOMETRY)), "unlike_pair") == set()


class TestNearestImages:
    def test_all_of_one_other_lesion_are_a_warning(self):
        images = make_images(at_angles(0, 2, 4, 3, 50, 90), list("aaabbc"))
        comparison = compare_images(images, AuditParams(), comparing(GEOMETRY))
        (finding,) = (each for each in comparison.findings if each.kind == "foreign_neighbours")
        assert finding.images[0] == "I003"
        assert finding.lesions == ("b", "a")

    def test_of_several_lesions_are_none(self):
        images = make_images(at_angles(0, 2, 4, 3, 50, 90), list("aadbbc"))
        assert found(compare_images(images, AuditParams(), comparing(GEOMETRY)), "foreign_neighbours") == set()


@st.composite
def labelled_images(draw):
    lesion_ids = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=10))
    skins = draw(st.lists(st.sampled_from([None, 1, 2]), min_size=len(lesion_ids), max_size=len(lesion_ids)))
    vectors = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(len(lesion_ids), 3))
    return make_images(vectors, lesion_ids, skins)


@given(labelled_images())
def test_every_finding_is_what_it_says(images):
    """Against a plain loop over all pairs; each image is compared with all others."""
    comparison = compare_images(images, AuditParams(), comparing(replace_neighbours(10)))
    similarities = similarity_matrix(images.pool)
    expected = {"near_duplicate": set(), "look_alike": set(), "unlike_pair": set()}
    for a, b in combinations(range(len(images.image_ids)), 2):
        agree = images.keypoints.at(a).positions.tobytes() == images.keypoints.at(b).positions.tobytes() != b""
        pair = (images.image_ids[a], images.image_ids[b])
        if images.lesion_ids[a] != images.lesion_ids[b]:
            if agree:
                expected["near_duplicate"].add(pair)
            elif comparison.alike_from is not None and float(similarities[a, b]) >= comparison.alike_from:
                expected["look_alike"].add(pair)
        elif comparison.unlike_below is not None and float(similarities[a, b]) < comparison.unlike_below and not agree:
            expected["unlike_pair"].add(pair)
    assert {kind: found(comparison, kind) for kind in expected} == expected
    assert {kind: comparison.counts[kind] for kind in expected} == {
        kind: len(pairs) for kind, pairs in expected.items()
    }

    negatives = [
        float(similarities[a, b])
        for a, b in combinations(range(len(images.image_ids)), 2)
        if images.lesion_ids[a] != images.lesion_ids[b]
    ]
    assert comparison.unlike_below == (pytest.approx(np.quantile(negatives, 0.5)) if negatives else None)


@given(pools(least=2), st.integers(1, 5), tile_sizes)
def test_the_size_of_tiles_changes_nothing(pool, max_pairs, tile_bytes):
    pool, labels = pool
    skins = [row % 5 if row % 3 else None for row in range(len(labels))]
    images = make_images(np.eye(len(labels)), [f"L{label}" for label in labels], skins)
    audit = AuditParams(max_pairs=max_pairs)
    one, other = (
        compare_images(replace(images, pool=each), audit, comparing(GEOMETRY))
        for each in (pool, limited(pool, tile_bytes=tile_bytes))
    )
    assert other == one


@pytest.mark.parametrize("n_images", [1, 2])
def test_few_images_of_one_lesion_have_no_finding_and_say_what_is_missing(n_images):
    images = make_images(at_angles(*range(n_images)), ["a"] * n_images)
    comparison = compare_images(images, AuditParams(), comparing(GEOMETRY))
    assert comparison.findings == ()
    undone = [check for check in comparison.checks("vit_baseline") if not check.is_done]
    assert "there is no pair of two lesions, so no threshold" in {check.note for check in undone}


def test_threads_change_nothing():
    generator = np.random.default_rng(5)
    skins = [row % 7 if row % 3 else None for row in range(30)]
    images = make_images(generator.normal(size=(30, 4)), [f"L{row // 2}" for row in range(30)], skins)
    assert compare_images(images, AuditParams(), comparing(GEOMETRY)) == compare_images(
        images, AuditParams(), comparing(GEOMETRY, 3)
    )


def replace_neighbours(n):
    return GEOMETRY.model_copy(update={"neighbours": n})


def make_finding(kind, severity, *lesions):
    return Finding(kind, severity, tuple(f"{lesion}1" for lesion in lesions), lesions, "said")


class TestLesionsToJoin:
    def test_are_chains_of_errors(self):
        findings = [
            make_finding("near_duplicate", "error", "c", "a"),
            make_finding("identical_bytes", "error", "c", "d"),
            make_finding("identical_pixels", "error", "x", "y"),
        ]
        assert lesions_to_join(findings) == [["a", "c", "d"], ["x", "y"]]

    def test_are_none_where_findings_prove_nothing(self):
        findings = [
            make_finding("look_alike", "warning", "a", "b"),
            make_finding("identical_bytes", "warning", "a", "a"),
            make_finding("patient_across_subsets", "error", "a", "b"),
        ]
        assert lesions_to_join(findings) == []
        assert lesions_to_join([]) == []


def test_a_copy_is_no_near_duplicate_again():
    near, copy = make_finding("near_duplicate", "error", "a", "b"), make_finding("identical_bytes", "error", "b", "a")
    other = replace(near, images=("a2", "b1"))
    assert without_copies([near, other], [copy]) == [other]
