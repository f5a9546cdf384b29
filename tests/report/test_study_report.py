"""The report of a study: what it says, what it draws, and that a browser and a printer show it."""

import json
import math
import re
from itertools import combinations, pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skinbit.audit.findings import Check, Finding, tabulate_findings
from skinbit.audit.split import hash_split, places_of
from skinbit.audit.summary import AuditSummary, summarise_kinds
from skinbit.config import EvaluationParams, StudyParams
from skinbit.matching.cuts.operating_points import gather_subsets
from skinbit.matching.cuts.transfer import carry_to_pool, cuts_of_folds, others_of_folds
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.leaderboard import add_gaps, rank_experiments
from skinbit.matching.scoring.pools import Draws, fold_pools, mean_pools
from skinbit.matching.scoring.results import curve_table, interval_metrics, judgement_table, metric_table
from skinbit.matching.scoring.score import metrics_at_cuts, score, score_at
from skinbit.matching.scoring.strata import evaluate_strata, strata_of_lesions
from skinbit.matching.scoring.transfer_metrics import pooled_metrics, transfer_metrics
from skinbit.matching.scoring.uncertainty import f1_intervals, resample_f1
from skinbit.pipelines.evaluation.nodes.results import (
    add_test_results,
    collect_results,
    summarise_experiment,
    write_report,
)
from skinbit.report.charts import axis_from_zero, f1_chart, line_chart, make_axis, shown_range
from skinbit.report.data_summary import measure_subset, summarise_data
from skinbit.report.experiment_charts import training_charts
from skinbit.report.figures import f1_curves
from skinbit.report.findings import findings, headline, transfer_costs
from skinbit.report.method_tables import compare_methods, gap_to_first, stratum_tables
from skinbit.report.pages import render_page
from skinbit.report.study_report import prepare_report

EVALUATION = EvaluationParams(resamples=100)

SETTINGS = {
    "backbone": {"model": "test_vit", "weights": "mine.safetensors", "pooling": {"levels": [1, 2]}, "model_args": {}},
    "split": {"stratify_by": "<i>dx"},
    "folds": [0, 1, 2],
    "seed": 42,
}
REJECTED = [
    ("</script><script>alert(1)</script>", "a", "lesion has fewer than 2 images"),
    ("b_1", "b", "lesion has more than 4 images"),
    *((f"c_{n}", "", "<b>no lesion_id") for n in range(5)),
]
LONG_NAME = "resnet_triplet_with_a_name_much_longer_than_a_phone_is_wide"


