"""Pools of fewer lesions and of more distractors: each is what the study itself would find there."""

import numpy as np
import pytest

from skinbit.matching.clustering import clusters_at, spanning_tree
from skinbit.matching.operating_points import operating_points
from skinbit.matching.pairs import cosine_similarities, positive_similarities, unit_vectors
from skinbit.matching.pools import (
    DISTRACTORS,
    SHARES,
    average_curve,
    carried_cuts,
    curves_of_methods,
    distractor_curve,
    fold_pools,
    mean_pools,
    pool_curve,
    summarise_pools,
    threshold_curve,
)
from skinbit.matching.selection import Sweep, choice_at, select
from skinbit.matching.uncertainty import mean_f1, predicted_pairs_at_threshold

FIXED = {"fixed": lambda n_images, share: 0.6}


def photographs(n_lesions, n_singles=0, seed=0, noise=0.8):
    """Similarities and labels of lesions of two images, then of lesions of one."""
    rng = np.random.default_rng(seed)
    labels = np.append(np.repeat(np.arange(n_lesions), 2), n_lesions + np.arange(n_singles))
    centres = rng.normal(size=(n_lesions + n_singles, 8))
    return cosine_similarities(unit_vectors(centres[labels] + noise * rng.normal(size=(len(labels), 8)))), labels


def component_curve(similarities, labels, cuts):
    """DBSCAN's curve, eps by eps."""
    tree = spanning_tree(similarities)
    epses = np.unique(np.append(tree.distances, cuts))
    same_lesion = labels[:, None] == labels
    once = np.triu(np.ones_like(same_lesion), 1)
    together = [np.equal.outer(groups, groups) & once for groups in (clusters_at(tree, eps) for eps in epses)]
    tp, fp = (np.array([(pairs & kind).sum() for pairs in together]) for kind in (same_lesion, ~same_lesion))
    return Sweep("dbscan", epses, epses, tp, fp, int((same_lesion & once).sum()))


