"""What a pool says about itself without labels, against brute force over likelihoods, merges and cuts."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import poisson

from skinbit.config import ClusterParams
from skinbit.matching.clustering.constraints import Constraints, unconstrained
from skinbit.matching.clustering.merges import clusters_at
from skinbit.matching.cuts.grouping_cut import plan_cut
from skinbit.matching.cuts.operating_points import KnownCuts, OperatingPoints
from skinbit.matching.cuts.search import merge_tree
from skinbit.matching.expected.curve import Expectation, Joins, as_similarities, expect_at, expected_cut, joins_of
from skinbit.matching.expected.documents import settle_cut
from skinbit.matching.expected.likeness import unlike_folds
from skinbit.matching.expected.odds import LEVELS, LogOdds, PairOdds, fit_odds, mean_odds, spread
from skinbit.matching.expected.own_cut import estimates, expect_of_pool
from skinbit.matching.expected.prior import PoolPrior, SimilarityHistogram, find_prior, middles
from skinbit.matching.grouping import group_images
from skinbit.matching.labels import known_labels
from skinbit.matching.pairs.neighbours import neighbours_above
from skinbit.matching.pairs.pool import LEAST_SIMILARITY, similarity_matrix
from skinbit.matching.pairs.tiles import look_at
from tests.matching.samples import any_matrix, given_pool, limited, pools, symmetric, tile_sizes

ODDS = PairOdds(intercept=-4.0, slope=1.0, prior=0.02)
METHODS = ("cosine", "dbscan", "average", "complete")


def histogram(pool, n_new=None):
    counted = SimilarityHistogram(len(pool) if n_new is None else n_new)
    look_at(pool, [counted])
    return counted.counts


def joins(method, pool, known=None, floor=-1.0):
    graph = neighbours_above(pool, floor)
    tree = None if method == "cosine" else merge_tree(method, graph, pool, None)
    return joins_of(graph, tree, unconstrained(len(pool)) if known is None else Constraints(known))


def shift_of(prior):
    return prior.log_odds.intercept - ODDS.intercept


def shifted(shift):
    return LogOdds(intercept=ODDS.intercept + shift, slope=ODDS.slope)


def mixture(n_images, n_lesions, seed, apart=20.0):
    """A pool whose pairs are positive or negative with log-odds that a normal distribution of either kind gives.

    Two normal distributions of variance v with means 0 and m have log-likelihood ratios of slope m / v.
    """
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.repeat(np.arange(n_lesions), 2), np.arange(n_lesions, n_images - n_lesions)])
    is_positive = labels[:, None] == labels
    ratios = rng.normal(np.where(is_positive, apart / 2, -apart / 2), np.sqrt(apart), is_positive.shape)
    return given_pool(symmetric(np.tanh((ratios + logit(ODDS.prior) + 4.0) / 8))), labels


class TestOdds:
    def test_log_odds_of_a_fused_similarity_are_those_that_were_fused(self):
        log_odds = np.linspace(-20, 20, 41)
        np.testing.assert_allclose(spread(np.tanh(log_odds / 8).astype(np.float32)), log_odds, rtol=1e-3)

    def test_they_find_what_the_similarities_were_made_of(self):
        pool, labels = mixture(300, 100, seed=0, apart=8.0)
        (found,) = fit_odds(pool, labels)
        assert found.slope == pytest.approx(1.0, abs=0.15)
        assert found.prior == pytest.approx(100 / pool.n_pairs, rel=0.1)
        alike = spread(similarity_matrix(pool)[np.triu_indices(300, 1)])
        is_positive = np.equal.outer(labels, labels)[np.triu_indices(300, 1)]
        for told, of_kind in ((found.positives, is_positive), (found.negatives, ~is_positive)):
            np.testing.assert_allclose(told, np.quantile(alike[of_kind], LEVELS, method="inverted_cdf"), atol=1e-4)

    def test_a_pool_without_a_pair_of_either_kind_has_none(self):
        pool = given_pool(np.eye(4))
        assert fit_odds(pool, np.arange(4)) == ()
        assert fit_odds(pool, np.zeros(4, dtype=np.int64)) == ()

    def test_their_mean_is_that_of_the_lines(self):
        mean = mean_odds([ODDS, PairOdds(intercept=-2.0, slope=3.0, prior=0.02)])
        assert (mean.intercept, mean.slope, mean.prior) == (-3.0, 2.0, pytest.approx(0.02))


class TestPrior:
    def test_a_bin_stands_for_the_similarity_in_its_middle(self):
        assert middles(np.array([0, 2**15])).tolist() == [2**-16 - 1.0, 2**-16]

    @given(pools(least=2), tile_sizes)
    def test_pairs_are_counted_once_whatever_the_tiles(self, pool, tile_bytes):
        pool, _ = pool
        counts = histogram(limited(pool, tile_bytes=tile_bytes))
        assert (counts == histogram(pool)).all()
        values = similarity_matrix(pool)[np.triu_indices(len(pool), 1)]
        values = values[values > LEAST_SIMILARITY]  # others are ruled out by columns
        middles = (np.flatnonzero(counts) + 0.5) / 2**15 - 1
        assert np.repeat(middles, counts[counts > 0]) == pytest.approx(np.sort(values), abs=2**-15)

    @given(any_matrix(3), st.integers(1, 14))
    def test_pairs_of_two_known_images_or_ruled_out_by_columns_are_not_counted(self, matrix, n_new):
        counts = histogram(given_pool(matrix), n_new)
        first, second = np.triu_indices(len(matrix), 1)
        is_counted = (np.minimum(first, second) < n_new) & (matrix[first, second] > LEAST_SIMILARITY)
        assert counts.sum() == is_counted.sum()

    @given(st.integers(0, 10_000), st.integers(3, 30), st.floats(-8, 4))
    def test_it_is_the_most_probable_share(self, seed, n_images, middle):
        rng = np.random.default_rng(seed)
        pool = given_pool(symmetric(np.tanh(rng.normal(middle, 5, (n_images, n_images)) / 8)))
        log_odds = ODDS.log_odds(similarity_matrix(pool)[np.triu_indices(n_images, 1)])
        ratios, n_pseudo = np.exp(log_odds - logit(ODDS.prior)), 0.5 / ODDS.prior
        shares = expit(np.linspace(-14, 10, 24_001))
        likelihood = [np.log(share * ratios + 1 - share).sum() for share in shares]
        likelihood += 0.5 * np.log(shares) + (n_pseudo - 0.5) * np.log1p(-shares)
        best = shares[np.argmax(likelihood)]
        found = find_prior(histogram(pool), [ODDS])
        assert shift_of(found) == pytest.approx(logit(best) - logit(ODDS.prior), abs=0.01)
        posterior = found.log_odds.probabilities(similarity_matrix(pool)[np.triu_indices(n_images, 1)])
        assert found.n_positive == pytest.approx(posterior.sum(), rel=0.01, abs=0.01)

    @pytest.mark.parametrize(("n_images", "n_lesions"), [(60, 5), (200, 20), (200, 90), (600, 10)])
    def test_it_finds_how_many_pairs_are_positive(self, n_images, n_lesions):
        found = [find_prior(histogram(mixture(n_images, n_lesions, seed, 40)[0]), [ODDS]) for seed in range(10)]
        assert np.mean([each.n_positive for each in found]) == pytest.approx(n_lesions, rel=0.1)

    def test_a_pool_without_pairs_expects_none(self):
        found = find_prior(histogram(given_pool(np.eye(1))), [ODDS])
        assert (found.n_positive, shift_of(found)) == (0.0, pytest.approx(0.0))


def naive_joins(pool, tree):
    """Merge groups as the tree says, and look at all pairs between them."""
    matrix, groups, found = similarity_matrix(pool), np.arange(len(pool)), []
    for left, right in tree.edges.tolist():
        first, second = np.flatnonzero(groups == groups[left]), np.flatnonzero(groups == groups[right])
        found.append((len(first) * len(second), matrix[np.ix_(first, second)].max()))
        groups[second] = groups[first[0]]
    return found


class TestJoins:
    @given(any_matrix(), st.sampled_from(METHODS[1:]))
    def test_of_merges_they_are_what_a_look_at_all_pairs_gives(self, matrix, method):
        pool = given_pool(matrix)
        graph = neighbours_above(pool, -1.0)
        tree = merge_tree(method, graph, pool, None)
        found = joins_of(graph, tree, unconstrained(len(pool)))
        expected = naive_joins(pool, tree)
        assert found.n_pairs.tolist() == [n_pairs for n_pairs, _ in expected]
        assert found.links.tolist() == [link for _, link in expected]

    @given(any_matrix(), st.integers(1, 14))
    def test_of_a_threshold_they_are_single_pairs_without_those_of_two_known_images(self, matrix, n_new):
        n_new = min(n_new, len(matrix))
        known = np.append(np.full(n_new, -1), np.zeros(len(matrix) - n_new, dtype=np.int64))
        found = joins("cosine", given_pool(matrix), known)
        alike = [matrix[i, j] for i, j in combinations(range(len(matrix)), 2) if i < n_new]
        assert found.links.tolist() == sorted(alike, reverse=True)
        assert set(found.n_pairs.tolist()) <= {1}

    def test_distances_are_similarities_from_the_other_end(self):
        links = np.array([0.9, 0.6], dtype=np.float32)
        found = as_similarities(
            Joins(np.array([0.25, 0.5]), 1.5, np.array([1, 2]), links, is_similarity=False, n_given=3)
        )
        assert (found.cuts.tolist(), found.end, found.is_similarity, found.n_given) == ([0.75, 0.5], -0.5, True, 3)


class TestCut:
    @given(
        any_matrix(), st.sampled_from(METHODS), st.sampled_from([-3.0, 0.0, 3.0]), st.sampled_from([None, 0.5, 0.95])
    )
    def test_no_other_cut_is_expected_to_be_better(self, matrix, method, shift, precision):
        found = joins(method, given_pool(matrix))
        prior = PoolPrior(shifted(shift), n_positive=2.5)
        chosen = expected_cut(found, prior, precision)
        step = -1 if method == "cosine" else 1
        others = [expect_at(found, prior, cut) for cut in np.nextafter(found.cuts, step * np.inf)]
        if precision is None:
            assert chosen.f1 == pytest.approx(max((other.f1 for other in others), default=0.0))
        else:
            allowed = [other.n_joined for other in others if other.precision >= precision]
            assert chosen.n_joined == max(allowed, default=0)
        again = expect_at(found, prior, chosen.cut)
        if chosen.n_joined:
            assert again == chosen

    def test_expected_counts_are_sums_over_pairs(self):
        links = np.array([0.9, 0.5, 0.1], dtype=np.float32)
        steps = Joins(1.0 - links.astype(np.float64), 2.0, np.array([1, 2, 4]), links, is_similarity=False)
        prior = PoolPrior(shifted(1.0), n_positive=3.0)
        probabilities = expit(ODDS.log_odds(links) + 1.0)
        found = expect_at(steps, prior, 0.5)
        true_positives = probabilities[0] + 2 * probabilities[1]
        assert (found.n_joined, found.true_positives) == (3, pytest.approx(true_positives))
        assert found.precision == pytest.approx(true_positives / 3)
        assert found.recall == pytest.approx(true_positives / 3.0)
        assert found.f1 == pytest.approx(2 * true_positives / (3 + 3.0))
        assert (found.wrong, found.missed) == pytest.approx((3 - true_positives, 3.0 - true_positives))
        assert found.at_once == pytest.approx((1 * 1 + 2 * 2) / 3)

    @pytest.mark.parametrize("method", METHODS)
    def test_where_no_pair_is_expected_nothing_is_joined(self, method):
        pool, _ = mixture(40, 0, seed=1)
        chosen = expected_cut(joins(method, pool), find_prior(histogram(pool), [ODDS]))
        assert chosen.n_joined == 0
        assert np.isnan([chosen.f1, chosen.recall, chosen.precision]).all()
        alike = similarity_matrix(pool)[np.triu_indices(40, 1)]
        assert (alike >= chosen.cut).sum() == 0 if method == "cosine" else (1.0 - alike <= chosen.cut).sum() == 0

    @pytest.mark.parametrize(("n_positive", "n_given", "expected"), [(0.2, 0, 0.2), (0.2, 3, 3.0), (5.0, 3, 5.0)])
    def test_where_nothing_is_worth_joining_what_is_given_and_the_prior_stay(self, n_positive, n_given, expected):
        links = np.array([-0.9], dtype=np.float32)
        steps = Joins(1.0 - links.astype(np.float64), 2.0, np.array([50]), links, False, n_given)
        chosen = expected_cut(steps, PoolPrior(ODDS, n_positive))
        assert (chosen.cut, chosen.n_joined, chosen.true_positives) == (0.0, n_given, n_given)
        assert chosen.n_positive == expected

    def test_what_the_folds_miss_at_a_cut_counts_from_the_first_step_on(self):
        """A tenth of the fold's positive pairs is less similar than the cut, so as many are missed here."""
        links = np.array([0.9, 0.4], dtype=np.float32)
        steps = Joins(1.0 - links.astype(np.float64), 2.0, np.array([2, 1]), links, is_similarity=False)
        at = float(spread(np.array(0.7)))
        fold = PairOdds(
            intercept=0.0, slope=1.0, prior=0.1, positives=tuple(np.interp(LEVELS, [0, 0.1, 1], [0, at, 15]))
        )
        prior = PoolPrior(LogOdds(intercept=0.0, slope=1.0), 0.6, (fold,))
        found = expect_at(steps, prior, 0.3)
        assert found.shares_missed == pytest.approx((0.1,))
        assert found.n_positive == pytest.approx(found.true_positives / 0.9)
        none = expect_at(steps, prior, 0.05)
        assert (none.n_joined, none.n_positive, none.shares_missed, none.at_once) == (0, 0.6, (), 1.0)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_expected_f1_is_the_real_one_on_average(self, method):
        expected, real = [], []
        for seed in range(8):
            pool, labels = mixture(120, 30, seed)
            steps = joins(method, pool)
            chosen = expected_cut(steps, find_prior(histogram(pool), [ODDS]))
            graph = neighbours_above(pool, -1.0)
            if method == "cosine":
                predicted = graph.pairs[graph.similarities >= chosen.cut]
            else:
                groups = clusters_at(merge_tree(method, graph, pool, None), chosen.cut)
                predicted = np.argwhere(np.triu(np.equal.outer(groups, groups), 1))
            n_true = int((labels[predicted[:, 0]] == labels[predicted[:, 1]]).sum())
            expected.append(chosen.f1)
            real.append(2 * n_true / (len(predicted) + 30))
        # Pairs of this pool are drawn one by one, so that groups are less of one mind than those of photographs.
        assert np.mean(expected) == pytest.approx(np.mean(real), abs=0.02 if method == "cosine" else 0.05)


