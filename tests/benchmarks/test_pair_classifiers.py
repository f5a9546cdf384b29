"""Features of pairs against plain loops, and the product's calibration as one classifier among others."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import pair_classifiers
from benchmarks.pair_classifiers import (
    CLASSIFIERS,
    CONTROL,
    FEATURES,
    INLIERS,
    RISING,
    SHARE_SCALED,
    Fold,
    draw_part,
    fused_by,
    nearest_part,
    neighbour_ranks,
)
from benchmarks.stored import Images, read_lesions
from skinbit.datasets.embeddings import EmbeddingsDataset
from skinbit.embedding.tables import Embeddings
from skinbit.matching.operating_points import carry_to_folds
from skinbit.matching.pairs import lesion_labels, unit_vectors
from skinbit.matching.pool import similarity_matrix
from skinbit.matching.scaling import crowding
from skinbit.matching.scoring import score_at
from skinbit.matching.similarity import calibrate, shortlist_table
from skinbit.matching.uncertainty import mean_f1
from skinbit.params import ScalingParams, SimilarityParams

VERIFIED = SimilarityParams(verification=True)

symmetric = st.integers(2, 9).flatmap(
    lambda n: st.lists(st.integers(-4, 4), min_size=n * n, max_size=n * n).map(
        lambda values: _mirrored(np.array(values, dtype=np.float32).reshape(n, n) / 4)
    )
)
"""Few different values, so that many are equal."""


def _mirrored(values):
    upper = np.triu(values, 1)
    return upper + upper.T + np.eye(len(values), dtype=np.float32)


def fold(seed=0, n_lesions=24, n_single=0, k=4):
    """Images of lesions, each compared with its nearest: partners share many keypoints, others a few by chance."""
    generator = np.random.default_rng(seed)
    lesions = np.append(np.repeat(np.arange(n_lesions), 2 + np.arange(n_lesions) % 2), n_lesions + np.arange(n_single))
    centres = generator.normal(size=(n_lesions + n_single, 12))
    embeddings = unit_vectors(centres[lesions] + 0.6 * generator.normal(size=(len(lesions), 12)))
    pairs = nearest_pairs(embeddings, k)
    same = lesions[pairs[:, 0]] == lesions[pairs[:, 1]]
    inliers = generator.poisson(np.where(same, generator.choice([4, 30], len(pairs)), 3))
    image_ids = [f"{seed}{row:03}" for row in range(len(lesions))]
    names = [f"{seed}_{lesion:03}" for lesion in lesions]
    return Fold(Images(image_ids, embeddings, names, pair_classifiers.Shortlist(pairs, inliers)))


def nearest_pairs(embeddings, k):
    alike = embeddings @ embeddings.T
    np.fill_diagonal(alike, -np.inf)
    return np.array(sorted({tuple(sorted((a, int(b)))) for a, row in enumerate(alike) for b in np.argsort(-row)[:k]}))


def listed(pool):
    return zip(pool.shortlist.pairs.tolist(), pool.shortlist.inliers.tolist(), strict=True)


def lesion_table(pools, rows):
    parts = [pd.DataFrame({"image_id": pool.image_ids[rows], "lesion_id": pool.lesion_ids[rows]}) for pool in pools]
    return pd.concat(parts)


@given(symmetric)
def test_a_rank_counts_the_images_that_are_nearer(similarities):
    n_images = len(similarities)
    expected = np.zeros((n_images, n_images), dtype=int)
    for a in range(n_images):
        for b in set(range(n_images)) - {a}:
            others = set(range(n_images)) - {a, b}
            expected[a, b] = 1 + sum(similarities[a, other] > similarities[a, b] for other in others)
    np.testing.assert_array_equal(neighbour_ranks(similarities), expected)


def nearest_of_all(images, k):
    return crowding(images.pool.embeddings, ScalingParams(least=k, most=k))


@given(st.integers(1, 12))
def test_crowding_is_the_mean_of_the_nearest_others(k):
    images = fold()
    for a, found in enumerate(nearest_of_all(images, k)):
        others = sorted((float(value) for b, value in enumerate(images.cosines[a]) if b != a), reverse=True)[:k]
        assert found == pytest.approx(sum(others) / len(others), abs=1e-12)


def test_features_of_a_pair_are_those_of_plain_loops_and_the_same_either_way():
    images = fold()
    n_images, cosines = len(images.labels), images.cosines
    first, second = np.triu_indices(n_images, 1)
    features = images.features(first, second)
    np.testing.assert_array_equal(features, images.features(second, first))
    counted = {tuple(pair): n for pair, n in listed(images.pool)}

    def crowded(row, k):
        return np.mean(sorted((float(cosines[row, b]) for b in range(n_images) if b != row), reverse=True)[:k])

    def rank(row, other):
        return 1 + sum(cosines[row, b] > cosines[row, other] for b in range(n_images) if b not in (row, other))

    for a, b in [(0, 1), (3, 40), (7, 8), (58, 59)]:
        place = np.flatnonzero((first == a) & (second == b))[0]
        cosine, ranks = float(cosines[a, b]), sorted((rank(a, b), rank(b, a)))
        scaled = [2 * cosine - crowded(a, k) - crowded(b, k) for k in (8, 4)]
        expected = [cosine, *scaled, counted.get((a, b), 0), *np.log(ranks), ranks == [1, 1]]
        np.testing.assert_allclose(features[place], expected, atol=1e-12)
    assert features.shape == (len(first), len(FEATURES))


def test_a_sample_stands_for_all_pairs_and_holds_all_that_count(monkeypatch):
    monkeypatch.setattr(pair_classifiers, "MOST_OTHERS", 100)
    images = fold()
    n_images, sample = len(images.labels), images.sample
    n_positive = sum(n * (n - 1) // 2 for n in np.bincount(images.labels))
    step = sample.weights.max()
    assert step > 1
    assert abs(sample.weights.sum() - n_images * (n_images - 1) / 2) < step
    assert sample.is_positive.sum() == n_positive
    assert (sample.weights[sample.is_positive] == 1).all()
    assert sample.features[:, INLIERS].sum() == images.pool.shortlist.inliers.sum()


def test_the_control_makes_the_similarities_of_the_product():
    images, others = fold(), [fold(seed) for seed in (1, 2)]
    fitted = calibrate([one.pool.labelled() for one in others], VERIFIED)
    expected = similarity_matrix(images.pool.with_similarities(VERIFIED, fitted))
    found = fused_by(images, CLASSIFIERS[CONTROL][1](others))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_scores_all_pairs_symmetrically_and_partners_higher(name):
    images = fold()
    similarities = fused_by(images, CLASSIFIERS[name][1]([fold(1), fold(2)]))
    np.testing.assert_array_equal(similarities, similarities.T)
    assert np.isfinite(similarities).all()
    first, second = np.triu_indices(len(similarities), 1)
    is_positive = images.labels[first] == images.labels[second]
    alike = similarities[first, second]
    assert alike[is_positive].mean() > np.quantile(alike[~is_positive], 0.95)


@pytest.mark.parametrize("name", ["calibration", "boosting_all", "share"])
def test_evidence_never_falls_where_a_feature_speaks_more_for_one_lesion(name):
    score = CLASSIFIERS[name][1]([fold(1), fold(2)])
    features = fold().features(*np.triu_indices(60, 1))
    before = score(features)
    for column, direction in enumerate(RISING):
        moved = features.copy()
        moved[:, column] += direction * (5 if column == INLIERS else 0.5)
        assert (score(moved) >= before - 1e-12).all()


def test_local_scaling_by_share_takes_more_neighbours_in_a_larger_pool():
    small, large = fold(n_lesions=24), fold(n_lesions=192)  # 60 images, fewer than four times 80, and 480
    for images, k in ((small, 4), (large, 6)):
        place = np.array([0]), np.array([1])
        around = nearest_of_all(images, k)
        expected = 2 * float(images.cosines[0, 1]) - around[0] - around[1]
        assert images.features(*place)[0, SHARE_SCALED] == pytest.approx(expected, abs=1e-12)


def test_fewer_neighbours_keep_the_pairs_that_they_would_propose():
    pool = fold(k=4).pool
    part = nearest_part(pool.shortlist, pool.embeddings, 2)
    np.testing.assert_array_equal(part.pairs, nearest_pairs(pool.embeddings, 2))
    counted = {tuple(pair): n for pair, n in listed(pool)}
    assert [counted[tuple(pair)] for pair in part.pairs.tolist()] == part.inliers.tolist()
    with pytest.raises(LookupError, match=r"nearest \d+ were compared. Remedy: --neighbours"):
        nearest_part(pool.shortlist, pool.embeddings, 6)


def test_a_part_keeps_lesions_whole_and_the_pairs_that_were_compared():
    pool = fold().pool
    part = draw_part(pool, 5, np.random.default_rng(0))
    assert sorted(part.lesion_ids) == sorted(lesion for lesion in pool.lesion_ids if lesion in set(part.lesion_ids))
    assert len(set(part.lesion_ids)) == 5
    embedding_of = dict(zip(pool.image_ids, pool.embeddings.tolist(), strict=True))
    assert [embedding_of[image_id] for image_id in part.image_ids] == part.embeddings.tolist()
    compared = {frozenset(pool.image_ids[row] for row in pair): n for pair, n in listed(pool)}
    kept = {frozenset(part.image_ids[row] for row in pair): n for pair, n in listed(part)}
    assert kept == {pair: n for pair, n in compared.items() if pair <= set(part.image_ids)}


def test_a_study_of_too_few_folds_ends_in_a_message(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"one has 0 folds. Remedy"):
        run(tmp_path, monkeypatch)


def test_ids_stay_text(tmp_path):
    (tmp_path / "split.csv").write_text("image_id,lesion_id,fold\n007,01,0\nNA,02,0\n")
    assert read_lesions(tmp_path / "split.csv") == {"007": "01", "NA": "02"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Files of a finished study of three folds and twelve distractors."""
    root = tmp_path_factory.mktemp("study")
    folds = [fold(seed, n_single=12) for seed in range(3)]
    (root / "02_intermediate").mkdir()
    alone = 60
    for n, images in enumerate(folds):
        pool, folder = images.pool, root / f"07_model_output/one/fold_{n}"
        ids = [*pool.image_ids[:alone], *folds[0].pool.image_ids[alone:]]  # the same distractors for every fold
        for name, rows in (("embeddings", slice(alone)), ("distractor_embeddings", slice(alone, None))):
            dataset = EmbeddingsDataset(filepath=str(folder / f"{name}.safetensors"))
            dataset.save(Embeddings(tuple(ids[rows]), pool.embeddings[rows], {}))
        table = shortlist_table(pool.shortlist, ids)
        table.to_csv(folder / "distractor_shortlist.csv", index=False)
        within = (pool.shortlist.pairs < alone).all(axis=1)
        table[within].to_csv(folder / "shortlist.csv", index=False)
    pools = [images.pool for images in folds]
    lesion_table(pools, slice(alone)).to_csv(root / "02_intermediate/split.csv", index=False)
    lesion_table(pools[:1], slice(alone, None)).to_csv(root / "02_intermediate/distractors.csv", index=False)
    return root