class Study:
    """A small study, made by the functions that make a real one."""

    def __init__(self, noises, folds=(0, 1, 2), has_test=True, dim=8):
        self.params = StudyParams(experiments=tuple(noises), folds=folds)
        generator = np.random.default_rng(3)
        dealt = [*range(3), *([-1] if has_test else [])]
        rows = [
            (f"{fold}_{lesion}_{image}", f"{fold}_{lesion}", "test" if fold == -1 else "train", fold)
            for fold in dealt
            for lesion in range(9)
            for image in range(2 + lesion % 3)
        ]
        self.split = pd.DataFrame(rows, columns=["image_id", "lesion_id", "subset", "fold"])
        self.rejected = pd.DataFrame(REJECTED, columns=["image_id", "lesion_id", "reason"])
        self.results, self.summaries = {}, {}
        for name, noise in noises.items():
            self._run(name, noise, dim, has_test, generator)
        settings = {name: tuple(name.split("_")[:2]) for name in noises}
        resampled = {name: summary["resampled_f1"]["cosine"] for name, summary in self.summaries.items()}
        self.leaderboard = add_gaps(rank_experiments(self.results, settings), resampled)

    def _run(self, name, noise, dim, has_test, generator):
        def evaluate(fold):
            lesions = self.split.loc[self.split["fold"] == fold, "lesion_id"]
            centres = {lesion: generator.normal(size=dim) for lesion in sorted(set(lesions))}
            values = np.array([centres[lesion] + noise * generator.normal(size=dim) for lesion in lesions])
            pool = Pool(unit_vectors(values.astype(np.float32)))
            return pool, lesions.tolist(), score(pool, lesions.tolist(), EVALUATION)

        folds = self.params.folds
        matched = {fold: evaluate(fold) for fold in folds}
        found = [each for _, _, each in matched.values()]
        by_fold = {f"fold_{fold}_sweep": curve_table(each.sweeps) for fold, (_, _, each) in matched.items()}
        points = gather_subsets([each.points for each in found])
        judgement, *details = self._evaluate(matched, points)
        metrics = {f"fold_{fold}_results": metric_table(each.metrics) for fold, (_, _, each) in matched.items()}
        results = collect_results(judgement, name=name, **metrics)
        if has_test:
            results = add_test_results(results, points, self._test(evaluate(-1), points), EVALUATION)
        for fold, (_, _, each) in matched.items():
            by_fold[f"fold_{fold}_clustered_images"] = pd.DataFrame({"cluster_id": each.clusters})
            if not name.endswith("baseline"):
                history = {"epoch": [1, 2], "loss": [0.5, 0.2], "f1": [np.nan, 0.3]}
                by_fold[f"fold_{fold}_history"] = pd.DataFrame(history)
        self.results[name] = results
        summary = summarise_experiment(results, *details, SETTINGS, **by_fold)
        self.summaries[name] = json.loads(json.dumps(summary))

    def _evaluate(self, matched, points):
        cuts = cuts_of_folds(points, self.params.folds)
        evaluated = {
            fold: score_at(pool, lesion_labels(lesions), cuts[fold], max_group_size=4)
            for fold, (pool, lesions, _) in matched.items()
        }
        predicted = {fold: each.predicted for fold, each in evaluated.items()}
        resampled = resample_f1(list(predicted.values()), EVALUATION.resamples, 42)
        sites = self.split.assign(site=np.where(self.split["lesion_id"].str[-1] < "3", "<b>back", "arm"))
        strata = evaluate_strata(
            list(predicted.values()),
            strata_of_lesions(self.split, predicted, sites, ["site"]),
            EVALUATION.resamples,
            42,
        )
        is_transferred = len(self.params.folds) > 1
        metrics = {
            fold: (transfer_metrics(each) if is_transferred else {}) | dict(each.metrics)
            for fold, each in evaluated.items()
        }
        others = others_of_folds(points, self.params.folds)
        pools = [
            fold_pools(evaluated[fold].vicinity, lesion_labels(lesions), others[fold], 4, Draws(42))
            for fold, (_, lesions, _) in matched.items()
        ]
        of_all = interval_metrics(f1_intervals(resampled)) | pooled_metrics(list(predicted.values()))
        return judgement_table(metrics, of_all), resampled, strata, mean_pools(pools)

    def _test(self, matched, points):
        pool, lesions, _ = matched
        carried = carry_to_pool(points, len(lesions), is_corrected=True)
        cuts = {method: cut.value for method, cut in carried.items()}
        found = score(pool, lesions, EVALUATION, cuts)
        intervals = interval_metrics(f1_intervals(resample_f1([found.given.predicted], EVALUATION.resamples, 42)))
        rho = {"rho": carried["cosine"].rho}
        return metric_table({**metrics_at_cuts(found, cuts), **rho, **found.given.metrics, **intervals})

    def prepare(self):
        return prepare_report(self.leaderboard, self.split, self.rejected, self.summaries, self.params.folds)

    def page(self, audit=None):
        summaries = {f"summary_{name}": self.summaries[name] for name in self.params.experiments}
        return write_report(self.params, self.leaderboard, self.split, self.rejected, audit or {}, **summaries)


@pytest.fixture(scope="module")
def study():
    return Study({"vit_baseline": 1.5, "vit_triplet": 0.6, LONG_NAME: 0.9})


@pytest.fixture(scope="module")
def one_fold():
    return Study({"vit_baseline": 1.0, "vit_triplet": 0.5}, folds=(1,), has_test=False)


def row(experiment="vit_triplet", **metrics):
    names = [f"{method}_{name}" for method in METHODS for name in ("f1_mean", "f1_std", "f1_test")]
    names += [f"{method}_f1_transfer_{name}" for method in METHODS for name in ("mean", "std", "low", "high")]
    names += ["rank", "behind_first", "behind_first_low", "behind_first_high"]
    return dict.fromkeys(names) | {"experiment": experiment} | metrics


def sizes(folds=(0, 1), has_test=True):
    rows = [("a", "A", "train", 0), ("b", "A", "train", 0), ("c", "B", "train", 1), ("d", "B", "train", 1)]
    rows += [("e", "C", "test", -1)] if has_test else []
    split = pd.DataFrame(rows, columns=["image_id", "lesion_id", "subset", "fold"])
    return summarise_data(split, pd.DataFrame(columns=["image_id", "lesion_id", "reason"]), folds)


