"""Pools of fewer lesions and of more distractors: each is what the study itself would find there."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import EvaluationParams
from skinbit.matching.cuts.search import Vicinity, first_floor
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.neighbours import neighbours_above
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.pools import (
    DISTRACTORS,
    FOLLOWED,
    LESIONS,
    SHARES,
    Draws,
    carried_cuts,
    draw_pools,
    fold_pools,
    follow_pools,
    mean_pools,
    summarise_pools,
)
from skinbit.matching.scoring.score import metrics_at_cuts, score, score_at
from skinbit.matching.scoring.uncertainty import mean_f1
from tests.matching.samples import limited, pools

FIXED = {"fixed": lambda n_images, share: 0.6}


def photographs(n_lesions, n_singles=0, seed=0, noise=0.8):
    """Images and labels of lesions of two images, then of lesions of one."""
    rng = np.random.default_rng(seed)
    labels = np.append(np.repeat(np.arange(n_lesions), 2), n_lesions + np.arange(n_singles))
    centres = rng.normal(size=(n_lesions + n_singles, 8))
    return Pool(unit_vectors(centres[labels] + noise * rng.normal(size=(len(labels), 8)))), labels


def scored(pool, labels, cuts=None, cap=4):
    names = [f"{label:05}" for label in labels]
    return score(pool, names, EvaluationParams(max_group_size=cap), cuts)


def f1_at(pool, labels, method, cut):
    return mean_f1([score_at(pool, labels, {method: cut}, 4).predicted[method]])


def everything_near(pool):
    return Vicinity(pool, neighbours_above(pool, first_floor(pool)))


def follow(images, rules, sizes, n_draws, seed, kind=LESIONS, method="cosine"):
    pool, labels = images
    drawn = draw_pools(labels, sizes, n_draws, seed, kind)
    return follow_pools(everything_near(pool), labels, {method: rules}, drawn, 4)


every_method = pytest.mark.parametrize("method", ["cosine", "dbscan", "average"])


class TestPools:
    @every_method
    def test_the_pool_of_all_lesions_is_the_whole_once(self, method):
        images = photographs(20)
        table = follow(images, FIXED, [20], n_draws=5, seed=0, method=method)
        assert table["method"].tolist() == [method] * 2
        assert table[["size", "draw", "n_images", "n_lesions", "n_positive_pairs"]].to_numpy().tolist() == [
            [20, 0, 40, 20, 20]
        ] * len(table)
        own, fixed = table.set_index("rule").loc[["own", "fixed"], "f1"]
        assert own == scored(*images).metrics[f"{method}_f1"]
        assert fixed == f1_at(*images, method, 0.6)

    @given(pools(least=4), st.floats(0, 1), st.integers(0, 99), st.floats(-1, 1))
    def test_every_pool_is_what_a_score_of_its_images_alone_finds(self, pool, cut, seed, floor):
        pool, labels = pool
        labels = np.unique(labels, return_inverse=True)[1]
        n_lesions = labels.max() + 1
        drawn = draw_pools(labels, sorted({1, (n_lesions + 1) // 2, n_lesions}), 2, seed)
        rules = {method: {"given": lambda *_: cut} for method in ("cosine", "dbscan", "average", "complete")}
        table = follow_pools(Vicinity(pool, neighbours_above(pool, floor)), labels, rules, drawn, 3)
        for each in drawn:
            rows = np.flatnonzero(np.isin(labels, each.lesions))
            found = scored(pool.subset(rows), labels[rows], dict.fromkeys(rules, cut), cap=3)
            given_ = metrics_at_cuts(found, dict.fromkeys(rules, cut))
            of_pool = table[(table["size"] == each.size) & (table["draw"] == each.draw)].set_index(["method", "rule"])
            for method in rules:
                wanted = found.metrics[f"{method}_f1"], given_[f"{method}_f1"]
                assert of_pool.loc[method, "f1"].tolist() == pytest.approx(wanted, rel=0, abs=0, nan_ok=True)
            assert set(of_pool["n_positive_pairs"]) == {found.metrics["n_positive_pairs"]}

    @every_method
    def test_no_cut_is_better_than_the_own_one(self, method):
        cuts = {str(cut): lambda *_, cut=cut: cut for cut in (0.1, 0.3, 0.5, 0.7, 0.9)}
        table = follow(photographs(30, n_singles=10), cuts, [5, 20], n_draws=4, seed=0, method=method)
        f1 = table.pivot(index=["size", "draw"], columns="rule", values="f1").dropna()
        assert len(f1) > 4
        assert (f1.drop(columns="own").max(axis=1) <= f1["own"]).all()

    def test_a_cut_far_below_the_best_is_judged_exactly(self):
        images = photographs(40)
        loose = follow(images, {"loose": lambda *_: -0.7}, [40], 1, 0)
        assert loose.set_index("rule").loc["loose", "f1"] == f1_at(*images, "cosine", -0.7)

    def test_a_rule_knows_the_number_of_images_of_the_pool_and_how_many_are_alone_only(self):
        asked = []
        rule = {"any": lambda *facts: asked.append(facts) or 0.5}
        follow(photographs(6), rule, [2, 5], 2, 0)
        follow(photographs(6, n_singles=4), rule, [4], 1, 0, DISTRACTORS)
        assert asked == [(4, 0), (4, 0), (10, 0), (10, 0), (16, 0.25)]

    def test_a_rule_that_can_choose_no_cut_gives_none(self):
        table = follow(photographs(6), {"none": lambda *_: np.nan}, [6], 1, 0).set_index("rule")
        assert np.isnan(table.loc["none", "f1"])
        assert table.loc["own", "f1"] > 0

    def test_pools_depend_on_their_size_and_the_seed_alone(self):
        images = photographs(25, n_singles=5)
        both, one = (follow(images, FIXED, sizes, 3, 4) for sizes in ([8, 12], [12]))
        assert both[both["size"] == 12].reset_index(drop=True).equals(one)
        assert not one.equals(follow(images, FIXED, [12], 3, 5))
        assert one[one["rule"] == "own"]["f1"].nunique() > 1

    def test_the_larger_the_pool_the_lower_its_f1(self):
        table = summarise_pools(follow(photographs(150), FIXED, [15, 50, 150], 5, 0))
        own = table[table["rule"] == "own"]["f1"].tolist()
        assert own[0] > own[1] > own[2]

    def test_a_cut_that_allows_for_the_size_is_better_in_large_pools_than_one_that_does_not(self):
        points = [scored(*photographs(15, seed=seed)).points["cosine"] for seed in range(1, 6)]
        table = follow(photographs(300), carried_cuts(points), [300], 1, 0).set_index("rule")
        assert table.loc["fixed", "f1"] < table.loc["corrected", "f1"] <= table.loc["own", "f1"]

    def test_only_the_corrected_cut_depends_on_the_size_of_the_pool(self):
        cuts = carried_cuts([scored(*photographs(15, seed=seed)).points["cosine"] for seed in (1, 2)])
        assert cuts["fixed"](30, 0.5) == cuts["fixed"](3000, 0)
        assert cuts["corrected"](30, 0) < cuts["corrected"](3000, 0)
        assert cuts["corrected"](30, 0) == cuts["corrected"](30, 0.9)
        assert cuts["informed"](30, 0) == cuts["corrected"](30, 0) < cuts["informed"](30, 0.9)

    def test_pools_without_positive_pair_are_undefined(self):
        table = follow(photographs(0, n_singles=4), FIXED, [1, 3], 2, 0)
        assert table["f1"].isna().all()
        assert summarise_pools(table)[["f1", "low", "high"]].isna().all(axis=None)

    def test_more_lesions_than_there_are_are_refused(self):
        with pytest.raises(ValueError, match="9 lesions cannot be drawn from 8"):
            follow(photographs(5, n_singles=3), FIXED, [2, 9], 1, 0)


class TestLimits:
    def test_what_few_pairs_do_not_prove_is_looked_for_once_for_all_pools(self):
        pool, labels = photographs(40)
        drawn = draw_pools(labels, [10, 40], 3, 0)
        few, all_pairs = Vicinity(pool, neighbours_above(pool, 0.95)), everything_near(pool)
        rules = {"average": {"strict": lambda *_: 0.1}, "complete": {}, "cosine": {"strict": lambda *_: 0.9}}
        tables = [follow_pools(each, labels, rules, drawn, 4) for each in (few, all_pairs)]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        assert few.graph.is_complete

    def test_where_too_many_pairs_would_prove_it_a_warning_says_so(self, caplog):
        pool, labels = photographs(40)
        found = follow((limited(pool, most_pairs=60), labels), {}, [40], 1, 0, method="average")
        assert found["f1"].tolist() <= follow((pool, labels), {}, [40], 1, 0, method="average")["f1"].tolist()
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "average among 80 images" in record.getMessage()

    def test_of_thresholds_the_best_one_within_the_near_pairs_is_taken(self, caplog):
        pool, labels = photographs(40)
        (found,) = follow((limited(pool, most_pairs=60), labels), {}, [40], 1, 0).itertuples()
        assert "cosine among 80 images" in caplog.text
        assert found.f1 == f1_at(pool, labels, "cosine", found.cut)
        assert 0 < found.f1 <= scored(pool, labels).metrics["cosine_f1"]

    def test_where_not_even_a_pair_of_one_lesion_is_near_no_pair_is_predicted(self):
        # Ten strangers in one place, and a lesion whose images are far apart.
        vectors = np.append(np.ones((10, 2)), [[1, 0], [-1, 0.1]], axis=0)
        pool, labels = Pool(unit_vectors(vectors)), np.append(np.arange(10), [10, 10])
        found = follow((limited(pool, most_pairs=46), labels), {}, [11], 1, 0)
        assert found["f1"].tolist() == [0]

    def test_a_given_cut_that_asks_for_too_many_pairs_is_tightened_and_a_warning_says_so(self, caplog):
        pool, labels = photographs(40)
        found = follow((limited(pool, most_pairs=60), labels), {"loose": lambda *_: -0.7}, [40], 1, 0)
        (loose,) = found[found["rule"] == "loose"].itertuples()
        assert "do not reach the cut -0.7000" in caplog.text
        assert loose.cut > -0.7
        assert loose.f1 == f1_at(pool, labels, "cosine", loose.cut)


class TestDistractors:
    def test_lesions_of_one_image_add_negative_pairs_only(self):
        table = follow(photographs(20, n_singles=60), FIXED, [0, 30, 60], 3, 0, DISTRACTORS)
        assert set(table["n_positive_pairs"]) == {20}
        assert (table["n_images"] == 40 + table["size"]).all()
        assert (table["n_lesions"] == 20 + table["size"]).all()
        # There is one pool without, one with all, and three with some of them; each has two rules.
        assert table["size"].value_counts().to_dict() == {0: 2, 30: 6, 60: 2}

    @pytest.mark.parametrize("method", ["cosine", "dbscan"])
    def test_they_can_only_lower_f1(self, method):
        images = photographs(20, n_singles=60)
        table = summarise_pools(follow(images, FIXED, [0, 30, 60], 3, 0, DISTRACTORS, method))
        for rule in ("own", "fixed"):
            without, some, all_of_them = table[table["rule"] == rule]["f1"]
            assert without >= some >= all_of_them
        if method == "cosine":
            assert without > all_of_them

    def test_a_cut_that_knows_their_share_is_better_than_one_that_knows_the_size_alone(self):
        points = [scored(*photographs(40, seed=seed, noise=0.5)).points["cosine"] for seed in range(1, 6)]
        archive = photographs(80, n_singles=400, noise=0.5)
        found = follow(archive, carried_cuts(points), [400], 1, 0, DISTRACTORS).set_index("rule")["f1"]
        assert found["fixed"] < found["corrected"] < found["informed"] <= found["own"]

    def test_without_them_the_pool_is_that_of_the_other_lesions(self):
        pool, labels = photographs(10, n_singles=5)
        table = follow((pool, labels), {}, [0], 1, 0, DISTRACTORS)
        assert table["f1"].tolist() == [scored(pool.subset(np.arange(20)), labels[:20]).metrics["cosine_f1"]]

    def test_more_than_there_are_are_refused(self):
        with pytest.raises(ValueError, match="4 lesions cannot be drawn from 3"):
            follow(photographs(5, n_singles=3), FIXED, [4], 1, 0, DISTRACTORS)


class TestFolds:
    """What a fold's F1 would be in pools of other sizes, at cuts of the other folds."""

    @staticmethod
    def others():
        """Return what two other folds would choose."""
        folds = [scored(*photographs(15, seed=seed)) for seed in (1, 2)]
        return {method: [fold.points[method] for fold in folds] for method in FOLLOWED}

    def of_fold(self, images, kind=LESIONS):
        pool, labels = images
        return fold_pools(everything_near(pool), labels, self.others(), 4, Draws(0, kind))

    def test_the_whole_fold_at_the_mean_cut_has_its_transfer_f1(self):
        images, others = photographs(20), self.others()
        found = self.of_fold(images).set_index(["method", "share", "rule"])["f1"]
        for method in FOLLOWED:
            cut = np.mean([points.best_cut(1.0) for points in others[method]])
            assert found[method, 1.0, "fixed"] == f1_at(*images, method, cut)
            assert found[method, 1.0, "own"] == scored(*images).metrics[f"{method}_f1"]

    def test_every_share_of_the_lesions_is_tried_and_smaller_pools_have_fewer_images(self):
        found = self.of_fold(photographs(20))
        assert found.columns.tolist() == ["pool", "method", "share", "rule", "n_images", "f1"]
        sizes = found[found["rule"] == "own"].set_index(["method", "share"])["n_images"]
        assert sizes["cosine"].to_dict() == {share: 40 * share for share in SHARES} == sizes["average"].to_dict()
        assert set(found["rule"]) == {"own", "fixed", "corrected"}

    def test_the_smallest_pool_of_a_small_fold_has_one_lesion(self):
        found = self.of_fold(photographs(3))
        sizes = found[(found["rule"] == "own") & (found["method"] == "cosine")].set_index("share")["n_images"]
        assert sizes.to_dict() == {share: 2 * max(1, round(3 * share)) for share in sizes.index}
        assert sizes.min() == 2

    def test_among_distractors_all_lesions_of_several_images_stay(self):
        found = self.of_fold(photographs(20, n_singles=40), DISTRACTORS)
        assert set(found["pool"]) == {"distractors"}
        assert set(found["rule"]) == {"own", "fixed", "corrected", "informed"}
        assert found.groupby("share")["n_images"].first().to_dict() == {share: 40 + 40 * share for share in SHARES}

    def test_without_distractors_there_is_no_such_pool(self):
        assert self.of_fold(photographs(20), DISTRACTORS).empty

    @pytest.mark.parametrize("kind", [LESIONS, DISTRACTORS])
    def test_the_size_of_tiles_changes_nothing(self, kind):
        pool, labels = photographs(15, n_singles=20)
        tables = [self.of_fold((each, labels), kind) for each in (pool, limited(pool, tile_bytes=5000))]
        pd.testing.assert_frame_equal(*tables, check_exact=True)

    def test_folds_are_averaged_size_by_size(self):
        folds = [self.of_fold(photographs(20, seed=seed)) for seed in (3, 4)]
        keys = ["pool", "method", "share", "rule"]
        mean = mean_pools(folds).set_index(keys)
        first, second = (fold.set_index(keys)["f1"] for fold in folds)
        assert mean["f1"].to_dict() == pytest.approx(((first + second) / 2).to_dict())
        assert mean["std"].to_dict() == pytest.approx(((first - second).abs() / np.sqrt(2)).to_dict())
        assert mean_pools(folds[:1])["std"].isna().all()


class TestSummary:
    def test_is_the_mean_over_draws_and_the_range_of_its_middle(self):
        table = follow(photographs(30), FIXED, [6, 30], n_draws=20, seed=0)
        found = summarise_pools(table).set_index(["method", "size", "rule"]).loc["cosine"]
        draws = table[(table["size"] == 6) & (table["rule"] == "own")]["f1"]
        assert found.loc[(6, "own"), "f1"] == draws.mean()
        assert found.loc[(6, "own"), ["low", "high"]].tolist() == pytest.approx(draws.quantile([0.025, 0.975]).tolist())
        assert found.loc[(30, "own"), "low"] == found.loc[(30, "own"), "high"] == found.loc[(30, "own"), "f1"]
