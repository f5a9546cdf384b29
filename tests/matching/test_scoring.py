"""What a labelled pool is worth: metrics, curves and certainty against every cut tried one by one."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from skinbit.config import EvaluationParams
from skinbit.matching.clustering.merges import number_by_appearance
from skinbit.matching.curves import Sweep, choice_at, pairwise_f1, select
from skinbit.matching.cuts.survey import best_f1_and_recall
from skinbit.matching.cuts.transfer import carry_over
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs.pool import Limits, Pool, similarity_matrix
from skinbit.matching.scoring.score import metrics_at_cuts, score, score_at
from tests.matching.oracle import (
    best_cut,
    best_threshold,
    counts,
    greedy_merges,
    groups_at,
    mutual_links,
    together,
)
from tests.matching.samples import limited, on_circle, pools, tile_sizes

EVERYTHING = EvaluationParams()
LINKAGES = {"dbscan": "single", "average": "average", "complete": "complete"}

ranges = st.sampled_from([((-1.0, 1.0), (0.0, 2.0)), ((0.2, 0.9), (0.1, 0.7)), ((0.95, 1.0), (0.05, 0.3))])
caps = st.sampled_from([2, 3, 4, None])


def cosine(degrees):
    return float(np.cos(np.radians(degrees)))


def scored(embeddings, lesion_ids, params=EVERYTHING, cuts=None):
    return score(Pool(embeddings), lesion_ids, params, cuts)


def parameters(cap, searched=((-1.0, 1.0), (0.0, 2.0))):
    return EvaluationParams(max_group_size=cap, threshold_range=searched[0], eps_range=searched[1])


def names_of(labels):
    return [f"lesion {label:02}" for label in labels]


def n_predicted(predicted):
    return int(predicted.true_pairs.sum() + predicted.false_count.sum())


class Oracle:
    """All of a pool's metrics by brute force."""

    def __init__(self, pool, labels, cap=4):
        self.labels, self.n, self.positive = labels, len(labels), together(labels)
        self.matrix = similarity_matrix(pool)
        self.alike = self.matrix[np.triu_indices(self.n, 1)]
        self.merges = {
            method: greedy_merges(self.matrix, linkage, None if linkage == "single" else cap)
            for method, linkage in LINKAGES.items()
        }
        links = [(*link, 0.0) for link in mutual_links(self.matrix)]
        self.mutual = groups_at(links, self.n, 0.0)

    def best(self, method, searched):
        """Return cut, F1, precision and recall of a method at its best cut."""
        if not self.positive.any():
            return (np.nan,) * 4
        if method == "cosine":
            return best_threshold(self.alike, self.positive, *searched[0])
        return best_cut(self.merges[method], self.positive, *searched[1])

    def groups(self, method, cut):
        """Return the groups of a method at a cut."""
        if method == "mutual":
            return self.mutual
        return groups_at(self.merges[method], self.n, cut)

    def predicted(self, method, cut):
        """Return, of every pair, whether a method predicts it."""
        if method == "cosine":
            return self.alike.astype(np.float64) >= cut
        return together(self.groups(method, cut))

    def metrics_at(self, method, cut):
        """Return F1, precision and recall at any cut."""
        tp, fp = counts(self.predicted(method, cut), self.positive)
        n_positive = int(self.positive.sum())
        if not n_positive or np.isnan(cut):
            return (np.nan,) * 3
        return 2 * tp / (tp + fp + n_positive), tp / (tp + fp) if tp + fp else np.nan, tp / n_positive

    def ranking(self):
        """Return the metrics that need no cut."""
        is_mixed = self.positive.any() and not self.positive.all()
        ranks = [np.delete(self.matrix[row], row) for row in range(self.n)]
        same = [np.delete(self.labels == label, row) for row, label in enumerate(self.labels)]
        with_partner = [row for row in range(self.n) if same[row].any()]
        nearest = [same[row][ranks[row] == ranks[row].max()].mean() for row in with_partner]
        return {
            "roc_auc": roc_auc_score(self.positive, self.alike) if is_mixed else np.nan,
            "average_precision": average_precision_score(self.positive, self.alike) if self.positive.any() else np.nan,
            "recall_at_1": np.mean(nearest) if nearest else np.nan,
            "mean_average_precision": np.mean([average_precision_score(same[row], ranks[row]) for row in with_partner])
            if nearest
            else np.nan,
            "n_images": self.n,
            "n_lesions": len(set(self.labels.tolist())),
            "n_positive_pairs": self.positive.sum(),
        }