class TestWords:
    def test_the_headline_names_the_best_experiment_and_its_f1_with_the_other_folds_cuts(self):
        board = [
            row("other", cosine_f1_transfer_mean=0.9, dbscan_f1_transfer_mean=0.4),
            row(average_f1_transfer_mean=0.5, average_f1_transfer_std=0.01, average_f1_mean=0.9),
        ]
        assert headline(board) == (
            "vit_triplet with average linkage finds images of the same lesion best: pairwise F1\xa00.500\xa0±\xa00.010"
        )

    def test_a_single_experiment_is_not_called_the_best(self):
        board = [row(cosine_f1_mean=0.9, cosine_f1_transfer_mean=0.5)]
        assert headline(board) == (
            "vit_triplet with the cosine threshold finds images of the same lesion with pairwise F1\xa00.500"
        )

    def test_of_equal_f1_the_experiment_that_ranks_higher_is_named_with_the_default_method(self):
        board = [row(name, dbscan_f1_mean=0.5, average_f1_mean=0.5) for name in ("first", "second")]
        assert headline(board).startswith("first with average linkage ")

    def test_an_undefined_f1_is_never_printed_as_a_figure(self):
        data = sizes()
        assert headline([row(), row("other")]) == "No experiment has a defined F1"
        assert findings([row()], data, {}, {}) == (
            "No fold that ran has a positive pair, or no cut lies in the searched range.",
        )

    def test_one_fold_says_that_its_f1_is_optimistic(self):
        board = [row(cosine_f1_mean=0.4)]
        assert headline(board).endswith("0.400")
        said = findings(board, sizes(folds=(1,)), {"vit_triplet": {"cosine_f1": {"fold_1": 0.4, "mean": 0.4}}}, {})
        assert said[0].startswith("Only fold 1 ran (2 images of 1 lesion)")
        assert "optimistic" in said[0]

    @pytest.mark.parametrize(
        ("has_test", "f1", "words"),
        [
            (False, None, "There is no test subset, so there is no F1"),
            (True, None, "pipeline final_model"),
            (True, 0.25, "final model reaches F1\xa00.250"),
        ],
    )
    def test_what_is_known_of_the_test_is_said(self, has_test, f1, words):
        board = [row(cosine_f1_mean=0.4, cosine_f1_test=f1)]
        metrics = {"vit_triplet": {"cosine_f1": {"fold_0": 0.4, "mean": 0.4}}}
        said = findings(board, sizes(has_test=has_test), metrics, {})
        assert words in said[1]

    def test_the_lead_is_counted_in_folds(self):
        gap = {"behind_first": 0.0}
        board = [row(name, cosine_f1_mean=0.4, cosine_f1_transfer_mean=0.4, **gap) for name in ("first", "second")]
        metrics = {
            name: {"cosine_f1": dict.fromkeys(f1), "cosine_f1_transfer": f1}
            for name, f1 in {
                "first": {"fold_0": 0.5, "fold_1": 0.3, "fold_2": None, "fold_3": 0.5},
                "second": {"fold_0": 0.4, "fold_1": 0.3, "fold_2": 0.1, "fold_3": 0.4},
            }.items()
        }
        said = findings(board, sizes(), metrics, {})
        assert any("the first is ahead in 2 of 4 folds" in sentence for sentence in said)
        assert "over 3 of 4 folds" in said[0], "F1 is undefined in one"

    def test_the_cost_of_a_carried_cut_is_the_difference_of_the_printed_figures(self):
        metrics = {
            "cosine_f1": {"mean": 0.5004, "test": 0.4},
            "cosine_f1_transfer": {"mean": 0.4496},
            "cosine_f1_oracle": {"mean": None, "test": 0.4},
            "dbscan_f1": {"mean": 0.3},
            "dbscan_f1_transfer": {"mean": None},
        }
        (sentence,) = transfer_costs(metrics)
        assert "from the other folds it costs 0.050 of F1 (0.500\xa0→\xa00.450)" in sentence
        assert "the threshold that the folds choose costs no F1 (0.400\xa0→\xa00.400)" in sentence

    FIGURES: ClassVar = {
        name: {"cosine_f1": {"fold_0": 0.5}, "cosine_f1_transfer": {"fold_0": 0.5}} for name in ("first", "second")
    }

    @pytest.mark.parametrize(
        ("low", "sure"), [(0.01, "is certain"), (0.0, "is not certain"), (-0.01, "is not certain")]
    )
    def test_a_lead_is_certain_where_its_interval_does_not_hold_0(self, low, sure):
        second = {"behind_first": 0.02, "behind_first_low": low, "behind_first_high": 0.03}
        board = [
            row("first", cosine_f1_mean=0.5, cosine_f1_transfer_mean=0.5),
            row("second", cosine_f1_mean=0.5, cosine_f1_transfer_mean=0.48, **second),
        ]
        lead = findings(board, sizes(), self.FIGURES, {})[3]
        assert f"This lead of 0.020 {sure}" in lead
        assert lead.endswith(f"{low:.3f}\xa0to\xa00.030.".replace("-", "\N{MINUS SIGN}"))

    def test_the_best_method_is_compared_with_the_next_on_the_same_lesions(self):
        board = [row("first", cosine_f1_mean=0.5, average_f1_mean=0.55, dbscan_f1_mean=0.3)]
        # Each varies by more than they differ, but always together.
        resampled = {"average": [0.45, 0.55, 0.65], "cosine": [0.4, 0.5, 0.6], "dbscan": [0.3, 0.3, None]}
        said = findings(board, sizes(), self.FIGURES, {"first": resampled})[-1]
        assert said == (
            "Average linkage is 0.050 above the cosine threshold, the best of the other methods; "
            "this is certain (0.050\xa0to\xa00.050)."
        )

    def test_pairs_by_the_threshold_may_be_better_than_the_best_groups(self):
        board = [row("first", cosine_f1_mean=0.5, dbscan_f1_mean=0.3), row("second", cosine_f1_mean=0.4)]
        said = findings(board, sizes(), self.FIGURES, {})[-1]
        assert said == "DBSCAN is 0.200 below the cosine threshold, the best of the other methods."

    def test_equal_methods_are_called_so(self):
        said = findings([row("first", average_f1_mean=0.5, mutual_f1_mean=0.5)], sizes(), {"first": self.EQUAL}, {})[-1]
        assert said == "Average linkage is no better than mutual nearest, the best of the other methods."

    EQUAL: ClassVar = {"cosine_f1": {"fold_0": 0.5}, "average_f1": {"fold_0": 0.5}}

    def test_a_method_alone_is_compared_with_none(self):
        said = findings([row("first", cosine_f1_mean=0.5)], sizes(), self.FIGURES, {})
        assert said[-1] == "Only the cosine threshold has a defined F1."