class TestOwnCut:
    @pytest.mark.parametrize("method", METHODS)
    def test_what_is_expected_is_that_of_the_groups_that_are_made(self, method):
        pool, _ = mixture(120, 30, seed=3)
        found = expect_of_pool(pool, unconstrained(120), [ODDS, ODDS], method, None)
        cut = plan_cut(method, found.chosen.cut, (), None)
        groups = group_images(pool, (), cut, None).cluster_ids
        sizes = np.bincount(groups)
        assert found.chosen.n_joined == (sizes * (sizes - 1) // 2).sum() > 0
        f1 = found.expected.f1
        assert 0 < f1.low < f1.value < f1.high <= 1
        assert 0 <= found.expected.single_share <= 1

    def test_pairs_that_the_folds_miss_are_expected_to_be_missed(self):
        pool, labels = mixture(120, 30, seed=3)
        (fold,) = fit_odds(pool, labels)
        found = expect_of_pool(pool, unconstrained(120), [fold], "cosine", None)
        alike = similarity_matrix(pool)[np.triu_indices(120, 1)]
        is_positive = np.equal.outer(labels, labels)[np.triu_indices(120, 1)]
        recall = (alike[is_positive] >= found.chosen.cut).mean()
        assert found.expected.recall.value == pytest.approx(recall, abs=0.06)

    @pytest.mark.parametrize("method", METHODS)
    def test_pairs_of_two_known_photographs_are_not_expected(self, method):
        pool, labels = mixture(60, 20, seed=4)
        lesions = tuple(str(label) for label in labels[40:])
        found = expect_of_pool(pool, Constraints(known_labels(lesions, 40)), [ODDS], method, None)
        cut = plan_cut(method, found.chosen.cut, (), None)
        made = group_images(pool, lesions, cut, None)
        n_known = {lesion: lesions.count(lesion) for lesion in lesions}
        sizes = [(len(group.members), n_known.get(group.lesion_id, 0)) for group in made.groups]
        assert found.chosen.n_joined == sum(n * (n - 1) // 2 + n * known for n, known in sizes)

    @pytest.mark.parametrize("method", METHODS)
    def test_pairs_that_people_have_answered_are_certain(self, method):
        pool, labels = mixture(120, 30, seed=3)
        alike = np.where(np.equal.outer(labels, labels), -1.0, similarity_matrix(pool))
        wrong = np.column_stack(np.unravel_index(np.argsort(-alike, axis=None)[:20:2], alike.shape))
        answers = Constraints(np.full(120, -1), np.arange(20).reshape(10, 2), wrong)
        found = expect_of_pool(pool, answers, [ODDS, ODDS], method, None)
        without = expect_of_pool(pool, unconstrained(120), [ODDS, ODDS], method, None)
        cut = plan_cut(method, found.chosen.cut, (), None)
        sizes = np.bincount(group_images(pool, (), cut, None, answers).cluster_ids)
        assert found.chosen.n_joined == (sizes * (sizes - 1) // 2).sum()
        assert found.chosen.n_given == 10 <= found.chosen.true_positives <= found.chosen.n_joined
        assert found.expected.precision.value > without.expected.precision.value
        assert found.expected.single_share < without.expected.single_share

    @pytest.mark.parametrize("method", METHODS)
    def test_where_no_other_pair_is_expected_only_answers_join(self, method):
        pool, _ = mixture(40, 0, seed=1)
        answers = Constraints(np.full(40, -1), np.array([[3, 5]]))
        found = expect_of_pool(pool, answers, [ODDS], method, None)
        assert (found.chosen.n_joined, found.chosen.n_given, found.expected.precision.value) == (1, 1, 1.0)
        cut = plan_cut(method, found.chosen.cut, (), None)
        assert len(group_images(pool, (), cut, None, answers).groups) == 39

    def test_photographs_without_a_partner_are_those_whose_nearest_is_improbable(self):
        pool, _ = mixture(30, 8, seed=2)
        answers = Constraints(np.append(np.full(24, -1), np.arange(6)), np.array([[0, 9]]))
        found = expect_of_pool(pool, answers, [ODDS], "average", None)
        alike = similarity_matrix(pool) - 2.0 * np.eye(30, dtype=np.float32)
        alone = 1.0 - found.log_odds.probabilities(alike[:24].max(axis=1))
        alone[[0, 9]] = 0.0  # an answer says that these two show one lesion
        assert found.expected.single_share == pytest.approx(alone.mean())

    def test_a_given_cut_is_kept(self):
        pool, _ = mixture(60, 10, seed=5)
        found = expect_of_pool(pool, unconstrained(60), [ODDS], "average", None, given=0.7)
        assert found.chosen.cut == 0.7
        assert found.chosen.n_joined > 0

    def test_every_figure_of_one_folder_stays_as_it_is(self):
        pool, _ = mixture(80, 20, seed=7)
        folds = [fit_odds(*mixture(120, 40, seed, 15.0))[0] for seed in (1, 2, 3)]
        found = expect_of_pool(pool, unconstrained(80), folds, "average", 4)
        estimates = (found.expected.precision, found.expected.recall, found.expected.f1)
        figures = [[each.low, each.value, each.high] for each in estimates]
        expected = [
            [0.64705882, 0.84078954, 1.0],
            [0.56, 0.79413689, 1.0],
            [0.63829787, 0.8167976, 0.94444444],
        ]
        np.testing.assert_allclose(figures, expected, atol=1e-6)
        others = [found.chosen.cut, *found.cuts_of_folds, found.expected.n_positive_pairs, found.expected.single_share]
        np.testing.assert_allclose(
            others, [0.45789273, 0.38723728, 0.45789273, 0.45789273, 17.99868813, 0.61649842], atol=1e-6
        )

    def test_folds_that_disagree_make_it_less_sure(self):
        pool, _ = mixture(120, 30, seed=6)
        other = PairOdds(intercept=-2.0, slope=0.8, prior=0.02)
        mean = mean_odds([ODDS, other])
        apart, alike = (
            expect_of_pool(pool, unconstrained(120), odds, "average", None).expected.f1
            for odds in ([ODDS, other], [mean, mean])
        )
        assert apart.value == alike.value
        assert apart.high - apart.low > alike.high - alike.low


def expectation(**values):
    return Expectation(**{"cut": 0.5, "n_joined": 200, "true_positives": 200.0, "n_positive": 208.0, **values})


class TestDocument:
    """The cut of a folder of photographs, as it is written down."""

    pool = mixture(60, 15, seed=5)[0]
    points = (OperatingPoints(cuts=(0.4, 0.9), tp=(8, 9), fp=(0, 9), n_positive_pairs=10, n_images=60),)

    def settle(self, odds=(ODDS, ODDS), constraints=None, known=None, **cluster):
        cuts = {"method": "average", "given": None, "value": None, "operating_points": self.points, **(known or {})}
        constraints = constraints or unconstrained(60)
        return settle_cut(self.pool, constraints, odds, KnownCuts(**cuts), ClusterParams(**cluster), True)

    @pytest.mark.parametrize("precision", [None, 0.99])
    def test_photographs_choose_their_cut_themselves(self, precision):
        found = self.settle(precision=precision, max_group_size=4)
        own = expect_of_pool(self.pool, unconstrained(60), (ODDS, ODDS), "average", 4, precision=precision)
        assert found["cut"] == own.chosen.cut
        assert (found["unsure_from"], found["unsure_to"]) == pytest.approx((1.0 - own.chosen.cut,) * 2)  # folds agree
        assert found["expected"] == own.expected.model_dump(mode="json")
        assert found["log_odds"] == own.log_odds.model_dump(mode="json")
        assert json.loads(json.dumps(found)) == found

    def test_some_of_them_may_be_known(self):
        some = Constraints(np.append(np.full(50, -1), np.arange(10)))
        own = expect_of_pool(self.pool, some, (ODDS, ODDS), "average", None)
        assert self.settle(constraints=some)["cut"] == own.chosen.cut

    @pytest.mark.parametrize(
        ("known", "cluster", "cut"),
        [({"given": 0.2}, {}, 0.2), ({}, {"single_share": 0.1}, 0.4), ({"given": 0.2}, {"single_share": 0.1}, 0.2)],
    )
    def test_unless_the_user_sets_a_cut_or_the_share_without_a_partner(self, known, cluster, cut):
        found = self.settle(known=known, **cluster)
        assert found["cut"] == pytest.approx(cut)
        at_cut = expect_of_pool(self.pool, unconstrained(60), (ODDS, ODDS), "average", None, given=found["cut"])
        assert found["expected"] == at_cut.expected.model_dump(mode="json")

    @pytest.mark.parametrize(
        ("changed", "cut"),
        [
            ({"odds": ()}, 0.4),
            ({"constraints": Constraints(np.zeros(60, dtype=np.int64))}, 0.4),
            ({"known": {"method": "mutual", "operating_points": ()}}, None),
            ({"known": {"operating_points": ()}, "single_share": 0.1}, None),
        ],
    )
    def test_nothing_is_expected_without_odds_new_photographs_or_a_cut(self, changed, cut):
        found = self.settle(**changed)
        assert found["cut"] == (cut if cut is None else pytest.approx(cut))
        assert (found["expected"], found["log_odds"]) == (None, None)


class TestIntervals:
    def test_the_number_of_missed_pairs_is_that_of_a_poisson_distribution(self):
        chosen = expectation(shares_missed=(8 / 208,))
        found = estimates(chosen, [chosen] * 100)["recall"]
        most, fewest = poisson.ppf([0.975, 0.025], 8.0)
        assert (found.low, found.high) == pytest.approx((200 / (200 + most), 200 / (200 + fewest)), abs=1e-9)

    def test_where_no_error_is_likely_enough_it_reaches_one(self):
        chosen = expectation(true_positives=199.9, n_positive=200.5)
        found = estimates(chosen, [chosen] * 20)
        assert found["precision"].high == found["recall"].high == found["f1"].high == 1.0
        assert min(estimate.value for estimate in found.values()) < 1.0

    def test_pairs_that_come_several_at_once_make_it_wider(self):
        single, several = (
            estimates(chosen, [chosen] * 20)["f1"]
            for chosen in (expectation(shares_missed=(0.04,)), expectation(shares_missed=(0.04,), at_once=4.0))
        )
        assert several.low < single.low < single.high < several.high

    def test_folds_that_miss_unequal_shares_make_it_wider(self):
        alike, apart = (
            estimates(chosen, [chosen] * 20)["f1"]
            for chosen in (expectation(shares_missed=(0.04, 0.04)), expectation(shares_missed=(0.01, 0.07)))
        )
        assert apart.low < alike.low
        assert apart.high >= alike.high

    def test_every_figure_of_a_few_folds_stays_as_it_is(self):
        chosen = expectation(true_positives=180.0, shares_missed=(0.04, 0.01, 0.09), at_once=3.0, n_given=20)
        others = [expectation(true_positives=true) for true in (170.0, 185.0, 190.0, 195.0)]
        found = estimates(chosen, others)
        figures = [[each.low, each.value, each.high] for each in found.values()]
        expected = [
            [0.79, 0.9, 1.0],
            [0.7692307692, 0.8653846154, 1.0],
            [0.8191268191, 0.8823529412, 0.9925558313],
        ]
        np.testing.assert_allclose(figures, expected, atol=1e-9)

    @pytest.mark.parametrize(("n_joined", "n_positive"), [(0, 0.1), (0, 3.0), (3, 3.0)])
    def test_what_is_undefined_stays_undefined(self, n_joined, n_positive):
        chosen = expectation(n_joined=n_joined, true_positives=float(n_joined), n_positive=n_positive)
        found = estimates(chosen, [chosen] * 20)
        assert (found["precision"] is None) == (n_joined == 0)
        assert (found["recall"] is None) == (found["f1"] is None) == (n_positive < 0.5)

    def test_it_holds_the_real_f1_of_most_pools(self):
        folds = [fit_odds(*mixture(120, 40, seed))[0] for seed in range(3)]
        is_held = []
        for seed in range(10, 20):
            pool, labels = mixture(80, 20, seed)
            found = expect_of_pool(pool, unconstrained(80), folds, "cosine", None)
            alike = similarity_matrix(pool)[np.triu_indices(80, 1)]
            is_positive = np.equal.outer(labels, labels)[np.triu_indices(80, 1)]
            is_joined = alike >= found.chosen.cut
            f1 = 2 * (is_joined & is_positive).sum() / (is_joined.sum() + is_positive.sum())
            is_held.append(found.expected.f1.low <= f1 <= found.expected.f1.high)
        assert np.mean(is_held) >= 0.8


class TestLikeness:
    """Pools of positive and negative pairs like those of the folds, or not."""

    folds = tuple(fit_odds(*mixture(150, 50, seed, 40.0))[0] for seed in range(3))

    def unlike(self, pool):
        counts = histogram(pool)
        return unlike_folds(counts, find_prior(counts, self.folds))

    @pytest.mark.parametrize(
        ("n_images", "n_lesions"), [(2, 0), (8, 0), (8, 4), (40, 2), (40, 20), (150, 0), (150, 60)]
    )
    def test_pools_as_in_the_folds_are_like_them_whatever_their_shares(self, n_images, n_lesions):
        assert [self.unlike(mixture(n_images, n_lesions, seed, 40.0)[0]) for seed in range(10, 30)] == [()] * 20

    @pytest.mark.parametrize("n_images", [60, 150])
    def test_negative_pairs_that_look_more_alike_are_found(self, n_images):
        changes = {
            "all of them": lambda alike: alike + 8.0,
            "in the tail": lambda alike: np.where(alike > -20.0, -20.0 + 2.0 * (alike + 20.0), alike),
        }
        pool, labels = mixture(n_images, n_images // 3, 7, 40.0)
        matrix, is_positive = similarity_matrix(pool), np.equal.outer(labels, labels)
        for change in changes.values():
            changed = np.where(
                is_positive, matrix, np.tanh(change(8 * np.arctanh(np.clip(matrix, -0.9999, 0.9999))) / 8)
            )
            assert self.unlike(given_pool(changed))

    def test_positive_pairs_that_look_less_alike_are_found(self):
        pool, labels = mixture(150, 60, 8, 40.0)
        matrix, is_positive = similarity_matrix(pool), np.equal.outer(labels, labels)
        changed = np.where(is_positive, np.minimum(matrix, np.tanh(10.0 / 8)), matrix)
        assert self.unlike(given_pool(changed)) == ("photographs of the same lesion are less similar",)

    @settings(max_examples=50)
    @given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 400))
    def test_few_low_positive_pairs_may_be_chance(self, n_low, n_between, n_high):
        """Every pair is positive with probability 1/2; a pair at the lowest fold's quantile is not low."""
        counts = np.zeros(2**16, dtype=np.int64)
        bins = np.array([30_000, 34_000, 40_000])
        counts[bins] = n_low, n_between, n_high
        low, lowest, _ = spread(middles(bins))
        is_higher, line = np.array(LEVELS) >= 0.2, {"intercept": 0.0, "slope": 0.0, "prior": 0.5}
        folds = tuple(
            PairOdds(
                **line,
                positives=tuple(np.where(is_higher, quantile, low)),
                negatives=tuple(np.linspace(8, 9, len(LEVELS))),
            )
            for quantile in (lowest, lowest + 0.1)
        )
        total = (n_low + n_between + n_high) / 2
        is_low = n_low / 2 / total - 3.5 * np.sqrt(0.2 * 0.8 / total) > 0.4
        found = unlike_folds(counts, PoolPrior(LogOdds(intercept=0.0, slope=0.0), total, folds))
        assert found == ("photographs of the same lesion are less similar",) * int(is_low)

    @settings(max_examples=100)
    @given(st.integers(0, 600), st.integers(1, 600), st.floats(0.05, 1.0))
    @example(4, 6, 0.5)  # just five pairs lie beyond the median
    def test_a_quantile_of_negative_pairs_is_high_only_where_pairs_enough_lie_beyond_it(self, n_usual, n_raised, rise):
        counts = np.zeros(2**16, dtype=np.int64)
        bins = np.array([28_000, 34_000])
        counts[bins] = 2 * n_usual, 2 * n_raised  # half of them are negative
        alike = spread(middles(bins))
        usual = alike[1] - np.array([2.0 + 2.0 * rise, 2.0 * rise, 2.0 * rise])
        quantiles = np.full(len(LEVELS), usual[0])
        for level, quantile in zip((0.5, 0.9, 0.99), usual, strict=True):
            quantiles[LEVELS.index(level) :] = quantile
        fold = PairOdds(
            intercept=0.0, slope=0.0, prior=0.5, positives=(-9.0,) * len(LEVELS), negatives=tuple(quantiles)
        )
        total = n_usual + n_raised
        rises = [
            (alike[0] if n_usual >= level * total else alike[1]) - before
            for level, before in zip((0.5, 0.9, 0.99), usual, strict=True)
            if (1.0 - level) * total >= 5
        ]
        found = unlike_folds(counts, PoolPrior(LogOdds(intercept=0.0, slope=0.0), total, (fold,)))
        is_raised = max(rises, default=0.0) / 2.0 > 0.35
        assert found == ("photographs of different lesions are more similar",) * int(is_raised)

    def test_nothing_is_said_where_the_folds_did_not_write_down_their_pairs(self):
        pool, _ = mixture(60, 20, seed=9)
        counts = histogram(pool)
        assert unlike_folds(counts, find_prior(counts, [ODDS])) == ()
        for unknown in ("positives", "negatives"):
            folds = tuple(fold.model_copy(update={unknown: ()}) for fold in self.folds)
            assert unlike_folds(counts, find_prior(counts, folds)) == ()
        assert unlike_folds(np.zeros_like(counts), PoolPrior(ODDS, 0.0, self.folds)) == ()