def pair_metrics(metrics, method):
    of_pairs = "" if method in ("cosine", "dbscan") else "pair_"
    return [metrics[f"{method}_{name}"] for name in ("f1", f"{of_pairs}precision", f"{of_pairs}recall")]


def assert_best(found, oracle, method, searched=((-1.0, 1.0), (0.0, 2.0))):
    cut, *metrics = oracle.best(method, searched)
    assert pair_metrics(found.metrics, method) == pytest.approx(metrics, rel=1e-15, nan_ok=True)
    # Averages are rounded to 12 decimals, of one sum or of another.
    assert found.metrics[CUTS[method]] == pytest.approx(cut, rel=0, abs=2e-12, nan_ok=True)


def assert_same_everywhere(one, other):
    """Two scores are the same, bit for bit."""
    assert list(one.metrics) == list(other.metrics)
    assert np.array_equal([*one.metrics.values()], [*other.metrics.values()], equal_nan=True)
    assert np.array_equal([*one.given.metrics.values()], [*other.given.metrics.values()], equal_nan=True)
    assert np.array_equal(one.clusters, other.clusters)
    assert (one.reach, one.uncertain) == (other.reach, other.uncertain)
    for kind in ("sweeps", "points"):
        of_one, of_other = getattr(one, kind), getattr(other, kind)
        assert of_one.keys() == of_other.keys()
        for method, curve in of_one.items():
            for name, values in vars(curve).items():
                assert np.array_equal(values, getattr(of_other[method], name)), (kind, method, name)
    assert_same_predictions(one.given, other.given)


def assert_same_predictions(one, other):
    assert one.predicted.keys() == other.predicted.keys()
    for method, groups in one.groups.items():
        assert np.array_equal(groups, other.groups[method])
    for method, predicted in one.predicted.items():
        for name, values in vars(predicted).items():
            assert np.array_equal(values, getattr(other.predicted[method], name))