class TestPoolCurve:
    def test_the_pool_of_all_lesions_is_the_whole_once(self):
        similarities, labels = photographs(20)
        table = pool_curve(similarities, labels, threshold_curve, FIXED, [20], n_draws=5, seed=0)
        assert table[["size", "draw", "n_images", "n_lesions", "n_positive_pairs"]].to_numpy().tolist() == [
            [20, 0, 40, 20, 20]
        ] * len(table)
        own, fixed = table.set_index("rule").loc[["own", "fixed"], "f1"]
        assert own == select(threshold_curve(similarities, labels, [])).f1
        assert fixed == mean_f1([predicted_pairs_at_threshold(similarities, labels, 0.6)])

    @pytest.mark.parametrize("sweep_of", [threshold_curve, component_curve])
    def test_no_cut_is_better_than_the_own_one(self, sweep_of):
        similarities, labels = photographs(30, n_singles=10)
        cuts = {str(cut): lambda *_, cut=cut: cut for cut in (0.1, 0.3, 0.5, 0.7, 0.9)}
        table = pool_curve(similarities, labels, sweep_of, cuts, [5, 20], n_draws=4, seed=0)
        f1 = table.pivot(index=["size", "draw"], columns="rule", values="f1").dropna()
        assert len(f1) > 4
        assert (f1.drop(columns="own").max(axis=1) <= f1["own"]).all()

    def test_the_curve_is_exact_at_cuts_that_only_the_tail_reaches(self):
        similarities, labels = photographs(40)
        loose = pool_curve(similarities, labels, threshold_curve, {"loose": lambda *_: -0.7}, [40], 1, 0)
        expected = mean_f1([predicted_pairs_at_threshold(similarities, labels, -0.7)])
        assert loose.set_index("rule").loc["loose", "f1"] == expected

    def test_a_rule_knows_the_number_of_images_of_the_pool_and_how_many_are_alone_only(self):
        asked = []
        rule = {"any": lambda *facts: asked.append(facts) or 0.5}
        pool_curve(*photographs(6), threshold_curve, rule, [2, 5], 2, 0)
        distractor_curve(*photographs(6, n_singles=4), threshold_curve, rule, [4], 1, 0)
        assert asked == [(4, 0), (4, 0), (10, 0), (10, 0), (16, 0.25)]

    def test_pools_depend_on_their_size_and_the_seed_alone(self):
        images = photographs(25, n_singles=5)
        both, one = (pool_curve(*images, threshold_curve, FIXED, sizes, 3, 4) for sizes in ([8, 12], [12]))
        assert both[both["size"] == 12].reset_index(drop=True).equals(one)
        assert not one.equals(pool_curve(*images, threshold_curve, FIXED, [12], 3, 5))
        assert one[one["rule"] == "own"]["f1"].nunique() > 1

    def test_the_larger_the_pool_the_lower_its_f1(self):
        table = summarise_pools(pool_curve(*photographs(150), threshold_curve, FIXED, [15, 50, 150], 5, 0))
        own = table[table["rule"] == "own"]["f1"].tolist()
        assert own[0] > own[1] > own[2]

    def test_a_cut_that_allows_for_the_size_is_better_in_large_pools_than_one_that_does_not(self):
        folds = [photographs(15, seed=seed) for seed in range(1, 6)]
        points = [operating_points(threshold_curve(*fold, []), -1.0, 1.0, len(fold[1])) for fold in folds]
        table = pool_curve(*photographs(300), threshold_curve, carried_cuts(points), [300], 1, 0).set_index("rule")
        assert table.loc["fixed", "f1"] < table.loc["corrected", "f1"] <= table.loc["own", "f1"]

    def test_only_the_corrected_cut_depends_on_the_size_of_the_pool(self):
        points = [operating_points(threshold_curve(*photographs(15, seed=seed), []), -1.0, 1.0, 30) for seed in (1, 2)]
        cuts = carried_cuts(points)
        assert cuts["fixed"](30, 0.5) == cuts["fixed"](3000, 0)
        assert cuts["corrected"](30, 0) < cuts["corrected"](3000, 0)
        assert cuts["corrected"](30, 0) == cuts["corrected"](30, 0.9)
        assert cuts["informed"](30, 0) == cuts["corrected"](30, 0) < cuts["informed"](30, 0.9)

    def test_pools_without_positive_pair_are_undefined(self):
        table = pool_curve(*photographs(0, n_singles=4), threshold_curve, FIXED, [1, 3], 2, 0)
        assert table["f1"].isna().all()
        assert summarise_pools(table)[["f1", "low", "high"]].isna().all(axis=None)

    def test_more_lesions_than_there_are_are_refused(self):
        with pytest.raises(ValueError, match="9 lesions cannot be drawn from 8"):
            pool_curve(*photographs(5, n_singles=3), threshold_curve, FIXED, [2, 9], 1, 0)


class TestDistractorCurve:
    def test_lesions_of_one_image_add_negative_pairs_only(self):
        similarities, labels = photographs(20, n_singles=60)
        table = distractor_curve(similarities, labels, threshold_curve, FIXED, [0, 30, 60], n_draws=3, seed=0)
        assert set(table["n_positive_pairs"]) == {20}
        assert (table["n_images"] == 40 + table["size"]).all()
        assert (table["n_lesions"] == 20 + table["size"]).all()
        # There is one pool without, one with all, and three with some of them; each has two rules.
        assert table["size"].value_counts().to_dict() == {0: 2, 30: 6, 60: 2}

    @pytest.mark.parametrize("sweep_of", [threshold_curve, component_curve])
    def test_they_can_only_lower_f1(self, sweep_of):
        similarities, labels = photographs(20, n_singles=60)
        table = summarise_pools(distractor_curve(similarities, labels, sweep_of, FIXED, [0, 30, 60], 3, 0))
        for rule in ("own", "fixed"):
            without, some, all_of_them = table[table["rule"] == rule]["f1"]
            assert without >= some >= all_of_them
        if sweep_of is threshold_curve:
            assert without > all_of_them

    def test_a_cut_that_knows_their_share_is_better_than_one_that_knows_the_size_alone(self):
        folds = [photographs(40, seed=seed, noise=0.5) for seed in range(1, 6)]
        points = [operating_points(threshold_curve(*fold, []), -1.0, 1.0, len(fold[1])) for fold in folds]
        archive = photographs(80, n_singles=400, noise=0.5)
        found = distractor_curve(*archive, threshold_curve, carried_cuts(points), [400], 1, 0).set_index("rule")["f1"]
        assert found["fixed"] < found["corrected"] < found["informed"] <= found["own"]

    def test_without_them_the_pool_is_that_of_the_other_lesions(self):
        similarities, labels = photographs(10, n_singles=5)
        table = distractor_curve(similarities, labels, threshold_curve, {}, [0], 1, 0)
        assert table["f1"].tolist() == [select(threshold_curve(similarities[:20, :20], labels[:20], [])).f1]

    def test_more_than_there_are_are_refused(self):
        with pytest.raises(ValueError, match="4 lesions cannot be drawn from 3"):
            distractor_curve(*photographs(5, n_singles=3), threshold_curve, FIXED, [4], 1, 0)


