"""Every way to group by every similarity, on the stored embeddings of a finished study; and cuts for larger pools.

uv run python -m benchmarks.similarities --root data --baseline gem_baseline --trained gem_verified
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stored import Images, fold_folders, load_embeddings, read_keypoints, read_lesions
from benchmarks.timing import describe_machine, markdown_table
from skinbit.embedding.tables import Embeddings
from skinbit.matching.calibration import Calibration
from skinbit.matching.geometry import shortlist_by_keypoints
from skinbit.matching.judging import f1_intervals, resample_f1, transfer_figures
from skinbit.matching.keypoints import KeypointTable
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.operating_points import OperatingPoints, carry_over, carry_to_folds
from skinbit.matching.pairs import lesion_labels
from skinbit.matching.pool import Pool
from skinbit.matching.pools import FOLLOWED, OWN, carried_cuts, draw_pools, follow_pools, summarise_pools
from skinbit.matching.scoring import AtCuts, Score, score, score_at
from skinbit.matching.search import Vicinity
from skinbit.matching.similarity import NO_SHORTLIST, calibrate
from skinbit.matching.whitening import fit_whitening
from skinbit.params import EvaluationParams, GeometryParams, RerankingParams, SimilarityParams

SEED, THREADS = 42, 2
POOL_SIZES = (68, 136, 272, 544, 1088)
"""Lesions; the folds of docs/results.md have some 218."""

EVALUATION, GEOMETRY = EvaluationParams(), GeometryParams()
COSINE, CALIBRATED = SimilarityParams(), SimilarityParams(calibration="logistic")
RERANKED, VERIFIED = SimilarityParams(reranking=RerankingParams()), SimilarityParams(verification=True)
BOTH = SimilarityParams(verification=True, reranking=RerankingParams())


def main() -> None:
    """Print both tables for a baseline and a trained experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("root", "baseline", "trained"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    started = time.perf_counter()
    root = Path(given.root)
    keypoints = read_keypoints(root)
    lesion_of = read_lesions(root / "02_intermediate/split.csv")
    trained = _folds(root, given.trained, lesion_of, keypoints)
    baseline = _folds(root, given.baseline, lesion_of, keypoints)
    whitened = _whitened(baseline, keypoints)
    rows: list[tuple[str, dict[int, Images], SimilarityParams]] = [
        (f"{given.trained}: cosine", trained, COSINE),
        ("re-ranked", trained, RERANKED),
        ("calibrated", trained, CALIBRATED),
        ("verified", trained, VERIFIED),
        ("verified, re-ranked", trained, BOTH),
        (f"{given.baseline}: cosine", baseline, COSINE),
        ("whitened", whitened, COSINE),
        ("verified", baseline, VERIFIED),
        ("whitened, verified", whitened, VERIFIED),
    ]
    print(describe_machine("numpy", "scipy", "scikit-learn", "opencv-python-headless"))
    print(markdown_table(["F1, own cut / other folds' cut [95 %]", *METHODS], [_row(*row) for row in rows]))
    final = join_parts([load_embeddings(root / "07_model_output" / given.trained / "final")], lesion_of, keypoints)
    whole = _whole(root, given.baseline, lesion_of, keypoints)
    print(
        markdown_table(
            ["F1 in the larger pool", "own cut", "rho", "rho = 1", "recovered"],
            [
                *_carried_rows(
                    f"{given.baseline}, {len(whole.lesion_ids)} images", [(list(baseline.values()), whole)], COSINE
                ),
                *_carried_rows(
                    f"{given.trained}, {len(final.lesion_ids)} test images",
                    [(_parts(final, n), final) for n in range(10)],
                    COSINE,
                ),
            ],
        )
    )
    print(markdown_table(["F1 by lesions in the pool", *map(str, POOL_SIZES)], _size_rows(whole, baseline)))
    print(f"{time.perf_counter() - started:.0f} s")


def _folds(root: Path, experiment: str, lesion_of: Mapping[str, str], keypoints: KeypointTable) -> dict[int, Images]:
    folders = fold_folders(root, experiment)
    return {n: join_parts([load_embeddings(folder)], lesion_of, keypoints) for n, folder in enumerate(folders)}


def _whole(root: Path, experiment: str, lesion_of: Mapping[str, str], keypoints: KeypointTable) -> Images:
    return join_parts([load_embeddings(folder) for folder in fold_folders(root, experiment)], lesion_of, keypoints)


def join_parts(
    parts: list[Embeddings],
    lesion_of: Mapping[str, str],
    keypoints: KeypointTable,
    geometry: GeometryParams = GEOMETRY,
) -> Images:
    """Put parts of a pool together and compare each image with its nearest by their keypoints.

    Args:
        parts: Embeddings of one model.
        lesion_of: The lesion of each image.
        keypoints: Of at least these images.
        geometry: How many are compared, and how.

    Returns:
        The pool.
    """
    image_ids = [image_id for part in parts for image_id in part.image_ids]
    embeddings = np.concatenate([part.values for part in parts])
    shortlist = shortlist_by_keypoints(Pool(embeddings), keypoints.select(image_ids), geometry, THREADS)
    return Images(image_ids, embeddings, [lesion_of[image_id] for image_id in image_ids], shortlist)


def _whitened(folds: Mapping[int, Images], keypoints: KeypointTable) -> dict[int, Images]:
    """Whiten each fold by what differs within lesions of the others; all folds must have embeddings of one model."""
    whitened = {}
    for fold, pool in folds.items():
        others = [other for n, other in folds.items() if n != fold]
        labels = lesion_labels([lesion for other in others for lesion in other.lesion_ids])
        fitted = fit_whitening(np.concatenate([other.embeddings for other in others]), labels, kind="learned")
        embeddings = fitted.apply(pool.embeddings)
        shortlist = shortlist_by_keypoints(Pool(embeddings), keypoints.select(pool.image_ids), GEOMETRY, THREADS)
        whitened[fold] = Images(pool.image_ids, embeddings, pool.lesion_ids, shortlist)
    return whitened


def calibrations_by_others(folds: Mapping[int, Images], params: SimilarityParams) -> dict[int, Calibration | None]:
    """Calibrate every fold by the pairs of the others; with none where the similarity is not calibrated."""
    if not params.is_calibrated:
        return dict.fromkeys(folds)
    return {fold: calibrate([other.labelled() for n, other in folds.items() if n != fold], params) for fold in folds}


@dataclass(frozen=True)
class Judged:
    """Means over the folds, by method: F1 at the fold's own cut and at that of the others, its interval; recall@1."""

    own: Mapping[str, float]
    carried: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    recall_at_1: float

    def cell(self, method: str) -> str:
        """Give F1 at the other folds' cut with its interval, for a table."""
        low, high = self.intervals[method]
        return f"{self.carried[method]:.3f} [{low:.3f}, {high:.3f}]"


def judge_folds(folds: Mapping[int, Images], params: SimilarityParams) -> Judged:
    """Judge every fold at cuts, and by a calibration, that the others choose.

    Args:
        folds: Three or more.
        params: What the similarity is.

    Returns:
        The figures.
    """
    calibrations = calibrations_by_others(folds, params)
    found = {fold: _score(pool, params, calibrations[fold]) for fold, pool in folds.items()}
    points = {fold: one.points for fold, one in found.items()}
    cuts = {method: carry_to_folds(points, method) for method in CUTS}
    judged = [
        _at_cuts(found[fold], pool, {method: cuts[method][fold] for method in CUTS}) for fold, pool in folds.items()
    ]
    carried = [transfer_figures(one) for one in judged]
    return Judged(
        own={method: _mean(one.metrics[f"{method}_f1"] for one in found.values()) for method in METHODS},
        carried={method: _mean(one[f"{method}_f1_transfer"] for one in carried) for method in METHODS},
        intervals=f1_intervals(resample_f1([one.predicted for one in judged], EVALUATION.resamples, SEED)),
        recall_at_1=_mean(one.metrics["recall_at_1"] for one in found.values()),
    )


def _score(pool: Images, params: SimilarityParams, calibration: Calibration | None) -> Score:
    return score(pool.with_similarities(params, calibration), pool.lesion_ids, EVALUATION)


def _at_cuts(found: Score, pool: Images, cuts: Mapping[str, float]) -> AtCuts:
    """Tell what a pool that has been scored is worth at cuts that were chosen elsewhere."""
    return score_at(found.given.vicinity.pool, lesion_labels(pool.lesion_ids), cuts, EVALUATION.max_group_size)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _row(name: str, folds: Mapping[int, Images], params: SimilarityParams) -> list[str]:
    judged = judge_folds(folds, params)
    return [name, *(f"{judged.own[method]:.3f} / {judged.cell(method)}" for method in METHODS)]


def _parts(whole: Images, seed: int, n_parts: int = 5) -> list[Images]:
    """Deal a pool's lesions into small pools."""
    lesions = np.array(whole.lesion_ids)
    names = np.unique(lesions)
    dealt = dict(zip(names, np.random.default_rng(seed).permutation(np.arange(len(names)) % n_parts), strict=True))
    part_of = np.array([dealt[lesion] for lesion in lesions])
    return [
        Images([], whole.embeddings[part_of == part], lesions[part_of == part].tolist(), NO_SHORTLIST)
        for part in range(n_parts)
    ]


def _carried_rows(name: str, cases: list[tuple[list[Images], Images]], params: SimilarityParams) -> list[list[str]]:
    """Carry cuts from small pools to a large one, with and without regard to its size; mean over the cases."""
    f1: dict[str, list[tuple[float, float, float]]] = {method: [] for method in CUTS}
    for small, large in cases:
        points = [_score(pool, params, None).points for pool in small]
        whole = _score(large, params, None)
        corrected, plain = (
            transfer_figures(_at_cuts(whole, large, _carried(points, len(large.lesion_ids), is_corrected)))
            for is_corrected in (True, False)
        )
        for method, found in f1.items():
            transfer = f"{method}_f1_transfer"
            found.append((whole.metrics[f"{method}_f1"], corrected[transfer], plain[transfer]))
    rows = []
    for method, found in f1.items():
        of_own, of_corrected, of_plain = np.mean(found, axis=0)
        figures = [f"{value:.3f}" for value in (of_own, of_corrected, of_plain)]
        rows.append([f"{name}: {method}", *figures, f"{(of_corrected - of_plain) / (of_own - of_plain):.0%}"])
    return rows


def _carried(subsets: Sequence[Mapping[str, OperatingPoints]], n_images: int, is_corrected: bool) -> dict[str, float]:
    """Return, by method, the cut of small pools carried over to one of so many images."""
    return {method: carry_over([points[method] for points in subsets], n_images, is_corrected).value for method in CUTS}


def _size_rows(whole: Images, folds: Mapping[int, Images]) -> list[list[str]]:
    """Tell how F1 falls as the pool grows: at its own best cut, and at those that the folds choose."""
    rows = []
    labels = lesion_labels(whole.lesion_ids)
    pools = draw_pools(labels, POOL_SIZES, 10, SEED)
    for name, params in (("cosine", COSINE), ("verified", VERIFIED)):
        calibration = calibrate([pool.labelled() for pool in folds.values()], params) if params.is_calibrated else None
        points = [_score(pool, params, calibration).points for pool in folds.values()]
        rules = {method: carried_cuts([fold[method] for fold in points]) for method in FOLLOWED}
        vicinity = Vicinity(whole.with_similarities(params, calibration))
        found = summarise_pools(follow_pools(vicinity, labels, rules, pools, EVALUATION.max_group_size))
        f1 = found.set_index(["method", "rule", "size"])["f1"]
        for method, cuts in rules.items():
            for rule in (OWN, *cuts):
                title = f"{name}, {METHODS[method].title.lower()}, {rule}"
                rows.append([title, *(f"{f1[method, rule, size]:.3f}" for size in POOL_SIZES)])
    return rows


if __name__ == "__main__":
    main()
