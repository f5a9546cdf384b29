"""Folders are drawn as asked for, their pairs are counted as plain loops count them, the table has a row per kind."""

import shutil
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from benchmarks import small_folders
from benchmarks.small_folders import Counts, Matcher, Source, count_pairs, draw_folder, learn
from benchmarks.stored import Images, fold_folders, load_embeddings, read_lesions, read_pool
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST
from skinbit.matching.labels import unit_vectors
from tests.matching.samples import CALIBRATION


@pytest.fixture(scope="module")
def lesion_of(archive):
    tables = (archive.root / f"02_intermediate/{name}.csv" for name in ("split", "distractors"))
    return {image_id: lesion for table in tables for image_id, lesion in read_lesions(table).items()}


@pytest.fixture(scope="module")
def source(archive):
    folder = archive.root / "07_model_output/one/fold_0"
    return Source(load_embeddings(folder), load_embeddings(folder, "distractor_embeddings"))


@pytest.mark.parametrize(("n_images", "n_pairs"), [(2, 0), (8, 0), (8, 4), (10, 3)])
def test_a_folder_has_as_many_photographs_and_pairs_as_it_should(source, lesion_of, n_images, n_pairs):
    for seed in range(5):
        drawn = draw_folder(source, lesion_of, (n_images, n_pairs), seed)
        lesions = [lesion_of[image_id] for image_id in drawn.image_ids]
        assert len(set(drawn.image_ids)) == len(drawn.values) == n_images
        assert (
            sorted(lesions.count(lesion) for lesion in set(lesions)) == [1] * (n_images - 2 * n_pairs) + [2] * n_pairs
        )
        again = draw_folder(source, lesion_of, (n_images, n_pairs), seed)
        assert again.image_ids == drawn.image_ids
        np.testing.assert_array_equal(again.values, drawn.values)


def test_pairs_of_a_folder_are_those_of_plain_loops(monkeypatch):
    groups, lesions = [0, 0, 0, 1, 1, 2], list("aabbcc")
    joined = [pair for pair in combinations(range(6), 2) if groups[pair[0]] == groups[pair[1]]]
    right = sum(lesions[a] == lesions[b] for a, b in joined)
    monkeypatch.setattr(small_folders, "group_images", lambda *_: type("Groups", (), {"cluster_ids": np.array(groups)}))
    pool = Images(lesions, unit_vectors(np.eye(6)), lesions, NO_SHORTLIST)
    counts = count_pairs(pool, Matcher(CALIBRATION, [], []), 0.5, 0.7)
    assert counts == Counts(right, 3, len(joined) - right, 0.7)
    assert counts.f1 == pytest.approx(2 * right / (len(joined) + 3))


def run(root, monkeypatch):
    monkeypatch.setattr("sys.argv", ["", "--root", str(root), "--experiment", "one"])
    small_folders.main()


def test_the_table_has_a_row_per_kind_of_folder(archive, monkeypatch, capsys):
    monkeypatch.setattr(small_folders, "FOLDERS", ((2, 0), (6, 3)))
    monkeypatch.setattr(small_folders, "DRAWS", 4)
    monkeypatch.setattr(small_folders, "DRAWS_ALONE", 4)
    run(archive.root, monkeypatch)
    rows = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2 |") or line.startswith("| 6 |")
    ]
    assert len(rows) == 2
    cells = [[cell.strip() for cell in row.split("|")[3:-1]] for row in rows]
    for found, wrong, spoilt in (cells[1][:3], cells[1][5:]):  # the photographs' own cut, the folds' cut
        assert int(found.removesuffix(" of 12")) >= 6  # lesions of the archive are easy to tell apart
        assert (wrong, spoilt) == ("0.00", "0 of 4")
    assert all(0 < float(f1) <= 1 for f1 in cells[1][3:5])
    assert cells[0] == ["", "0.00", "0 of 4", "", "", "", "0.00", "0 of 4"]


def test_what_is_said_of_a_fold_does_not_rest_on_its_own_calibration_or_cuts(archive, lesion_of):
    folders = fold_folders(archive.root, "one")
    pools = [read_pool(load_embeddings(folder), folder / "shortlist.csv", lesion_of) for folder in folders]
    mixed = replace(pools[1], lesion_ids=[str(n % 4) for n in range(len(pools[1].lesion_ids))])
    plain, changed = (learn([pools[0], second, pools[2]]) for second in (pools[1], mixed))
    assert plain[1].calibration == changed[1].calibration
    assert plain[0].calibration != changed[0].calibration
    assert [len(matcher.points) for matcher in plain] == [2, 2, 2]
    assert plain[0].points[0] == plain[2].points[1]  # of fold 1


def test_kinds_that_need_more_lesions_than_there_are_are_left_out(archive, monkeypatch, capsys):
    monkeypatch.setattr(small_folders, "FOLDERS", ((2, 0), (8, 4), (9, 0), (10, 5)))
    monkeypatch.setattr(small_folders, "DRAWS", 1)
    monkeypatch.setattr(small_folders, "DRAWS_ALONE", 1)
    run(archive.root, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines if line.startswith("| ") and line[2].isdigit()] == ["| 2 | 0 ", "| 8 | 4 "]
    monkeypatch.setattr(small_folders, "FOLDERS", ((100, 50),))
    with pytest.raises(SystemExit, match=r"too few lesions to draw from\. Remedy"):
        run(archive.root, monkeypatch)


def test_a_folder_that_is_no_study_ends_in_a_message(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"one has 0 folds. Remedy"):
        run(tmp_path, monkeypatch)


def test_a_study_without_distractors_ends_in_a_message(archive, tmp_path, monkeypatch):
    shutil.copytree(archive.root, tmp_path / "study")
    (tmp_path / "study/02_intermediate/distractors.csv").unlink()
    with pytest.raises(SystemExit, match=r"distractors.csv is missing. Remedy: .*, with evaluation.distractors"):
        run(tmp_path / "study", monkeypatch)
