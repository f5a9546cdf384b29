"""What the gallery of groups shows, and which pictures come first where not all fit."""

import math

import numpy as np
import pandas as pd
import pytest

from skinbit.config import ContextParams, GeometryParams, SimilarityParams
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.headers import read_header
from skinbit.matching.assembly import Matching
from skinbit.report.cluster_gallery import assemble_gallery
from skinbit.report.gallery import render_gallery
from tests.matching.samples import CALIBRATION

HEADER = read_header(
    {
        "backbone": {"model": "resnet", "image_size": 32, "pretrained": False},
        "preprocessing": {
            **{"image_size": 32, "crop_pct": 0.95, "interpolation": "bicubic"},
            **{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        },
        **{"weights_sha256": "0" * 64, "holds_backbone": True, "head": {"dim": None}},
        **{"loss": "triplet", "epoch": 1, "seed": 42, "versions": {}},
    }
)
MATCHING = Matching(
    operating_points={},
    max_group_size=None,
    similarity=SimilarityParams(context=ContextParams.model_validate({"same": "patient", "evidence": "sex"})),
    geometry=GeometryParams(),
    calibration=CALIBRATION,
)
MODEL = Checkpoint({}, HEADER.model_copy(update={"matching": MATCHING}))
PICTURE = "data:image/jpeg;base64,AAAA"
CUT = {
    **{"method": "average", "cut": 0.3, "similarity": 0.7, "unsure_from": 0.6, "unsure_to": 0.8},
    **{"expected": None, "log_odds": None, "answers": None, "certificate": None},
}


def group(cluster_id, image_ids, known_ids=(), lesion_id="", margin=None, doubts=()):
    return {
        "cluster_id": cluster_id,
        "lesion_id": lesion_id,
        "image_ids": list(image_ids),
        "known_ids": list(known_ids),
        "margin": margin,
        "probability_inside": None,
        "probability_outside": 0.25,
        "contradictory_ids": [],
        "doubts": list(doubts),
    }


@pytest.fixture
def files():
    """A photograph without a partner, then one that joins a known lesion, then two of which one is linked."""
    groups = [group(0, "a"), group(1, "b", "k", "mole", 0.2), group(2, "cd", margin=0.01, doubts=["Unsure."])]
    return {
        "clustered_images": pd.DataFrame(
            {
                "image_id": list("abcd"),
                "cluster_id": [0, 1, 2, 2],
                "similarity_to_nearest": [np.nan, 0.5, 0.75, 0.75],
                "probability_of_nearest": [np.nan, 0.25, np.nan, 0.9],
            }
        ),
        "cluster_groups": {**CUT, "groups": groups, "nearest": ["", "k", "d", "c"]},
        "cluster_columns": pd.DataFrame(
            {"image_id": list("abcdk"), "patient": "P7", "sex": ["female", "", "unknown", "male", "female"]}
        ),
        "cluster_links": [{"cluster_id": 2, "image_ids": ["c", "d"], "inliers": 12, "drawing": PICTURE}],
        "known_photographs": pd.DataFrame({"image_id": ["k"], "lesion_id": ["mole"]}),
        "known_thumbnails": {"k": PICTURE},
        "new_thumbnails": dict.fromkeys("abcd", PICTURE),
        "unreadable": pd.DataFrame({"file": ["x.jpg"], "reason": ["damaged"]}),
    }


def megabytes(n_pictures):
    return n_pictures * len(PICTURE) / 1e6


def test_it_can_be_shown(files):
    gallery = assemble_gallery(files, MODEL, 1.0)
    assert gallery.title == "4 photographs, 2 groups of two or more"
    assert gallery.unreadable == (("x.jpg", "damaged"),)
    assert [photograph.similarity for photograph in gallery.photographs] == ["", "0.5", "0.75", "0.75", ""]
    assert {group.probabilities for group in gallery.groups} == {(None, 0.25)}
    assert [photograph.probability for photograph in gallery.photographs] == ["", "0.25", "", "0.9", ""]
    page = render_gallery(gallery)
    assert "4 photographs" in page


def test_it_shows_what_is_known_of_photographs_and_no_patients(files):
    gallery = assemble_gallery(files, MODEL, 1.0)
    assert [each.said for each in gallery.photographs] == ["sex: female", "", "", "sex: male", "sex: female"]
    assert "P7" not in render_gallery(gallery)


def test_thumbnails_of_the_smallest_margin_come_first_and_those_without_a_partner_last(files):
    assert list(assemble_gallery(files, MODEL, 1.0).thumbnails) == ["c", "d", "b", "known:k", "a"]
    assert list(assemble_gallery(files, MODEL, megabytes(3)).thumbnails) == ["c", "d", "b"]


@pytest.mark.parametrize(("room", "n_left_out"), [(6, 0), (5, 1)])
def test_drawings_have_the_room_that_thumbnails_leave(files, room, n_left_out):
    gallery = assemble_gallery(files, MODEL, megabytes(room))
    assert len(gallery.thumbnails) == 5
    assert gallery.links[2][0].n_points == 12
    assert gallery.n_drawings_left_out == n_left_out


def test_it_names_model_method_and_cut(files):
    assert assemble_gallery(files, MODEL, 1.0).settings == {
        "model": "resnet, triplet",
        "method": "average, cut 0.3000",
        "joined from": "similarity 0.7000",
        "unsure between": "similarities 0.6000 and 0.8000",
    }


def test_it_names_the_probability_of_the_cut_where_it_is_known(files):
    files["cluster_groups"]["log_odds"] = {"intercept": -8 * math.atanh(0.7), "slope": 1.0}
    shown = assemble_gallery(files, MODEL, 1.0).settings
    assert shown["joined from"] == "a probability of 50% that they show the same lesion"
    assert "unsure between" not in shown


def test_it_says_what_is_expected_without_labels(files):
    f1 = {"value": 0.95, "low": 0.92, "high": 0.97}
    files["cluster_groups"]["expected"] = {
        **{"precision": None, "recall": None, "f1": f1},
        **{"n_positive_pairs": 12.0, "single_share": 0.554, "unlike_folds": []},
    }
    shown = assemble_gallery(files, MODEL, 1.0).settings
    assert shown["expected F1"] == "0.950 [0.920, 0.970]"
    assert shown["expected without a partner"] == "55% of the photographs"
    assert shown["certificate"] == "none; calibration alone expects the above"
    assert "expected precision" not in shown


def test_it_says_what_was_certified_of_which_groups(files):
    f1 = {"value": 0.95, "low": 0.92, "high": 0.97}
    files["cluster_groups"]["certificate"] = {
        **dict.fromkeys(("precision", "recall", "f1", "error_rate"), f1),
        **{"n_census": 150, "n_sampled": 193, "n_drawn": 200, "last_answer": "2026-11-29T08:00:00Z"},
    }
    shown = assemble_gallery(files, MODEL, 1.0).settings
    assert shown["certified F1"] == "0.950 [0.920, 0.970]"
    assert shown["certified"].startswith(
        "on 2026-11-29, by answers about 193 of 200 drawn pairs, for the groups before"
    )


def test_photographs_unlike_those_of_the_study_are_a_warning_with_a_remedy(files):
    expected = dict.fromkeys(("precision", "recall", "f1")) | {"n_positive_pairs": 12.0, "single_share": 0.5}
    files["cluster_groups"]["expected"] = {**expected, "unlike_folds": []}
    assert "Unlike the study" not in render_gallery(assemble_gallery(files, MODEL, 1.0))
    files["cluster_groups"]["expected"] = {**expected, "unlike_folds": ["they look <grey>"]}
    page = render_gallery(assemble_gallery(files, MODEL, 1.0))
    assert "from those of the study: they look &lt;grey&gt;. " in page
    assert "Remedy: review all groups" in page


def test_a_method_without_a_cut_says_so(files):
    files["cluster_groups"] |= {"method": "mutual", "cut": None, "similarity": None}
    assert assemble_gallery(files, MODEL, 1.0).settings["method"] == "mutual nearest, which needs no cut"


def test_says_how_many_pairs_answers_decide_and_contradictions_come_first(files):
    counts = {"obeyed": 3, "elsewhere": 1, "pairs_together": 2, "pairs_apart": 4, "contradictory": 1}
    files["cluster_groups"]["answers"] = counts
    files["cluster_groups"]["groups"][0]["contradictory_ids"] = ["a"]
    gallery = assemble_gallery(files, MODEL, 1.0)
    assert gallery.settings["answers"] == (
        "2 pairs held together, 4 held apart; 1 photographs left out, whose answers contradict each other"
    )
    assert [group.contradicts for group in gallery.groups] == [True, False, False]
    assert next(iter(gallery.thumbnails)) == "a"
    assert '"contradicts": true' in render_gallery(gallery) or '"contradicts":true' in render_gallery(gallery)


def test_without_answers_says_nothing_of_them(files):
    assert "answers" not in assemble_gallery(files, MODEL, 1.0).settings