class TestAgainstEveryCut:
    @given(pools(most=13), caps, ranges)
    def test_every_figure_is_that_of_every_cut_tried_one_by_one(self, pool, cap, searched):
        pool, labels = pool
        found, oracle = score(pool, names_of(labels), parameters(cap, searched)), Oracle(pool, labels, cap)
        assert found.uncertain == ()
        for method in CUTS:
            assert_best(found, oracle, method, searched)
        assert pair_metrics(found.metrics, "mutual") == pytest.approx(
            oracle.metrics_at("mutual", 0.0), rel=1e-15, nan_ok=True
        )
        for name, value in oracle.ranking().items():
            assert found.metrics[name] == pytest.approx(value, abs=1e-12, nan_ok=True)

    @given(pools(most=13), caps)
    def test_every_row_of_a_curve_counts_what_its_cut_predicts(self, pool, cap):
        pool, labels = pool
        found, oracle = score(pool, names_of(labels), parameters(cap)), Oracle(pool, labels, cap)
        for method, curve in found.sweeps.items():
            if method == "cosine" and len(pool) > 1:
                assert curve.tp[-1] + curve.fp[-1] == pool.n_pairs
            assert (np.diff(curve.cuts) < 0 if method == "cosine" else np.diff(curve.cuts) > 0).all()
            for cut, reported, tp, fp in zip(curve.cuts, curve.reported, curve.tp, curve.fp, strict=True):
                assert (tp, fp) == counts(oracle.predicted(method, reported), oracle.positive)
                rounding = 2e-12 if method == "average" else 0.0  # up or down
                assert (tp, fp) == counts(oracle.predicted(method, cut + rounding), oracle.positive)

    def test_below_its_head_a_curve_of_thresholds_has_a_row_per_positive_pair_and_every_two_hundredth(self):
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(40), 2)
        pool = Pool(unit_vectors(rng.normal(size=(40, 6))[labels] + 0.8 * rng.normal(size=(80, 6))))
        curve = score(pool, names_of(labels), parameters(4)).sweeps["cosine"]
        alike = similarity_matrix(pool)[np.triu_indices(80, 1)]
        positives = alike[np.equal.outer(labels, labels)[np.triu_indices(80, 1)]]
        start = np.sort(alike)[::-1][999]
        drawn = curve.cuts[curve.cuts < start]
        grid = np.linspace(-1.0, 1.0, 401)
        steps = np.nextafter(grid[(grid >= positives.min()) & (grid < start)].astype(np.float32), np.float32(-2))
        assert len(drawn) >= len(steps) > 20
        wanted = np.concatenate([positives[positives < start], [alike.min()]]).astype(np.float64)
        assert np.isin(wanted, drawn).all()
        for step in steps:
            assert (np.abs(drawn - step) < 1e-6).any()

    @given(pools(most=13), st.data())
    def test_given_cuts_are_evaluated_as_they_are_and_the_best_ones_stand_beside(self, pool, data):
        pool, labels = pool
        cuts = {method: data.draw(st.floats(0, 1)) for method in CUTS}
        cuts |= data.draw(st.sampled_from([{}, {"average": np.nan}, {"cosine": np.nan}, {"dbscan": np.nan}]))
        found, oracle = score(pool, names_of(labels), parameters(3), cuts), Oracle(pool, labels, 3)
        given_ = metrics_at_cuts(found, cuts)
        for method, cut in cuts.items():
            assert pair_metrics(given_, method) == pytest.approx(oracle.metrics_at(method, cut), rel=1e-15, nan_ok=True)
            assert given_[f"{method}_f1_oracle"] == pytest.approx(found.metrics[f"{method}_f1"], nan_ok=True)
            assert given_[CUTS[method]] == pytest.approx(cut, nan_ok=True)
            if method != "cosine":
                wanted = oracle.groups(method, cut)
                assert found.given.groups[method].tolist() == number_by_appearance(wanted).tolist()
        assert list(found.given.predicted) == [name for name in METHODS if not np.isnan(cuts.get(name, 0.0))]

    @given(pools(most=25), tile_sizes, st.data())
    def test_at_given_cuts_alone_a_pool_is_worth_the_same(self, pool, tile_bytes, data):
        pool, labels = pool
        cuts = {method: data.draw(st.floats(0, 1)) for method in CUTS}
        cuts |= data.draw(st.sampled_from([{}, {"average": np.nan}, {"cosine": np.nan}]))
        whole = score(pool, names_of(labels), parameters(3), cuts)
        wanted = whole.given
        found = score_at(limited(pool, tile_bytes=tile_bytes), labels, cuts, 3)
        assert found.metrics == pytest.approx(wanted.metrics, rel=0, abs=0, nan_ok=True)
        assert_same_predictions(found, wanted)
        assert np.array_equal([found.recall_at_1, wanted.recall_at_1], [whole.metrics["recall_at_1"]] * 2, True)

    @given(pools(most=25), st.integers(2, 100), st.data())
    def test_at_given_cuts_few_pairs_suffice_or_tighter_cuts_are_taken(self, pool, most_pairs, data):
        pool, labels = pool
        cuts = {method: data.draw(st.floats(0, 1)) for method in CUTS}
        few = limited(pool, most_pairs=most_pairs, first_pairs=2)
        loosest = min(cuts["cosine"], *(1 - cuts[method] for method in LINKAGES))
        n_within = (pool.of_pairs(np.argwhere(np.triu(np.ones((len(pool),) * 2), 1))) >= loosest - 2e-7).sum()
        if n_within > most_pairs:
            found, wanted = score_at(few, labels, cuts, 3), score_at(pool, labels, cuts, 3)
            assert n_predicted(found.predicted["cosine"]) <= min(most_pairs, n_predicted(wanted.predicted["cosine"]))
            assert n_predicted(found.predicted["dbscan"]) <= n_predicted(wanted.predicted["dbscan"])
        else:
            assert_same_predictions(score_at(few, labels, cuts, 3), score_at(pool, labels, cuts, 3))

    @given(pools(most=25))
    def test_of_a_training_metrics_are_those_of_the_score(self, pool):
        pool, labels = pool
        metrics = score(pool, names_of(labels), EVERYTHING).metrics
        wanted = metrics["cosine_f1"], metrics["recall_at_1"]
        assert np.array_equal(best_f1_and_recall(pool, labels), wanted, equal_nan=True)


