"""Recomputation of one experiment from its embeddings, compared keypoints, calibrations and odds."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinbit.reference import cuts, intervals
from skinbit.reference.figures import ABSENT, Figure, Table, Value, compare_rows, compare_table
from skinbit.reference.files import (
    number,
    read_json,
    read_table,
    read_tensor,
    read_yaml,
    written_by_skinbit,
)
from skinbit.reference.groups import numbered
from skinbit.reference.intervals import LesionCounts, mean_of_defined
from skinbit.reference.metrics import UNDEFINED, Array, Curve, pair_metrics, recall_at
from skinbit.reference.pool import CUT_OF, METHODS, LabelledPool, named
from skinbit.reference.similarity import Compared, similarities

SIZES = (1.0, 3.0, 10.0, 100.0)
"""Sizes of pools, relative to a fold, for which the stored cuts of a fold have to contain the best one."""

TEST_FOLD = -1

OF_FOLDS, OF_SPLIT = "those of the folds", "those of the split"

Points = Mapping[str, Any]


class Experiment:
    """One experiment of a study.

    :meth:`figures` recomputes it, and leaves its metrics: ``metrics`` of each fold at its own cuts, ``judged`` of each
    fold at those of the others, ``of_all`` of all folds together, and ``test``.
    """

    def __init__(self, root: Path, name: str) -> None:
        """Read its settings."""
        self.root, self.name, self.place = root, name, f"08_reporting/{name}"
        path = root / self.place / "resolved_config.yaml"
        settings = read_yaml(path)
        with written_by_skinbit(path):
            self.similarity, self.evaluation = dict(settings["similarity"]), dict(settings["evaluation"])
            self.folds = [int(fold) for fold in settings["folds"]]
            self.seed = int(settings["seed"])
            (low, high), (least, most) = self.evaluation["threshold_range"], self.evaluation["eps_range"]
            self.searched = (float(low), float(high)), (float(least), float(most))
        self.metrics: dict[int, dict[str, float]] = {}
        self.judged: dict[int, dict[str, float]] = {}
        self.of_all: dict[str, float] = {}
        self.test: dict[str, float] = {}
        self.resampled: dict[str, Array] = {}

    @property
    def is_covered(self) -> bool:
        """Whether its similarities can be recomputed: they are neither re-ranked nor use columns of the metadata."""
        return self.similarity.get("reranking") is None and self.similarity.get("context") is None

    @cached_property
    def split(self) -> dict[str, tuple[str, int]]:
        """Lesion and fold of each image."""
        path = self.root / "02_intermediate/split.csv"
        table = read_table(path, "image_id", "lesion_id", "fold")
        with written_by_skinbit(path):
            return {row["image_id"]: (row["lesion_id"], int(row["fold"])) for row in table}

    @cached_property
    def points(self) -> dict[int, dict[str, Points]]:
        """Operating points of each fold, by method."""
        found = {}
        for fold in self.folds:
            path = self.root / self.place / f"fold_{fold}/operating_points.json"
            document = read_json(path)
            with written_by_skinbit(path):
                found[fold] = {method: _check_points(document[method]) for method in CUT_OF}
        return found

    @cached_property
    def odds(self) -> dict[int, list[dict[str, Any]]]:
        """Odds of each fold, none or one."""
        found = {}
        for fold in self.folds:
            path = self.root / self.place / f"fold_{fold}/odds.json"
            document = read_json(path)
            with written_by_skinbit(path):
                found[fold] = [
                    {name: float(odds[name]) for name in ("intercept", "slope", "prior")}
                    | {"positives": [float(each) for each in odds.get("positives", ())]}
                    for odds in document
                ]
        return found

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """Coefficients of each fold's calibration, and that of ``all``; empty if there are none."""
        stages = ("verification", "scaling", "calibration")
        if not any(self.similarity.get(stage) for stage in stages):
            return {}
        path = self.root / self.place / "calibration.json"
        document = read_json(path)
        with written_by_skinbit(path):
            return {str(fold): dict(document[str(fold)]) for fold in (*self.folds, "all")}

    def others(self, fold: int) -> list[int]:
        """Return the folds that choose the cuts of a fold: all others, or a single one itself."""
        return [other for other in self.folds if other != fold] or [fold]

    def figures(self) -> Iterator[Figure]:
        """Yield every figure of the experiment."""
        judged, among = [], []
        for fold in self.folds:
            pool, image_ids = self._pool(f"fold_{fold}", str(fold))
            yield self._compare_images(f"fold_{fold}", fold, image_ids)
            yield from self._figures_of_fold(fold, pool, image_ids)
            judged.append(self._judge(fold, pool))
            if self.evaluation["distractors"] != 0:
                among.append(self._judge_among_distractors(fold))
        self.resampled = self._resample(judged)
        self.of_all = _interval_metrics(self.resampled, "transfer")
        if len(self.folds) > 1:
            self.of_all |= {f"{method}_f1_pooled": _pooled(judged, method) for method in METHODS}
        if among:
            self.of_all |= _interval_metrics(self._resample(among), "distractors")
        yield from self._figures_of_all_folds()
        if (self.root / self.place / "final/results.csv").exists():
            pool, image_ids = self._pool("final", "all")
            yield self._compare_images("final", TEST_FOLD, image_ids)
            self._score_test(pool)
            yield from self._compare("final/results.csv", _column("value", self.test))
        yield from self._compare("results.csv", self.results())

    def results(self) -> Table:
        """Return the results of the experiment: all metrics by fold, with mean, standard deviation and test."""
        table = self._side_by_side(self.metrics)
        judgement = self._judgement()
        for method in METHODS:
            of_transfer = f"{method}_f1_transfer"
            table[of_transfer] = judgement.pop(of_transfer, dict.fromkeys(table[f"{method}_f1"], UNDEFINED))
        table |= judgement
        if self.test:
            oracles = {f"{method}_f1_oracle": dict.fromkeys(table["roc_auc"], UNDEFINED) for method in CUT_OF}
            table |= {**oracles, "rho": dict.fromkeys(table["roc_auc"], UNDEFINED)}
            for metric, values in table.items():
                values["test"] = self.test.get(metric, UNDEFINED)
        return table

    def _pool(self, subset: str, calibration: str, among: bool = False) -> tuple[LabelledPool, list[str]]:
        """Return the images of a subset, with distractors if asked for, and their ids."""
        folder = Path(self.root, "07_model_output", self.name, subset)
        vectors, image_ids = _vectors(folder / "embeddings.safetensors")
        with written_by_skinbit(folder / "embeddings.safetensors"):
            lesions = [self.split[image][0] for image in image_ids]
        if among:
            more, their_ids = _vectors(folder / "distractor_embeddings.safetensors")
            table = read_table(self.root / "02_intermediate/distractors.csv", "image_id", "lesion_id")
            lesion_of = {row["image_id"]: row["lesion_id"] for row in table}
            vectors, image_ids = np.concatenate([vectors, more]), [*image_ids, *their_ids]
            with written_by_skinbit(folder / "distractor_embeddings.safetensors"):
                lesions += [lesion_of[image] for image in their_ids]
        compared: list[Compared] = []
        if self.similarity["verification"]:
            compared = _compared(folder / ("distractor_shortlist.csv" if among else "shortlist.csv"), image_ids)
        matrix = similarities(vectors, self.similarity["scaling"], self.calibration.get(calibration), compared)
        return LabelledPool(matrix, lesions, self.evaluation["max_group_size"]), image_ids

    def _compare_images(self, subset: str, fold: int, image_ids: Sequence[str]) -> Figure:
        """Return whether the embeddings of a subset are those of the images that the split has there."""
        wanted = [image for image, (_, its_fold) in self.split.items() if its_fold == fold]
        pairs = zip_longest(image_ids, wanted, fillvalue=ABSENT)
        different = next((pair for pair in pairs if pair[0] != pair[1]), (OF_SPLIT, OF_SPLIT))
        return Figure(f"07_model_output/{self.name}/{subset}/embeddings.safetensors", "header", "image_ids", *different)

    def _compare(self, file: str, recomputed: Table) -> Iterator[Figure]:
        return compare_table(self.root, f"{self.place}/{file}", recomputed, "metric", given=["best_epoch"])

    def _figures_of_fold(self, fold: int, pool: LabelledPool, image_ids: list[str]) -> Iterator[Figure]:
        place = f"fold_{fold}"
        self.metrics[fold] = pool.own_metrics(*self.searched)
        yield from self._compare(f"{place}/results.csv", _column("value", self.metrics[fold]))
        yield from _compare_curves(self.root, f"{self.place}/{place}/sweep.csv", pool)
        for method in CUT_OF:
            yield from self._compare_points(f"{self.place}/{place}/operating_points.json", method, fold, pool)
        groups = numbered(pool.groups("dbscan", self.metrics[fold]["dbscan_eps"]))
        wanted: list[Mapping[str, Value]] = [
            {"image_id": image, "lesion_id": self.split[image][0], "cluster_id": str(group)}
            for image, group in zip(image_ids, groups.tolist(), strict=True)
        ]
        file = f"07_model_output/{self.name}/{place}/clustered_images.csv"
        yield from compare_rows(file, read_table(self.root / file, *wanted[0]), wanted)

    def _compare_points(self, file: str, method: str, fold: int, pool: LabelledPool) -> Iterator[Figure]:
        points, curve, is_similarity = self.points[fold][method], pool.curve(method), method == "cosine"
        n_positive, searched = int(pool.positive.sum()), self.searched[not is_similarity]
        yield Figure(file, method, "n_positive_pairs", points["n_positive_pairs"], n_positive)
        yield Figure(file, method, "n_images", points["n_images"], len(pool.matrix))
        counted = _counts_at(pool, method, points["cuts"])
        reported = cuts.reported(curve, searched, is_similarity)
        for place, (cut, tp, fp) in enumerate(zip(*counted, strict=True)):
            row = f"{method} {place + 1}"
            nearest = float(reported[np.abs(reported - cut).argmin()]) if len(reported) else UNDEFINED
            yield Figure(file, row, "cut", cut, nearest)
            yield Figure(file, row, "tp", points["tp"][place], int(tp))
            yield Figure(file, row, "fp", points["fp"][place], int(fp))
        inside = cuts.within(curve, searched, is_similarity)
        for rho in SIZES if n_positive and len(inside.cuts) else ():
            best = cuts.best_f1(inside.tp.tolist(), inside.fp.tolist(), rho, n_positive)
            kept = cuts.best_f1(points["tp"], points["fp"], rho, n_positive)
            yield Figure(file, method, f"best F1 of a pool {rho:.0f} times as large", kept, best)

    def _judge(self, fold: int, pool: LabelledPool) -> dict[str, LesionCounts]:
        """Return the predicted pairs of a fold at the cuts of the others, by method that has one; note its metrics."""
        given = {method: cuts.mean_cut([self.points[each][method] for each in self.others(fold)]) for method in CUT_OF}
        counts = _predict(pool, given)
        self.judged[fold] = pool.group_metrics(given)
        if len(self.folds) > 1:
            self.judged[fold] |= _f1_of(counts, "transfer") | self._self_metrics(fold, pool)
        return counts

    def _self_metrics(self, fold: int, pool: LabelledPool, suffix: str = "") -> dict[str, float]:
        odds = [odds for other in self.others(fold) for odds in self.odds[other]]
        return pool.self_metrics(odds, suffix) if odds else {}

    def _judge_among_distractors(self, fold: int) -> dict[str, LesionCounts]:
        """Do the same for a fold with distractors, at cuts for a pool of this size and share of singletons."""
        pool, _ = self._pool(f"fold_{fold}", str(fold), among=True)
        n_distractors = len(pool.matrix) - self.points[fold]["cosine"]["n_images"]
        share = n_distractors / len(pool.matrix)
        given, rho = self._carried(self.others(fold), len(pool.matrix), share)
        counts = _predict(pool, given)
        self.judged[fold] |= _f1_of(counts, "distractors") | self._self_metrics(fold, pool, "_distractors")
        recall = recall_at(pool.matrix, pool.lesions, 1)
        self.judged[fold] |= {"recall_at_1_distractors": recall, "rho_distractors": rho, "share_distractors": share}
        return counts

    def _carried(self, folds: Sequence[int], n_images: int, share: float) -> tuple[dict[str, float], float]:
        """Return the cut of every method that folds choose for a pool, and the size of the pool relative to them."""
        points = {method: [self.points[fold][method] for fold in folds] for method in CUT_OF}
        if not self.evaluation["pool_correction"]:
            return {method: cuts.mean_cut(points[method]) for method in CUT_OF}, 1.0
        found = {method: cuts.pooled_cut(points[method], n_images, share, method == "cosine") for method in CUT_OF}
        return found, cuts.relative_size(points["cosine"], n_images)

    def _resample(self, folds: Sequence[Mapping[str, LesionCounts]]) -> dict[str, Array]:
        """Return the mean F1 of the folds in each resample, by method."""
        n_resamples, found = self.evaluation["resamples"], {}
        for method in METHODS:
            defined = [counts[method] for counts in folds if method in counts]
            values = [
                intervals.resampled_f1(each, intervals.draws(len(each.positive), n_resamples, [self.seed, place]))
                for place, each in enumerate(defined)
            ]
            rows = np.array(values).reshape(len(defined), n_resamples)
            found[method] = np.array([mean_of_defined(column) for column in rows.T.tolist()])
        return found

    def _judgement(self) -> Table:
        of_all = {metric: self._blank() | {"mean": value} for metric, value in self.of_all.items()}
        return self._side_by_side(self.judged) | of_all

    def _blank(self) -> dict[str, float]:
        return dict.fromkeys([*(f"fold_{fold}" for fold in self.folds), "mean", "std"], UNDEFINED)

    def _side_by_side(self, metrics: Mapping[int, Mapping[str, float]]) -> Table:
        table = {}
        for metric in dict.fromkeys(metric for found in metrics.values() for metric in found):
            values = {f"fold_{fold}": found.get(metric, UNDEFINED) for fold, found in metrics.items()}
            defined = [value for value in values.values() if not np.isnan(value)]
            spread = float(np.std(defined, ddof=1)) if len(defined) > 1 else UNDEFINED
            table[metric] = values | {"mean": mean_of_defined(defined), "std": spread}
        return table

    def _figures_of_all_folds(self) -> Iterator[Figure]:
        yield from self._compare("judgement.csv", self._judgement())
        file = f"{self.place}/resampled_f1.csv"
        stored: list[Mapping[str, Value]] = [
            {method: number(self.root / file, row[method]) for method in METHODS}
            for row in read_table(self.root / file, *METHODS)
        ]
        rows = zip(*(self.resampled[method].tolist() for method in METHODS), strict=True)
        yield from compare_rows(file, stored, [dict(zip(METHODS, row, strict=True)) for row in rows])
        yield from self._averages()
        yield from self._copies("operating_points.json")
        yield from self._copies("matching.json", "operating_points")

    def _averages(self) -> Iterator[Figure]:
        path = self.root / self.place / "averages.json"
        document = read_json(path)
        for cut in CUT_OF.values():
            with written_by_skinbit(path):
                stored = UNDEFINED if document[cut] is None else float(document[cut])
            mean = mean_of_defined(self.metrics[fold][cut] for fold in self.folds)
            yield Figure(f"{self.place}/averages.json", cut, "mean", stored, mean)

    def _copies(self, file: str, *keys: str) -> Iterator[Figure]:
        """Yield whether the operating points in a file are those of the folds."""
        path = self.root / self.place / file
        document = read_json(path)
        with written_by_skinbit(path):
            for key in keys:
                document = document[key]
            copies = {method: [_check_points(points) for points in document[method]] for method in CUT_OF}
        for method, found in copies.items():
            is_same = found == [self.points[fold][method] for fold in self.folds]
            stored = OF_FOLDS if is_same else "others"
            yield Figure(f"{self.place}/{file}", method, "operating points", stored, OF_FOLDS)

    def _score_test(self, pool: LabelledPool) -> None:
        """Note the metrics of the test subset at the cuts that all folds choose for a pool of its size."""
        given, rho = self._carried(self.folds, len(pool.matrix), 0.0)
        own = pool.own_metrics(*self.searched)
        counts = _predict(pool, given)
        self.test = own | {f"{method}_f1_oracle": own[f"{method}_f1"] for method in CUT_OF}
        for method, cut in given.items():
            self.test |= named(method, pool.metrics_at(method, cut)) | {CUT_OF[method]: cut}
        self.test |= {"rho": rho} | pool.group_metrics(given)
        self.test |= _interval_metrics(self._resample([counts]), "transfer")