class TestData:
    @given(st.lists(st.sampled_from("abcde"), max_size=12))
    def test_pairs_are_all_pairs_of_images(self, lesion_ids):
        pairs = list(combinations(lesion_ids, 2))
        positives = sum(first == second for first, second in pairs)
        size = measure_subset("x", pd.Series(lesion_ids, dtype="str"))
        assert (size.n_pairs, size.n_positive_pairs) == (len(pairs), positives)
        assert size.n_lesions == len(set(lesion_ids))
        expected = (len(pairs) - positives) / positives if positives else None
        assert size.negatives_per_positive == expected

    def test_every_image_is_counted_once(self, study):
        data = study.prepare().data
        assert data.n_images == len(study.split)
        assert data.n_lesions == study.split["lesion_id"].nunique()
        assert sum(n_images * n_lesions for n_images, n_lesions in data.lesions_by_images) == data.n_images
        assert data.n_left_out == len(REJECTED)

    def test_reasons_stand_with_the_most_frequent_first_and_a_few_examples(self, study):
        reasons = study.prepare().data.left_out
        assert [(reason.n_images, reason.n_lesions, len(reason.examples)) for reason in reasons] == [
            (5, 0, 3),
            (1, 1, 1),
            (1, 1, 1),
        ]

    def test_folds_that_did_not_run_are_marked_and_not_counted_as_validation(self, one_fold):
        data = one_fold.prepare().data
        assert [subset.note for subset in data.subsets] == ["did not run", "", "did not run"]
        assert data.validation.n_lesions == 9
        assert data.test is None


def value_drawn(path, unit):
    """Read a step path: its height, in units from the bottom, right of a place."""
    x, y = map(int, re.match(r"M(\d+) (\d+)", path).groups())
    steps = [(x, y)]
    for direction, length in re.findall(r"([hv])(-?\d+)", path):
        x, y = (x + int(length), y) if direction == "h" else (x, y + int(length))
        steps.append((x, y))
    for (x, y), (next_x, next_y) in pairwise(steps):
        if y == next_y and min(x, next_x) <= unit <= max(x, next_x):
            return 1000 - y
    return None