class TestLimits:
    @given(pools(), tile_sizes, caps, ranges)
    def test_the_size_of_tiles_changes_no_bit_of_a_score(self, pool, tile_bytes, cap, searched):
        pool, labels = pool
        cuts, params = {"cosine": 0.4, "dbscan": 0.3, "average": 0.5, "complete": 0.7}, parameters(cap, searched)
        one, other = (
            score(each, names_of(labels), params, cuts) for each in (pool, limited(pool, tile_bytes=tile_bytes))
        )
        assert_same_everywhere(one, other)

    @given(pools(least=3, most=25), caps, st.integers(2, 200))
    def test_what_is_certain_by_few_pairs_is_what_all_pairs_say(self, pool, cap, most_pairs):
        pool, labels = pool
        params = parameters(cap)
        whole = score(pool, names_of(labels), params)
        found = score(limited(pool, most_pairs=most_pairs, first_pairs=2), names_of(labels), params)
        for method in CUTS:
            if method not in found.uncertain:
                names = [name for name in found.metrics if name.startswith(f"{method}_")] if method != "average" else []
                for name in names or ["average_f1", "average_pair_precision", "average_pair_recall", "average_cut"]:
                    assert found.metrics[name] == pytest.approx(whole.metrics[name], rel=0, abs=0, nan_ok=True)
            else:
                assert found.metrics[f"{method}_f1"] <= whole.metrics[f"{method}_f1"]
        # What ranks pairs, and mutual neighbours, need no near pairs held.
        for name in ("roc_auc", "average_precision", "mutual_f1", "recall_at_1", "recall_at_5", "cosine_f1"):
            assert found.metrics[name] == pytest.approx(whole.metrics[name], rel=0, abs=0, nan_ok=True)
        assert (found.uncertain == ()) or pool.n_pairs > most_pairs

    @given(pools(least=3, most=25), caps, st.integers(2, 200))
    def test_curves_are_the_start_of_the_whole_ones_and_end_at_their_reach(self, pool, cap, most_pairs):
        pool, labels = pool
        whole = score(pool, names_of(labels), parameters(cap))
        found = score(limited(pool, most_pairs=most_pairs, first_pairs=2), names_of(labels), parameters(cap))
        assert found.reach.keys() == LINKAGES.keys()
        for method, reach in found.reach.items():
            curve, complete = found.sweeps[method], whole.sweeps[method]
            n_rows = len(curve.cuts)
            assert n_rows == np.count_nonzero(complete.cuts <= reach)
            for name in ("cuts", "tp", "fp"):
                assert np.array_equal(getattr(curve, name), getattr(complete, name)[:n_rows])
            assert np.array_equal(curve.reported[:-1], complete.reported[: max(0, n_rows - 1)])
            assert (curve.reported <= max(reach, 0)).all() or reach < 0

    @given(pools(least=3, most=25), st.integers(0, 3), caps)
    def test_where_all_pairs_may_be_held_few_first_ones_change_no_figure(self, pool, more, cap):
        pool, labels = pool
        enough = max(2, pool.n_pairs + more)  # nine tenths are looked for first
        found = score(limited(pool, most_pairs=enough, first_pairs=2), names_of(labels), parameters(cap))
        wanted = score(pool, names_of(labels), parameters(cap))
        assert found.uncertain == ()
        assert found.metrics == pytest.approx(wanted.metrics, rel=0, abs=0, nan_ok=True)
        assert np.array_equal(found.clusters, wanted.clusters)

    @given(pools(least=3, most=25), caps, st.integers(2, 200))
    def test_operating_points_for_no_smaller_pools_are_those_of_the_whole_curve(self, pool, cap, most_pairs):
        pool, labels = pool
        whole = score(pool, names_of(labels), parameters(cap))
        found = score(limited(pool, most_pairs=most_pairs, first_pairs=2), names_of(labels), parameters(cap))
        for method in LINKAGES.keys() - {*found.uncertain}:
            for rho in (1.0, 1.5, 3.0, 100.0):
                cuts = [one.points[method].best_cut(rho) for one in (found, whole)]
                assert cuts[0] == cuts[1] or np.isnan(cuts).all()
        for method in LINKAGES.keys() - {*found.uncertain}:
            kept, complete = found.points[method], whole.points[method]
            if kept.reach < 2:
                assert kept.reach == kept.cuts[-1]
                for name in ("cuts", "tp", "fp"):
                    assert np.array_equal(getattr(kept, name), getattr(complete, name)[: len(kept.cuts)])

    def test_few_of_the_pairs_make_the_metrics_of_clear_groups_certain(self):
        rng = np.random.default_rng(1)
        labels = np.repeat(np.arange(500), rng.integers(1, 4, 500))[:500]
        embeddings = unit_vectors(rng.normal(size=(500, 24))[labels] + 0.5 * rng.normal(size=(500, 24)))
        few = Limits(first_pairs=1000)
        found = score(Pool(embeddings, limits=few), names_of(labels), EVERYTHING)
        wanted = score(Pool(embeddings, limits=Limits(first_pairs=10**6)), names_of(labels), EVERYTHING)
        assert max(found.reach.values()) < 1 < min(wanted.reach.values())
        assert found.uncertain == ()
        assert found.metrics == pytest.approx(wanted.metrics, rel=0, abs=0)
        assert np.array_equal(found.clusters, wanted.clusters)

    def test_where_certainty_takes_too_many_pairs_it_is_not_claimed_and_a_warning_says_so(self, caplog):
        rng = np.random.default_rng(3)
        embeddings, lesion_ids = unit_vectors(rng.normal(size=(80, 12))), rng.integers(0, 30, 80).astype(str).tolist()
        found = score(Pool(embeddings, limits=Limits(most_pairs=60, first_pairs=40)), lesion_ids, EVERYTHING)
        wanted = score(Pool(embeddings), lesion_ids, EVERYTHING)
        assert "average" in found.uncertain
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "average" in record.getMessage()
        assert "80 images" in record.getMessage()
        assert "memory.max_pairs is 60, and 3160 would prove it" in record.getMessage()
        for name in ("cosine_f1", "roc_auc", "average_precision", "mutual_f1", "recall_at_5", "mean_average_precision"):
            assert found.metrics[name] == wanted.metrics[name]

    def test_where_all_is_certain_there_is_no_warning(self, caplog):
        scored(on_circle(0, 10, 90, 130), list("aabb"))
        assert caplog.text == ""

    def test_equal_images_alone_make_nothing_certain(self):
        lesion_ids = [str(row // 2) for row in range(40)]
        found = score(Pool(unit_vectors(np.ones((40, 3))), limits=Limits(most_pairs=100)), lesion_ids, EVERYTHING)
        assert {"dbscan", "average", "complete"} <= {*found.uncertain}
        assert found.metrics["cosine_f1"] == scored(unit_vectors(np.ones((40, 3))), lesion_ids).metrics["cosine_f1"]

    def test_curves_reach_cuts_that_were_chosen_elsewhere(self):
        rng = np.random.default_rng(1)
        labels = np.repeat(np.arange(75), 2)
        embeddings = unit_vectors(rng.normal(size=(75, 24))[labels] + 0.5 * rng.normal(size=(150, 24)))
        cuts = {"cosine": 0.4, "dbscan": 0.9, "average": 1.1, "complete": 0.3}
        few = Pool(embeddings, limits=Limits(most_pairs=10_000, first_pairs=200))
        found = score(few, names_of(labels), EVERYTHING, cuts)
        assert min(found.reach.values()) >= 1.1
        wanted = score(Pool(embeddings), names_of(labels), EVERYTHING, cuts)
        assert metrics_at_cuts(found, cuts) == metrics_at_cuts(wanted, cuts)

    @pytest.mark.parametrize(("method", "cut"), [("cosine", -0.5), ("dbscan", 1.5), ("average", 1.5)])
    def test_a_given_cut_that_asks_for_too_many_pairs_is_tightened_and_a_warning_says_so(self, method, cut, caplog):
        rng = np.random.default_rng(3)
        pool = Pool(unit_vectors(rng.normal(size=(40, 12))), limits=Limits(most_pairs=50))
        lesion_ids = names_of(np.arange(40) // 2)
        found = score(pool, lesion_ids, EVERYTHING, {method: cut})
        told = [each.getMessage() for each in caplog.records if "do not reach the cut" in each.getMessage()]
        assert len(told) == 1
        assert told[0].startswith(f"{method} among 40 images: ")
        held = found.given.vicinity.reach({method: cut})[method]
        wanted = score(Pool(pool.embeddings), lesion_ids, EVERYTHING, {method: held}).given
        assert n_predicted(found.given.predicted[method]) == n_predicted(wanted.predicted[method])

    def test_a_range_that_near_pairs_do_not_reach_has_no_best_cut(self):
        rng = np.random.default_rng(3)
        pool = Pool(unit_vectors(rng.normal(size=(40, 12))), limits=Limits(most_pairs=20, first_pairs=20))
        params = EvaluationParams(eps_range=(0.9, 1.2))
        metrics = score(pool, names_of(np.arange(40) // 2), params).metrics
        assert np.isnan([metrics["dbscan_eps"], metrics["dbscan_f1"]]).all()

    @given(pools(), st.integers(0, 9))
    def test_the_order_of_images_changes_no_figure(self, pool, seed):
        pool, labels = pool
        order = np.random.default_rng(seed).permutation(len(labels))
        one = score(pool, names_of(labels), parameters(2)).metrics
        other = score(pool.subset(order), names_of(labels[order]), parameters(2)).metrics
        # Of equally close groups those with the first rows merge first, so linkages may depend on the order of ties.
        for name, value in one.items():
            if not name.startswith(("average_", "complete_")) or name == "average_precision":
                assert value == pytest.approx(other[name], rel=1e-12, nan_ok=True)


class TestSelection:
    def test_of_equal_f1_the_cut_that_predicts_fewest_pairs_wins(self):
        sweep = Sweep("cosine", *map(np.array, ([0.9, 0.8], [0.85, 0.75], [1, 2], [0, 2])), n_positive_pairs=2)
        assert sweep.f1[0] == sweep.f1[1] == pytest.approx(2 / 3)
        assert select(sweep).cut == 0.85

    def test_only_the_searched_range_is_searched(self):
        embeddings, lesions = on_circle(0, 10, 90, 130), ["a", "a", "b", "b"]
        narrow = EvaluationParams(threshold_range=(-1.0, 0.7), eps_range=(0.3, 2.0))
        assert scored(embeddings, lesions).metrics["cosine_f1"] == 1
        found = scored(embeddings, lesions, narrow).metrics
        assert found["cosine_threshold"] <= 0.7
        assert found["dbscan_eps"] >= 0.3

    def test_a_range_in_which_nothing_is_predicted_gives_f1_0(self):
        high = EvaluationParams(threshold_range=(0.999, 1.0), eps_range=(0.0, 0.001))
        found = scored(on_circle(0, 10), ["a", "a"], high).metrics
        assert found["cosine_f1"] == found["dbscan_f1"] == 0
        assert 0.999 <= found["cosine_threshold"] <= 1.0

    def test_no_positive_pair_is_undefined_never_0_or_1(self):
        found = scored(on_circle(0, 10, 90), ["a", "b", "c"])
        undefined = {name for name, value in found.metrics.items() if np.isnan(value)}
        assert undefined == {
            *(f"{method}_f1" for method in METHODS),
            *(f"{method}_{figure}" for method in ("cosine", "dbscan") for figure in ("precision", "recall")),
            *(
                f"{method}_pair_{figure}"
                for method in ("average", "complete", "mutual")
                for figure in ("precision", "recall")
            ),
            *(*CUTS.values(), "roc_auc", "average_precision"),
            *("recall_at_1", "recall_at_5", "mean_average_precision"),
        }
        assert found.clusters.tolist() == [0, 1, 2]

    @pytest.mark.parametrize("n_images", [1, 2])
    def test_one_or_two_images_work(self, n_images):
        found = scored(on_circle(0, 10)[:n_images], ["a", "a"][:n_images])
        assert found.metrics["n_images"] == n_images
        assert found.clusters.tolist() == [0] * n_images

    def test_f1_is_0_where_nothing_is_predicted(self):
        assert pairwise_f1(np.array([0]), np.array([0]), 3).tolist() == [0]
        sweep = Sweep("cosine", *map(np.array, ([0.9], [0.8], [1], [0])), n_positive_pairs=1)
        assert choice_at(sweep, 0.95).f1 == 0
        assert np.isnan(choice_at(sweep, 0.95).precision)


class TestSubset:
    def test_a_hand_worked_case(self):
        # Neighbours lie 10, 20, 30 and 40 degrees apart; lesions: a a b b b.
        found = scored(on_circle(0, 10, 30, 60, 100), list("aabbb")).metrics
        # By threshold: pairs up to 40 degrees apart are a1-a2 + b-pairs 30, 40 + three wrong ones (20, 30, 50 …).
        assert found["n_positive_pairs"] == 4
        # At 30 degrees: predicted 10 (a), 20 (x), 30 (x: a1-b1), 30 (b); at 40: + b-b.
        assert found["cosine_f1"] == pytest.approx(2 * 3 / (5 + 4))
        assert found["cosine_threshold"] == pytest.approx((cosine(40) + cosine(50)) / 2, abs=1e-6)
        # Single linkage joins 10 (a), then 20 (a with b1), 30 (b2), 40 (b3): best is everything together.
        assert found["dbscan_f1"] == pytest.approx(2 * 4 / (10 + 4))
        assert found["dbscan_eps"] == pytest.approx((1 - cosine(40) + 2) / 2, abs=1e-6)

    def test_average_precision_is_the_rankings_not_that_of_average_linkage(self):
        rng = np.random.default_rng(2)
        embeddings, lesions = unit_vectors(rng.normal(size=(40, 4))), list("abcdefghij" * 4)
        found = scored(embeddings, lesions).metrics
        rows, columns = np.triu_indices(40, 1)
        similarities, labels = (embeddings @ embeddings.T)[rows, columns], np.array(lesions)
        expected = average_precision_score(labels[rows] == labels[columns], similarities)
        assert found["average_precision"] == pytest.approx(expected, abs=1e-6)
        assert found["average_pair_precision"] != found["average_precision"]

    def test_given_cuts_are_evaluated_as_they_are_and_the_oracle_stands_beside(self):
        cuts = {"cosine": cosine(20), "dbscan": 1 - cosine(20)}
        given_ = metrics_at_cuts(scored(on_circle(0, 10, 90, 130), list("aabb"), EVERYTHING, cuts), cuts)
        assert given_["cosine_f1"] == given_["dbscan_f1"] == pytest.approx(2 / 3)
        assert given_["cosine_recall"] == 1 / 2
        assert given_["cosine_threshold"] == cosine(20)
        assert given_["cosine_f1_oracle"] == given_["dbscan_f1_oracle"] == 1

    def test_without_given_cuts_only_what_needs_none_is_evaluated(self):
        found = scored(on_circle(0, 10, 90, 130), list("aabb"))
        assert list(found.given.predicted) == ["mutual"]
        assert np.isnan(found.given.metrics["dbscan_ari"])
        assert found.given.metrics["mutual_bcubed_f1"] == 1

    def test_a_larger_pool_gets_a_stricter_cut_that_serves_it_better(self):
        rng = np.random.default_rng(5)
        centres = rng.normal(size=(200, 8))
        values = unit_vectors(np.repeat(centres, 2, axis=0) + rng.normal(scale=0.5, size=(400, 8)))
        lesions = [f"lesion {n}" for n in np.repeat(np.arange(200), 2)]
        folds = [scored(values[n : n + 80], lesions[n : n + 80]) for n in range(0, 400, 80)]
        whole = scored(values, lesions)
        f1 = {
            (method, is_corrected): choice_at(
                whole.sweeps[method],
                carry_over([fold.points[method] for fold in folds], 400, is_corrected).value,
            ).f1
            for method in CUTS
            for is_corrected in (False, True)
        }
        assert f1["cosine", False] < f1["cosine", True] <= whole.metrics["cosine_f1"]
        assert f1["dbscan", False] < f1["dbscan", True] <= whole.metrics["dbscan_f1"]


def test_lesions_are_numbered_in_the_order_of_their_ids():
    assert lesion_labels(["b", "a", "b", "10"]).tolist() == [2, 1, 2, 0]