def _check_points(points: Mapping[str, Any]) -> Points:
    rows = {name: [float(each) for each in points[name]] for name in ("cuts", "tp", "fp")}
    if len({len(values) for values in rows.values()}) > 1:
        raise ValueError("cuts, tp and fp have different lengths")
    reach = {"reach": float(points["reach"])} if "reach" in points else {}
    return {**rows, "n_positive_pairs": int(points["n_positive_pairs"]), "n_images": int(points["n_images"])} | reach


def _column(name: str, metrics: Mapping[str, float]) -> Table:
    return {metric: {name: value} for metric, value in metrics.items()}


def _vectors(path: Path) -> tuple[NDArray[np.float32], list[str]]:
    """Return embeddings, beside those of their zooms if these are compared, and the images."""
    values, image_ids = read_tensor(path, "embeddings")
    zooms = path.with_name(f"{path.stem}_zooms{path.suffix}")
    if not zooms.exists():
        return values, image_ids
    return np.concatenate([values[:, None], read_tensor(zooms, "embeddings")[0]], axis=1), image_ids


def _compared(path: Path, image_ids: Sequence[str]) -> list[Compared]:
    row_of = {image: row for row, image in enumerate(image_ids)}
    table = read_table(path, "image_a", "image_b", "inliers", "zoom")
    with written_by_skinbit(path):
        return [
            Compared(row_of[row["image_a"]], row_of[row["image_b"]], int(row["inliers"]), float(row["zoom"]))
            for row in table
        ]