class TestCharts:
    @given(
        st.lists(st.floats(0.01, 0.99), min_size=2, max_size=30, unique=True),
        st.lists(st.floats(0, 1), min_size=30, max_size=30),
        st.booleans(),
        st.integers(0, 1000),
    )
    def test_a_curve_keeps_its_value_up_to_the_next_cut(self, cuts, f1s, falls, unit):
        cuts = sorted(cuts, reverse=falls)
        curve = {"cut": cuts, "f1": f1s[: len(cuts)]}
        chart = f1_chart("title", "cut", {"fold 0": curve}, axis_from_zero("F1", 1), None)
        value = chart.x.start + unit / 1000 * (chart.x.end - chart.x.start)
        width = (chart.x.end - chart.x.start) / 1000
        entered = [n for n, cut in enumerate(cuts) if (cut >= value if falls else cut <= value)]
        assume(entered and entered[-1] < len(cuts) - 1)
        assume(min(abs(cut - value) for cut in cuts) > 2 * width)
        assert value_drawn(chart.lines[0].path, unit) == pytest.approx(1000 * curve["f1"][entered[-1]], abs=1)

    def test_what_lies_beyond_the_axis_reaches_its_ends_and_no_further(self):
        curves = {
            "fold 0": {"cut": [0.9, 0.4], "f1": [1.0, 1.0]},
            "fold 1": {"cut": [1.0, 0.8, 0.5, 0.1], "f1": [0.1, 1.0, 0.5, 0.1]},
        }
        chart = f1_chart("title", "cut", curves, axis_from_zero("F1", 1), 0.8)
        assert chart.lines[1].path == "M1000 900h-200v-900h-600v500h-200"
        assert chart.mark == 80

    @given(st.lists(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), max_size=8), max_size=4))
    def test_the_shown_cuts_are_those_with_a_fifth_of_the_best_f1(self, folds):
        curves = [{"cut": [cut for cut, _ in fold], "f1": [f1 for _, f1 in fold]} for fold in folds]
        worth = [cut for fold in folds for cut, f1 in fold if f1 >= 0.2 * max(value for _, value in fold)]
        assert shown_range(curves) == ((min(worth), max(worth)) if len(set(worth)) > 1 else None)

    @given(st.floats(-2, 2), st.floats(1e-4, 1e3))
    def test_ticks_are_few_distinct_and_where_they_say(self, start, length):
        axis = make_axis("x", start, start + length)
        assert 1 <= len(axis.ticks) <= 6
        assert len({tick.text for tick in axis.ticks}) == len(axis.ticks)
        for tick in axis.ticks:
            assert float(tick.text) == pytest.approx(start + tick.at / 100 * length, abs=2e-4 * length)

    @given(st.floats(1e-3, 1e3))
    def test_an_axis_from_zero_ends_with_a_tick_at_or_above_the_top(self, top):
        axis = axis_from_zero("F1", top)
        assert (axis.ticks[0].at, axis.ticks[-1].at) == (0, 100)
        assert top <= axis.end * (1 + 1e-9) <= 2 * top

    def test_epochs_have_whole_ticks_also_where_there_is_one(self):
        for last in (1, 2, 7):
            history = {"epoch": list(range(1, last + 1)), "loss": [0.1] * last, "f1": [0.1] * last}
            for chart in training_charts({"fold_0": history}, axis_from_zero("F1", 1)):
                assert all(tick.text.isdigit() for tick in chart.x.ticks)

    def test_an_undefined_value_leaves_a_gap_and_the_first_maximum_is_marked(self):
        curve = ([1, 2, 3, 4, 5], [0.5, None, 0.25, 1.0, 1.0])
        chart = line_chart("F1", make_axis("epoch", 1, 5), axis_from_zero("F1", 1), {"fold 0": curve}, mark_best=True)
        assert chart.lines[0].path == "M0 500M500 750L750 0L1000 0"
        assert chart.lines[0].best == (750, 0)

    def test_a_fold_without_a_curve_and_a_mean_cut_beyond_the_axis_draw_nothing(self):
        empty = {"cut": [], "f1": []}
        curves = {"fold 0": empty, "fold 1": {"cut": [0.9, 0.8], "f1": [1.0, 0.5]}}
        chart = f1_chart("title", "cut", curves, axis_from_zero("F1", 1), 0.1)
        assert (chart.lines[0].path, chart.lines[0].best, chart.mark) == ("", None, None)


