"""What is timed is right: exact searches against all cuts tried one by one, and the check of large pools."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from benchmarks import matching, scale
from benchmarks.matching import LINKAGES, cluster_f1, exact_cuts, exact_thresholds, make_embeddings
from skinbit.matching.pairs.pool import Pool, similarity_matrix


@pytest.fixture(scope="module")
def pool():
    return make_embeddings(120, 2.2)


def best_of_all_cuts(embeddings, labels, linkage):
    distances = 1.0 - similarity_matrix(Pool(embeddings)).astype(np.float64)
    merges = hierarchy.linkage(squareform(distances, checks=False), linkage)
    return max(cluster_f1(hierarchy.fcluster(merges, cut, criterion="distance"), labels) for cut in merges[:, 2])


@pytest.mark.parametrize("linkage", LINKAGES)
def test_of_a_linkage_no_cut_is_better(pool, linkage):
    assert exact_cuts(*pool, linkage) == pytest.approx(best_of_all_cuts(*pool, linkage))


def test_of_dbscan_no_cut_is_better(pool):
    assert exact_cuts(*pool, "dbscan") == pytest.approx(best_of_all_cuts(*pool, "single"))


def test_a_wrong_f1_of_a_large_pool_is_noticed(pool):
    f1 = exact_thresholds(*pool)
    scale._check_best_f1(f1, *pool)
    with pytest.raises(ValueError, match="of all pairs sorted"):
        scale._check_best_f1(f1 - 1e-9, *pool)


def test_every_contest_has_a_row(monkeypatch):
    monkeypatch.setattr(matching, "SIZES", {60: (1.5, 1, 1)})
    rows = matching.compare(60)
    assert [len(row) for row in rows] == [len(matching._HEADER)] * 8
    assert rows[-1][1] == "all of it"