def _predict(pool: LabelledPool, given: Mapping[str, float]) -> dict[str, LesionCounts]:
    """Return the predicted pairs at given cuts, by method that has a cut or needs none."""
    defined = [method for method in METHODS if method not in given or not np.isnan(given[method])]
    return {
        method: intervals.count_by_lesion(pool.predicted(method, given.get(method, UNDEFINED)), pool.lesions)
        for method in defined
    }


def _f1_of(counts: Mapping[str, LesionCounts], what: str) -> dict[str, float]:
    return {f"{method}_f1_{what}": counts[method].metrics.f1 if method in counts else UNDEFINED for method in METHODS}


def _pooled(folds: Sequence[Mapping[str, LesionCounts]], method: str) -> float:
    if not all(method in counts for counts in folds):
        return UNDEFINED
    return intervals.pooled_f1(counts[method] for counts in folds)


def _interval_metrics(resampled: Mapping[str, Array], what: str) -> dict[str, float]:
    ends = {method: intervals.interval(values.tolist()) for method, values in resampled.items()}
    return {
        f"{method}_f1_{what}_{end}": value
        for method, both in ends.items()
        for end, value in zip(("low", "high"), both, strict=True)
    }


def _counts_at(pool: LabelledPool, method: str, at: Sequence[float]) -> Curve:
    """Return the counts of a method at any cuts."""
    curve, sign = pool.curve(method), -1.0 if method == "cosine" else 1.0
    rows = np.searchsorted(sign * curve.cuts, sign * np.array(at), side="right")
    return Curve(np.array(at), *(np.append(0, counts)[rows] for counts in (curve.tp, curve.fp)))


def _compare_curves(root: Path, file: str, pool: LabelledPool) -> Iterator[Figure]:
    """Yield the counts of every row of the curves; that of thresholds is thinned, so any of its rows may be there."""
    path, n_positive = root / file, int(pool.positive.sum())
    rows = read_table(path, "method", "cut", "tp", "fp", "f1")
    for method in METHODS:
        stored: list[Mapping[str, Value]] = [
            {column: number(path, cell) for column, cell in row.items() if column != "method"}
            for row in rows
            if row["method"] == method
        ]
        curve = pool.curve(method)
        if method == "cosine":
            curve = _counts_at(pool, method, [float(row["cut"]) for row in stored])
        if method == "mutual":
            curve = Curve(np.zeros(len(curve.cuts[-1:])), curve.tp[-1:], curve.fp[-1:])
        counts = zip(curve.cuts.tolist(), curve.tp.tolist(), curve.fp.tolist(), strict=True)
        wanted: list[Mapping[str, Value]] = [
            {"cut": cut, "tp": tp, "fp": fp, "f1": pair_metrics(tp, fp, n_positive).f1} for cut, tp, fp in counts
        ]
        for figure in compare_rows(file, stored, wanted):
            yield figure._replace(row=f"{method} {figure.row}")