class TestReport:
    def test_the_best_figures_of_a_column_are_marked_and_undefined_ones_are_not(self):
        study = Study({"vit_baseline": 1.0, "vit_triplet": 0.5})
        study.leaderboard.loc[:, "cosine_f1_mean"] = 0.5
        study.leaderboard.loc[0, "dbscan_f1_mean"] = math.nan
        study.leaderboard["dbscan_f1_test"] = math.nan
        first, second = study.prepare().board
        assert [first.cells[0].is_best, second.cells[0].is_best] == [True, True]
        assert [first.cells[3].is_best, second.cells[3].is_best] == [False, True]
        assert [first.cells[5].is_best, second.cells[5].is_best] == [False, False]

    def test_figures_are_those_of_the_results(self, study):
        for experiment in study.prepare().experiments:
            results = study.results[experiment.row.experiment].set_index("metric")
            topics = (*experiment.metrics, *experiment.more_metrics)
            shown = {metric.name for topic in topics for metric in topic.metrics}
            ends = {name for name in results.index if name.endswith(("_low", "_high"))}
            assert shown == set(results.index) - ends, "every metric is shown once"
            for topic, method in zip((topics[0], topics[1], *topics[-3:]), METHODS, strict=True):
                low, high = (results.loc[f"{method}_f1_transfer_{end}"] for end in ("low", "high"))
                assert topic.intervals[1:] == ((low["mean"], high["mean"]), (low["test"], high["test"]))
            for metric in (metric for topic in topics for metric in topic.metrics):
                shown = [*metric.folds, metric.mean, metric.std, metric.test]
                expected = [None if np.isnan(value) else value for value in results.loc[metric.name]]
                assert shown == pytest.approx(expected)

    def test_groups_of_all_folds_hold_every_image_of_the_validation_lesions(self, study):
        report = study.prepare()
        for experiment in report.experiments:
            *folds, together, lesions = experiment.sizes
            assert together.total == sum(fold.total for fold in folds)
            assert lesions.total == report.data.validation.n_lesions
            assert lesions.counts == (0, 9, 9, 9, 0, 0)

    def test_settings_have_the_names_that_params_take(self, study):
        settings = dict(study.prepare().experiments[0].settings)
        assert ("pooling.levels", "[1, 2]") in settings["backbone"]
        assert ("model_args", "{}") in settings["backbone"]
        assert settings["study"] == (("folds", "[0, 1, 2]"), ("seed", "42"))

    def test_pair_pages_are_linked_only_where_there_are_test_figures(self, study, one_fold):
        addresses = [address for each in study.prepare().experiments for _, address in each.pair_pages]
        assert sorted(addresses) == sorted(
            f"{name}/misclassifications_{method}.html" for name in study.summaries for method in ("cosine", "dbscan")
        )
        assert not any(each.pair_pages for each in one_fold.prepare().experiments)


class TestMethods:
    def test_the_best_method_of_a_row_is_marked_for_the_folds_and_for_the_test(self):
        means = {"average_f1_transfer_mean": 0.6, "cosine_f1_transfer_mean": 0.5, "complete_f1_transfer_mean": 0.6}
        compared = compare_methods(
            row(dbscan_f1_mean=0.9, mutual_f1_test=0.2, **means), transfers=True, is_resampled=True
        )
        assert [(f1.is_best, test.is_best) for f1, test in compared] == [
            (False, False),
            (False, False),
            (True, False),
            (True, False),
            (False, True),
        ]

    def test_an_interval_stands_only_by_the_f1_that_was_resampled(self):
        metrics = row(cosine_f1_mean=0.5, cosine_f1_transfer_low=0.1, cosine_f1_transfer_high=0.2)
        resampled, other = (
            compare_methods(metrics, transfers=False, is_resampled=each)[0][0] for each in (True, False)
        )
        assert (resampled.value, resampled.interval) == (0.5, (0.1, 0.2))
        assert (other.value, other.interval) == (0.5, (None, None))

    @pytest.mark.parametrize("folds", [(0,), (0, 1)])
    def test_one_fold_has_intervals_and_so_have_cuts_that_were_carried_over(self, folds):
        assert Study({"vit_baseline": 1.0}, folds=folds).prepare().has_intervals

    def test_several_folds_without_a_carried_cut_have_no_interval(self):
        study = Study({"vit_baseline": 1.0}, folds=(0, 1))
        study.leaderboard["cosine_f1_transfer_mean"] = math.nan
        assert not study.prepare().has_intervals

    @pytest.mark.parametrize(("low", "is_certain"), [(0.01, True), (0.0, False), (None, False)])
    def test_a_gap_is_certain_where_its_interval_does_not_hold_0(self, low, is_certain):
        high = None if low is None else 0.2
        behind = row(rank=2, behind_first=0.1, behind_first_low=low, behind_first_high=high)
        assert gap_to_first(behind, is_resampled=True).is_certain == is_certain
        assert gap_to_first(behind | {"rank": 1}, is_resampled=True) is None

    def test_every_method_has_the_cut_of_the_test_and_groups_have_their_figures(self, study):
        for experiment in study.prepare().experiments:
            results = study.results[experiment.row.experiment].set_index("metric")
            for (name, method), line in zip(METHODS.items(), experiment.methods, strict=True):
                expected = results["test"][CUTS[name]] if name in CUTS else None
                assert line.test_cut == expected
                groups = (results["mean"][f"{name}_bcubed_f1"],) if method.is_group else ()
                assert line.groups[:1] == groups
                assert line.test.value == results["test"][f"{name}_f1"]
            assert experiment.rho == pytest.approx(1)

    def test_a_method_without_a_cut_leaves_its_place_in_the_strata_empty(self):
        row = {"column": "dx", "stratum": "nv", "method": "cosine", "n_lesions": 3, "n_positive_pairs": 4}
        ((_, (stratum,)),) = stratum_tables([row | {"f1": 0.5, "low": 0.4, "high": 0.6}])
        assert [estimate.value for estimate in stratum.f1] == [0.5, None]

    def test_f1_is_drawn_over_the_size_of_the_pool_with_a_line_per_way_to_choose_the_cut(self, study):
        report = study.prepare()
        for experiment in report.experiments:
            by_threshold, by_linkage = experiment.pools
            assert by_threshold.title == "Cosine threshold, fewer lesions"
            assert [line.name for line in by_linkage.lines] == list(report.rules)
            assert all(line.path.count("L") == 3 for line in by_threshold.lines)
            own, *carried = (int(line.path.split()[-1]) for line in by_threshold.lines)
            assert all(own <= other for other in carried), "the largest pool; higher is nearer to 0"

    def test_strata_hold_every_validation_lesion_the_largest_first(self, study):
        report = study.prepare()
        for experiment in report.experiments:
            ((column, strata),) = experiment.strata
            assert column == "site"
            assert [stratum.name for stratum in strata] == ["arm", "<b>back"]
            assert sum(stratum.n_lesions for stratum in strata) == report.data.validation.n_lesions
            assert sum(stratum.n_positive_pairs for stratum in strata) == report.data.validation.n_positive_pairs

    def test_the_figure_has_a_panel_for_every_cut(self, study):
        summary = study.summaries["vit_triplet"]
        figure = f1_curves("vit_triplet", summary["figures"], summary["curves"])
        best = summary["figures"]["complete_f1"]["mean"]
        assert len(figure.axes) == len(CUTS)
        assert figure.axes[3].get_title().startswith(f"Complete linkage\nbest F1 {best:.3f}")