class TestFolds:
    """What a fold's F1 would be in pools of other sizes, at cuts of the other folds."""

    @staticmethod
    def others(max_group_size=4):
        """Give what two other folds would choose."""
        folds = [photographs(15, seed=seed) for seed in (1, 2)]
        return {
            method: [operating_points(sweep(*fold, []), *limits, 30) for fold in folds]
            for (method, sweep), limits in zip(
                curves_of_methods(max_group_size).items(), [(-1.0, 1.0), (0.0, 2.0)], strict=True
            )
        }

    def test_the_whole_fold_at_the_mean_cut_has_its_transfer_f1(self):
        similarities, labels = photographs(20)
        others = self.others()
        found = fold_pools(similarities, labels, others, 4, seed=0).set_index(["method", "share", "rule"])["f1"]
        for method, sweep_of in {"cosine": threshold_curve, "average": average_curve(4)}.items():
            cut = np.mean([points.best_cut(1.0) for points in others[method]])
            expected = choice_at(sweep_of(similarities, labels, [cut]), cut).f1
            assert found[method, 1.0, "fixed"] == expected

    def test_every_share_of_the_lesions_is_tried_and_smaller_pools_have_fewer_images(self):
        found = fold_pools(*photographs(20), self.others(), 4, seed=0)
        sizes = found[found["rule"] == "own"].set_index(["method", "share"])["n_images"]
        assert sizes["cosine"].to_dict() == {share: 40 * share for share in SHARES} == sizes["average"].to_dict()

    def test_among_distractors_all_lesions_of_several_images_stay(self):
        found = fold_pools(*photographs(20, n_singles=40), self.others(), 4, 0, DISTRACTORS)
        assert set(found["pool"]) == {"distractors"}
        assert found.groupby("share")["n_images"].first().to_dict() == {share: 40 + 40 * share for share in SHARES}

    def test_without_distractors_there_is_no_such_pool(self):
        assert fold_pools(*photographs(20), self.others(), 4, 0, DISTRACTORS).empty

    def test_folds_are_averaged_size_by_size(self):
        folds = [fold_pools(*photographs(20, seed=seed), self.others(), 4, 0) for seed in (3, 4)]
        keys = ["pool", "method", "share", "rule"]
        mean = mean_pools(folds).set_index(keys)
        first, second = (fold.set_index(keys)["f1"] for fold in folds)
        assert mean["f1"].to_dict() == pytest.approx(((first + second) / 2).to_dict())
        assert mean["std"].to_dict() == pytest.approx(((first - second).abs() / np.sqrt(2)).to_dict())
        assert mean_pools(folds[:1])["std"].isna().all()


class TestSummary:
    def test_is_the_mean_over_draws_and_the_range_of_its_middle(self):
        table = pool_curve(*photographs(30), threshold_curve, FIXED, [6, 30], n_draws=20, seed=0)
        found = summarise_pools(table).set_index(["size", "rule"])
        draws = table[(table["size"] == 6) & (table["rule"] == "own")]["f1"]
        assert found.loc[(6, "own"), "f1"] == draws.mean()
        assert found.loc[(6, "own"), ["low", "high"]].tolist() == pytest.approx(draws.quantile([0.025, 0.975]).tolist())
        assert found.loc[(30, "own"), "low"] == found.loc[(30, "own"), "high"] == found.loc[(30, "own"), "f1"]


def test_every_pair_of_a_component_is_predicted():
    similarities, labels = photographs(6)
    curve = component_curve(similarities, labels, [])
    assert choice_at(curve, 2.0).recall == 1
    assert curve.n_positive_pairs == len(positive_similarities(similarities, labels))
