"""Misclassified pairs against two plain loops, and against the figures that are reported at the same cuts."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import EvaluationParams
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.pairs.pool import Limits, Pool
from skinbit.matching.scoring import mistakes
from skinbit.matching.scoring.mistakes import UNDEFINED, Outcomes, mistakes_document
from skinbit.matching.scoring.score import metrics_at_cuts, score, score_at
from tests.matching.samples import limited, on_circle, pools, tile_sizes

ALL = 10_000
METHODS = ("cosine", "dbscan")


def find_mistakes(embeddings, lesions, image_ids, cuts, max_pairs, **limits):
    return mistakes_of(limited(Pool(embeddings), **limits), lesions, image_ids, cuts, max_pairs)


def mistakes_of(pool, lesions, image_ids, cuts, max_pairs):
    groups = score_at(pool, lesion_labels(list(lesions)), cuts, 4).groups
    images = list(zip(image_ids, lesions, strict=True))
    return mistakes.find_mistakes(pool, images, cuts, groups, max_pairs)


@st.composite
def subsets(draw):
    """Embeddings, lesions and ids in any order: small whole numbers in few dimensions give many ties and duplicates."""
    n_images = draw(st.integers(2, 16))
    n_dims = draw(st.integers(1, 3))
    coordinates = st.lists(st.integers(-2, 2), min_size=n_dims, max_size=n_dims)
    rows = draw(st.lists(coordinates, min_size=n_images, max_size=n_images))
    lesions = draw(st.lists(st.sampled_from("abcdef"), min_size=n_images, max_size=n_images))
    image_ids = draw(st.permutations([f"image{n}" for n in range(n_images)]))
    spread = draw(st.sampled_from([0.0, 1e-4, 0.3]))
    noise = np.random.default_rng(draw(st.integers(0, 9))).normal(size=(n_images, n_dims))
    return unit_vectors(np.array(rows) + spread * noise + 1e-3), lesions, image_ids


@st.composite
def judged_subsets(draw):
    """A subset with a threshold and an eps: anything, exactly a similarity that occurs, or just above one."""
    embeddings, lesions, image_ids = draw(subsets())
    occurring = sorted({similarity for *_, similarity in all_pairs(embeddings, lesions, image_ids)})
    just_above = [float(np.nextafter(similarity, 2)) for similarity in occurring]
    threshold = draw(st.one_of(st.sampled_from(occurring + just_above), st.floats(-1, 1)))
    eps = draw(st.one_of(st.sampled_from(occurring).map(lambda similarity: 1.0 - similarity), st.floats(0, 2)))
    return embeddings, lesions, image_ids, {"cosine": threshold, "dbscan": max(eps, 0.0)}


def all_pairs(embeddings, lesions, image_ids):
    """Every unordered pair by plain loops: ids in order, lesions, and the similarity."""
    found = []
    images = sorted(zip(image_ids, lesions, embeddings, strict=True), key=lambda image: image[0])
    for (id_a, lesion_a, a), (id_b, lesion_b, b) in itertools.combinations(images, 2):
        similarity = np.float32(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)))
        found.append((id_a, id_b, lesion_a, lesion_b, float(np.clip(similarity, -1, 1))))
    return found


def groups_of(pairs, eps):
    """Images that can be reached from one another by steps of at most eps."""
    group = {image: {image} for pair in pairs for image in pair[:2]}
    for a, b, *_, similarity in pairs:
        if 1.0 - similarity <= eps and group[a] is not group[b]:
            group[a] |= group[b]
            for image in group[b]:
                group[image] = group[a]
    return group


def judge(pairs, method, cut):
    """Return true positives and the misclassified pairs, worst first."""
    groups = groups_of(pairs, cut) if method == "dbscan" else {}
    limit = cut if method == "cosine" else 1.0 - cut
    n_true, wrong = 0, []
    for a, b, lesion_a, lesion_b, similarity in pairs:
        predicted = similarity >= cut if method == "cosine" else groups[a] is groups[b]
        n_true += predicted and lesion_a == lesion_b
        if predicted != (lesion_a == lesion_b):
            error = "false_positive" if predicted else "false_negative"
            excess = similarity - limit if predicted else limit - similarity
            wrong.append((-excess, a, b, (a, b, lesion_a, lesion_b, similarity, error)))
    return n_true, [pair for *_, pair in sorted(wrong)]


def as_tuples(found):
    return [tuple(vars(pair).values()) for pair in found.pairs]


def documents(found):
    return [mistakes_document("vit_triplet", by_method) for by_method in found.values()]


def count(pairs, error):
    return sum(pair[-1] == error for pair in pairs)


class TestAgainstPlainLoops:
    @given(judged_subsets())
    def test_every_misclassified_pair_is_found_and_the_worst_come_first(self, judged):
        embeddings, lesions, image_ids, cuts = judged
        pairs = all_pairs(embeddings, lesions, image_ids)
        positives = [pair[-1] for pair in pairs if pair[2] == pair[3]]
        for method, found in find_mistakes(embeddings, lesions, image_ids, cuts, ALL).items():
            if not positives:
                assert found.outcomes == UNDEFINED
                continue
            n_true, wrong = judge(pairs, method, cuts[method])
            assert as_tuples(found) == wrong
            assert found.label_error_from == np.median(positives)
            suspicious = [pair for pair in wrong if pair[-1] == "false_positive" and pair[-2] >= np.median(positives)]
            n_wrong = (count(wrong, "false_positive"), count(wrong, "false_negative"))
            assert found.outcomes == Outcomes(n_true, *n_wrong, len(suspicious))

    @given(judged_subsets(), st.integers(1, 4))
    def test_a_short_list_holds_the_worst_of_each_kind_and_counts_stay(self, judged, max_pairs):
        whole = find_mistakes(*judged, ALL)
        for method, found in find_mistakes(*judged, max_pairs).items():
            by_kind = [
                [pair for pair in whole[method].pairs if pair.error == error][:max_pairs]
                for error in ("false_positive", "false_negative")
            ]
            assert [pair for pair in found.pairs if pair.error == "false_positive"] == by_kind[0]
            assert [pair for pair in found.pairs if pair.error == "false_negative"] == by_kind[1]
            assert [pair for pair in whole[method].pairs if pair in found.pairs] == list(found.pairs)
            assert found.outcomes == whole[method].outcomes

    @given(judged_subsets(), st.integers(1, 4), st.randoms(use_true_random=False), tile_sizes)
    def test_neither_the_order_of_images_nor_the_size_of_tiles_matters(self, judged, max_pairs, random, tile_bytes):
        embeddings, lesions, image_ids, cuts = judged
        reference = documents(find_mistakes(embeddings, lesions, image_ids, cuts, max_pairs))
        order = random.sample(range(len(lesions)), len(lesions))
        shuffled = embeddings[order], [lesions[n] for n in order], [image_ids[n] for n in order]
        assert documents(find_mistakes(*shuffled, cuts, max_pairs, tile_bytes=tile_bytes)) == reference

    @given(pools(least=2), st.floats(0, 1), st.integers(1, 6), tile_sizes)
    def test_nor_does_it_whatever_similarities_are_made_of(self, pool, cut, max_pairs, tile_bytes):
        pool, labels = pool
        image_ids, lesions = [f"{97 * row % 89}" for row in range(len(pool))], [f"lesion {label}" for label in labels]
        cuts = {"cosine": cut, "dbscan": 1.0 - cut}
        one, other = (
            mistakes_of(each, lesions, image_ids, cuts, max_pairs)
            for each in (pool, limited(pool, tile_bytes=tile_bytes))
        )
        assert repr(other) == repr(one)


class TestAgreesWithTheReportedFigures:
    @given(judged_subsets())
    def test_counts_give_f1_precision_and_recall_exactly(self, judged):
        self.check(*judged)

    def test_so_do_those_of_thousands_of_pairs_at_a_threshold_far_below_the_best(self):
        rng = np.random.default_rng(0)
        lesions = [f"lesion{n // 2}" for n in range(200)]
        centres = rng.normal(size=(100, 8)).repeat(2, axis=0)
        embeddings = unit_vectors(centres + 2 * rng.normal(size=(200, 8)))
        image_ids = [f"image{n:03d}" for n in rng.permutation(200)]
        for threshold in np.linspace(-0.9, 0.9, 7):
            self.check(embeddings, lesions, image_ids, {"cosine": threshold, "dbscan": 1 - threshold})

    @staticmethod
    def check(embeddings, lesions, image_ids, cuts):
        pool = Pool(embeddings, limits=Limits(first_pairs=1))
        reported = metrics_at_cuts(score(pool, list(lesions), EvaluationParams(), cuts), cuts)
        for method, found in find_mistakes(embeddings, lesions, image_ids, cuts, ALL).items():
            outcomes = found.outcomes
            if outcomes == UNDEFINED:
                assert np.isnan(reported[f"{method}_f1"])
                continue
            n_predicted = outcomes.true_positive + outcomes.false_positive
            n_positive = outcomes.true_positive + outcomes.false_negative
            assert n_positive == found.n_positive_pairs == reported["n_positive_pairs"]
            assert reported[f"{method}_f1"] == 2 * outcomes.true_positive / (n_predicted + n_positive)
            assert reported[f"{method}_recall"] == outcomes.true_positive / n_positive
            if n_predicted:
                assert reported[f"{method}_precision"] == outcomes.true_positive / n_predicted


class TestOrder:
    # Lesion a at 0 and 50 degrees, b at 18 and 21, c at 38 and 90; the cut is at 19 degrees.
    SUBSET = (on_circle(0, 50, 18, 21, 38, 90), list("aabbcc"), ["a1", "a2", "b1", "b2", "c1", "c2"])
    CUT = float(np.cos(np.radians(19)))
    JOINED = (("a2", "c1"), ("b2", "c1"), ("a1", "b1"))  # 12, 17 and 18 degrees apart

    def listed(self, method, cut):
        pairs = find_mistakes(*self.SUBSET, {method: cut}, ALL)[method].pairs
        return [(pair.image_a, pair.image_b) for pair in pairs]

    def test_the_farther_on_the_wrong_side_of_the_threshold_the_earlier(self):
        missed = [("c1", "c2"), ("a1", "a2")]
        assert self.listed("cosine", self.CUT) == [*missed, *self.JOINED]

    def test_what_is_joined_only_through_other_images_comes_last(self):
        # A chain a1-b1-b2-c1-a2 makes them one group: 20, 21, 29, 32 and 38 degrees are below the cut.
        through_others = [("b1", "c1"), ("a1", "b2"), ("a2", "b2"), ("a2", "b1"), ("a1", "c1")]
        assert self.listed("dbscan", 1 - self.CUT) == [("c1", "c2"), *self.JOINED, *through_others]

    def test_equally_bad_pairs_are_ordered_by_image_ids_as_text(self):
        same = unit_vectors(np.ones((4, 2)))
        found = find_mistakes(same, list("aabc"), ["10", "9", "2", "1"], {"cosine": 0.5}, 4)["cosine"]
        ids = [(pair.image_a, pair.image_b) for pair in found.pairs]
        assert ids == [("1", "10"), ("1", "2"), ("1", "9"), ("10", "2")]
        assert found.outcomes.false_positive == 5


class TestPossibleLabelErrors:
    def test_a_false_positive_as_similar_as_the_median_positive_pair_is_one(self):
        # Positive pairs at 10, 20 and 30 degrees; wrong ones at 18 and 22, of lesions far from all others.
        embeddings = on_circle(0, 10, 60, 80, 120, 150, 200, 220, 270, 292)
        lesions = list("aabbccxyvw")
        found = find_mistakes(embeddings, lesions, list("0123456789"), {"cosine": float(np.cos(np.radians(25)))}, ALL)
        outcomes = found["cosine"].outcomes
        assert found["cosine"].label_error_from == pytest.approx(np.cos(np.radians(20)), abs=1e-6)
        assert outcomes == Outcomes(true_positive=2, false_positive=2, false_negative=1, possible_label_error=1)


class TestDocument:
    def test_has_the_fields_of_the_contract(self):
        subset = on_circle(0, 10, 12), ["a", "a", "b"], ["one", "two", "three"]
        found = find_mistakes(*subset, {"cosine": 0.9, "dbscan": 0.25}, 1)
        by_cosine, by_dbscan = (mistakes_document("vit_triplet", found[method]) for method in METHODS)
        shared = {"experiment", "method", "counts", "pairs", "possible_label_error_from"}
        assert by_cosine.keys() == shared | {"threshold"}
        assert by_dbscan.keys() == shared | {"eps"}
        assert (by_cosine["threshold"], by_dbscan["eps"]) == (0.9, 0.25)
        assert by_cosine["counts"] == {
            **{"n_images": 3, "n_lesions": 2, "n_pairs": 3, "n_positive_pairs": 1},
            **{"true_positive": 1, "false_positive": 2, "false_negative": 0, "possible_label_error": 1},
            **{"listed_false_positive": 1, "listed_false_negative": 0},
        }
        (pair,) = by_cosine["pairs"]
        assert list(pair) == ["image_a", "image_b", "lesion_a", "lesion_b", "similarity", "error"]
        assert (pair["image_a"], pair["image_b"], pair["error"]) == ("three", "two", "false_positive")

    @pytest.mark.parametrize(("cut", "lesions"), [(np.nan, ["a", "a", "b"]), (0.9, ["a", "b", "c"])])
    @pytest.mark.parametrize("method", METHODS)
    def test_without_a_cut_or_a_positive_pair_it_is_empty_and_valid_json(self, method, cut, lesions):
        found = find_mistakes(on_circle(0, 10, 12), lesions, ["1", "2", "3"], {method: cut}, ALL)[method]
        document = json.loads(json.dumps(mistakes_document("vit_triplet", found), allow_nan=False))
        assert document["pairs"] == []
        assert document["counts"]["false_positive"] is None
        assert document["counts"]["n_pairs"] == 3
        assert document["eps" if method == "dbscan" else "threshold"] == (None if np.isnan(cut) else cut)