class TestPage:
    def test_the_same_study_gives_the_same_bytes(self, study):
        assert study.page() == study.page()

    def test_what_a_csv_says_is_text_and_never_markup(self, study):
        page = study.page()
        assert "<script>alert(1)" not in page
        assert "&lt;b&gt;no lesion_id" in page
        assert "&lt;i&gt;dx" in page
        assert "&lt;b&gt;back" in page

    @settings(max_examples=15)
    @given(data=st.data())
    def test_no_text_becomes_markup_whatever_it_is(self, study, hostile, assert_is_safe, data):
        drawn = [f"{data.draw(hostile)}{number}" for number in range(11)]
        assert_is_safe(self.renamed(study, drawn.__getitem__), self.renamed(study, "plain{}".format))

    def renamed(self, study, name):
        """The report of a study whose names and settings are others, as changed files could make them."""
        old = study.params.experiments
        new = {each: name(number) for number, each in enumerate(old)}
        board = study.leaderboard.assign(
            experiment=study.leaderboard["experiment"].map(new), backbone=name(3), loss=name(4)
        )
        rejected = pd.DataFrame([(name(5), name(6), name(7))], columns=study.rejected.columns)
        summaries = {}
        for each in old:
            strata = [
                row | {"column": name(8), "stratum": name(9) + row["stratum"]}
                for row in study.summaries[each]["strata"]
            ]
            changed = {"settings": {name(10): {name(3): name(4)}, name(5): [name(6)], "seed": 1}, "strata": strata}
            summaries[new[each]] = study.summaries[each] | changed
        report = prepare_report(board, study.split, rejected, summaries, study.params.folds)
        return render_page("report.html.j2", report=report, audit=None, split_sha256="")

    def test_all_links_are_relative_and_nothing_is_loaded(self, study):
        links = re.findall(r'(?:href|src)="([^"]*)"', study.page())
        assert links
        assert not [link for link in links if re.match(r"/|\w+:", link)]

    def test_undefined_figures_are_dashes_and_say_so(self, one_fold):
        page = one_fold.page()
        assert '<span class="soft" title="undefined">\N{EN DASH}</span>' in page
        assert not re.search(r"\b(nan|None|NaN)\b", page)
        assert "The rank follows the own cut." in page

    def test_a_whole_study_stays_small(self):
        study = Study({f"vit_{number}": 1.5 for number in range(12)})
        evenly = np.linspace(0, 1, 400)
        jagged = {"cut": evenly.tolist(), "f1": np.random.default_rng(1).random(400).tolist()}
        for summary in study.summaries.values():
            summary["curves"] = {fold: dict.fromkeys(METHODS, jagged) for fold in summary["curves"]}
            history = {"epoch": list(range(1, 201)), "loss": jagged["f1"][:200], "f1": jagged["f1"][200:]}
            summary["histories"] = dict.fromkeys(summary["histories"], history)
        assert len(study.page().encode()) < 3_000_000 * 3 / 5, "three folds of five"