def run(root, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["", "--root", str(root), "--experiment", "one", *arguments])
    pair_classifiers.main()


def test_the_table_holds_a_row_per_classifier_and_the_gains(study, monkeypatch, capsys):
    run(study, monkeypatch, "--neighbours=2", "--distractors", "--lesions", "8", "--classifiers", "scaled", "share")
    lines = capsys.readouterr().out.splitlines()
    for name, n_tables in ((CONTROL, 3), ("scaled", 5), ("share", 5)):  # the control gains nothing over itself
        assert sum(line.startswith(f"| {CLASSIFIERS[name][0]} |") for line in lines) == n_tables
    assert "each fold among distractors: 3 pools, 72 images each on average" in lines


def test_more_neighbours_than_were_compared_end_in_a_message(study, monkeypatch):
    with pytest.raises(SystemExit, match=r"shortlist.csv: of \d+ pairs .* Remedy: --neighbours as in the study"):
        run(study, monkeypatch, "--neighbours", "12")


def test_more_lesions_than_a_fold_has_end_in_a_message(study, monkeypatch):
    with pytest.raises(SystemExit, match="from 2 to 24 lesions"):
        run(study, monkeypatch, "--neighbours=2", "--lesions", "25")


def test_folds_without_compared_keypoints_end_in_a_message(study, monkeypatch):
    monkeypatch.setattr(pair_classifiers, "read_lesions", lambda _: {})
    folders = [study / "07_model_output/one/fold_0/nowhere"] * 3
    monkeypatch.setattr(pair_classifiers, "fold_folders", lambda *_, **__: folders)
    monkeypatch.setattr(pair_classifiers, "load_embeddings", lambda _: None)
    with pytest.raises(SystemExit, match=r"shortlist.csv is missing. Remedy: an experiment whose pairs are verified"):
        run(study, monkeypatch)


def test_folds_are_judged_as_the_product_judges_them():
    folds = [fold(seed) for seed in range(3)]
    scores = pair_classifiers._fit_all(folds, CLASSIFIERS[CONTROL][1])
    judged, points = pair_classifiers._judge_folds(folds, scores)
    cuts = {method: carry_to_folds(dict(enumerate(points)), method) for method in pair_classifiers.JUDGED}
    for n, images in enumerate(folds):
        fitted = calibrate([other.pool.labelled() for m, other in enumerate(folds) if m != n], VERIFIED)
        chosen = {method: of[n] for method, of in cuts.items()}
        expected = score_at(images.pool.with_similarities(VERIFIED, fitted), images.labels, chosen, 4).predicted
        for method in pair_classifiers.JUDGED:
            assert mean_f1([judged[n].predicted[method]]) == mean_f1([expected[method]])
    assert (lesion_labels(folds[0].pool.lesion_ids) == folds[0].labels).all()
