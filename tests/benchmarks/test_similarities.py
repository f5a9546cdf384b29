"""Rows of the tables: named as they should be, and what they say against a look at each pool by itself."""

import numpy as np
import pytest

from benchmarks import similarities
from benchmarks.similarities import COSINE, EVALUATION, judge_folds
from benchmarks.stored import Images
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs import unit_vectors
from skinbit.matching.scoring import score
from skinbit.matching.similarity import Shortlist


def images(seed, n_lesions=16):
    """Lesions of two or three images; all pairs are compared, partners share more keypoints."""
    generator = np.random.default_rng(seed)
    lesions = np.repeat(np.arange(n_lesions), 2 + np.arange(n_lesions) % 2)
    centres = generator.normal(size=(n_lesions, 12))
    embeddings = unit_vectors(centres[lesions] + 0.6 * generator.normal(size=(len(lesions), 12)))
    pairs = np.stack(np.triu_indices(len(lesions), 1), axis=1)
    inliers = generator.poisson(np.where(lesions[pairs[:, 0]] == lesions[pairs[:, 1]], 8, 3))
    names = [f"{seed}_{lesion:03}" for lesion in lesions]
    return Images([f"{seed}{row:03}" for row in range(len(lesions))], embeddings, names, Shortlist(pairs, inliers))


@pytest.fixture(scope="module")
def folds():
    return {n: images(n) for n in range(3)}


def own_f1(pool, method):
    return score(pool.with_similarities(COSINE, None), pool.lesion_ids, EVALUATION).metrics[f"{method}_f1"]


def test_own_cuts_are_those_of_each_fold_and_no_other_cut_is_better(folds):
    judged = judge_folds(folds, COSINE)
    for method in METHODS:
        assert judged.own[method] == pytest.approx(np.mean([own_f1(pool, method) for pool in folds.values()]))
        assert judged.carried[method] <= judged.own[method]


def test_every_method_has_a_row_of_cuts_that_are_carried(folds):
    rows = similarities._carried_rows("a pool", [(list(folds.values())[1:], folds[0])], COSINE)
    assert [row[0] for row in rows] == [f"a pool: {method}" for method in CUTS]
    for method, (_, own, corrected, plain, _) in zip(CUTS, rows, strict=True):
        assert own == f"{own_f1(folds[0], method):.3f}"
        assert max(corrected, plain) <= own


def test_pools_of_some_lesions_are_followed_by_every_rule(folds, monkeypatch):
    monkeypatch.setattr(similarities, "POOL_SIZES", (8, 16))
    rows = similarities._size_rows(folds[0], folds)
    assert len(rows) == 2 * 2 * 4
    whole = {row[0]: row[-1] for row in rows}
    assert whole["cosine, cosine threshold, own"] == f"{own_f1(folds[0], 'cosine'):.3f}"
    assert whole["cosine, average linkage, own"] == f"{own_f1(folds[0], 'average'):.3f}"