@pytest.fixture(scope="module")
def opened(chromium, study, tmp_path_factory):
    """The page in a browser."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(study.page(), encoding="utf-8")
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(path.as_uri())
    return chromium


def is_open(browser):
    return browser.execute_script("return [...document.querySelectorAll('details.experiment')].map((d) => d.open)")


class TestInABrowser:
    def test_opens_from_disk_without_errors_or_requests(self, opened):
        messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
        requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert [url for url in requests if not url.startswith("file:")] == []
        assert len(requests) == 1
        assert opened.get_log("browser") == []

    def test_the_best_experiment_is_open_and_the_keyboard_opens_others(self, opened):
        from selenium.webdriver.common.keys import Keys

        assert is_open(opened) == [True, False, False]
        summary = opened.find_elements("css selector", "details.experiment > summary")[1]
        summary.send_keys(Keys.ENTER)
        assert is_open(opened) == [True, True, False]
        summary.send_keys(Keys.ENTER)
        assert is_open(opened) == [True, False, False]

    def test_a_link_of_the_leaderboard_opens_its_experiment(self, opened, study):
        last = study.leaderboard["experiment"].iloc[-1]
        opened.find_element("css selector", f".board a[href='#experiment-{last}']").click()
        assert is_open(opened) == [True, False, True]

    def test_one_button_opens_and_closes_all(self, opened):
        button = opened.find_element("id", "all")
        button.click()
        assert is_open(opened) == [True, True, True]
        assert (button.text, button.get_attribute("aria-expanded")) == ("Close all", "true")
        button.click()
        assert is_open(opened) == [False, False, False]
        button.click()

    def test_nothing_reaches_beyond_a_phone_but_what_scrolls(self, opened):
        metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        beyond = opened.execute_script(
            "return [...document.querySelectorAll('body *')].filter((element) => !element.closest('.scroll')"
            " && element.getBoundingClientRect().right > 400.5).map((element) => element.outerHTML.slice(0, 80))"
        )
        width = opened.execute_script("return document.documentElement.scrollWidth")
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        assert beyond == []
        assert width == 400

    def test_printing_opens_everything_and_closes_it_again(self, opened):
        from base64 import b64decode

        opened.execute_script(
            "document.querySelectorAll('details').forEach((section) => { section.open = false; });"
            "addEventListener('beforeprint', () => {"
            " window.printed = [...document.querySelectorAll('details')].every((section) => section.open); });"
        )
        printed = b64decode(opened.print_page())
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 3
        assert opened.execute_script("return window.printed")
        assert not any(is_open(opened))


class TestAudit:
    """The report shows an audit where one was made of its split."""

    def section(self, page):
        return re.search(r'<section aria-labelledby="audit">.*?</section>', page, re.DOTALL)[0]

    def audit(self, study, *findings, checks=(), split=None):
        summary = AuditSummary(
            kinds=summarise_kinds(tabulate_findings(findings, places_of(study.split)), {}),
            checks=checks,
            lesions_to_join=[],
            experiment="vit_baseline",
            n_images=len(study.split),
            n_lesions=study.split["lesion_id"].nunique(),
            split_sha256=hash_split(study.split if split is None else split),
            alike_from=None,
            unlike_below=None,
            min_points=8,
        )
        return summary.model_dump()

    def test_that_nobody_made_is_missed_and_the_command_is_named(self, study):
        assert "There was no audit yet" in self.section(study.page())
        assert "kedro run --pipelines audit" in self.section(study.page())

    def test_is_counted_by_kind_with_its_leaks(self, study):
        near = Finding("near_duplicate", "error", ("0_0_0", "1_0_0"), ("0_0", "1_0"), "9 points agree")
        same_fold = Finding("near_duplicate", "error", ("0_0_0", "0_1_0"), ("0_0", "0_1"), "9 points agree")
        section = self.section(study.page(self.audit(study, near, same_fold)))
        row = '<th scope="row">Two lesions with the same skin</th><td>2</td><td>0</td><td>1</td>'
        assert row in section
        assert "<b>2</b> errors" in section
        assert 'href="audit.html"' in section
        assert "another split" not in section

    def test_without_findings_says_so_and_what_was_not_checked(self, study):
        section = self.section(study.page(self.audit(study, checks=[Check("patients", False, "no <b>column</b>")])))
        assert "Nothing was found" in section
        assert "Not checked: patients (no &lt;b&gt;column&lt;/b&gt;)." in section

    def test_of_another_split_is_said_to_be_old(self, study):
        audit = self.audit(study, split=study.split.iloc[1:])
        assert "This audit was made for another split" in self.section(study.page(audit))
