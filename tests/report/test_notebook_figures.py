"""Figures of the notebooks: what they draw, and that they hold for small and odd data."""

import io
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.config import EvaluationParams
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.scoring.lesions import evaluate_lesions, summarise_by_size, tabulate_positive_pairs
from skinbit.matching.scoring.score import score
from skinbit.notebook import data_figures, match_figures, pictures
from skinbit.report.data_summary import summarise_data
from skinbit.report.palette import BAD, GOOD

SPLIT = pd.DataFrame(
    {
        "image_id": [f"i{n}" for n in range(9)],
        "lesion_id": ["a", "a", "a", "b", "b", "c", "c", "d", "d"],
        "subset": ["train"] * 7 + ["test"] * 2,
        "fold": [0, 0, 0, 1, 1, 1, 1, -1, -1],
    }
)


def drawn(figure):
    """Draw a figure as a notebook does, so that whatever fails only then fails here."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.fixture(scope="module")
def photographs():
    return {image_id: Image.new("RGB", (8, 6), (10 * n, 90, 90)) for n, image_id in enumerate(SPLIT["image_id"])}


class TestData:
    def test_bars_tell_used_lesions_from_those_left_out(self):
        published = pd.concat([SPLIT["lesion_id"], pd.Series(["single", *["many"] * 6])])
        figure = drawn(data_figures.lesion_sizes(published, SPLIT["lesion_id"]))
        used, left_out = ([bar.get_height() for bar in bars] for bars in figure.axes[0].containers)
        assert (used, left_out) == ([0, 3, 1, 0], [1, 0, 0, 1])

    def test_every_lesion_has_one_cell_in_the_map(self):
        cells = drawn(data_figures.split_map(SPLIT)).axes[0].images[0].get_array()
        assert cells.shape == (3, 4)
        assert ((~np.ma.getmaskarray(cells)).sum(axis=0) == 1).all()

    def test_a_lesion_in_two_subsets_would_be_seen(self):
        leak = SPLIT.assign(lesion_id=SPLIT["lesion_id"].replace("d", "a"))
        cells = data_figures.split_map(leak).axes[0].images[0].get_array()
        assert (~np.ma.getmaskarray(cells)).sum(axis=0).max() == 2
        assert data_figures.tabulate_shared_lesions(leak).loc["fold 0", "test"] == 1

    def test_shared_lesions_are_counted_beside_the_diagonal(self):
        shared = data_figures.tabulate_shared_lesions(SPLIT)
        assert shared.index.tolist() == ["fold 0", "fold 1", "test"]
        assert shared.to_numpy().tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 1]]

    def test_pairs_of_every_subset_are_drawn(self):
        summary = summarise_data(SPLIT, pd.DataFrame(columns=["image_id", "lesion_id", "reason"]), [0, 1])
        figure = drawn(data_figures.pair_counts(summary.subsets))
        positive, negative = ([bar.get_height() for bar in bars] for bars in figure.axes[0].containers)
        assert (positive, negative) == ([3, 2, 1], [0, 4, 0])

    def test_lesions_are_chosen_evenly_by_size(self):
        assert data_figures.choose_by_size(SPLIT["lesion_id"], 2) == ["a", "d"]
        assert data_figures.choose_by_size(SPLIT["lesion_id"], 99) == ["a", "b", "c", "d"]


class TestMatches:
    pool = Pool(unit_vectors(np.random.default_rng(3).normal(size=(9, 4))))
    similarities = similarity_matrix(pool)
    lesions: ClassVar[list[str]] = SPLIT["lesion_id"].tolist()

    def test_histograms_hold_every_pair(self):
        figure = drawn(match_figures.similarity_histograms(self.similarities, lesion_labels(self.lesions), 0.5))
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert labels == ["30 negative pairs", "6 positive pairs", "threshold 0.5000"]

    def test_curves_name_the_chosen_cut_and_the_best_one(self):
        cuts = {"cosine": 0.5, "dbscan": 0.3, "average": 0.3}
        found = score(self.pool, self.lesions, EvaluationParams(), cuts)
        figure = drawn(match_figures.cut_curves(found.sweeps, cuts, {method: [0.4, 0.6] for method in cuts}))
        oracle = figure.axes[0].get_legend().get_texts()[1].get_text()
        assert oracle.startswith(f"oracle: F1 {found.metrics['cosine_f1']:.3f}")
        assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == [
            "Cosine threshold",
            "DBSCAN",
            "Average linkage",
        ]

    def test_a_subset_without_positive_pair_has_an_empty_curve(self):
        found = score(self.pool.subset(np.arange(3)), ["a", "b", "c"], EvaluationParams())
        cuts = {"cosine": float("nan"), "dbscan": float("nan")}
        figure = drawn(match_figures.cut_curves(found.sweeps, cuts, {method: [] for method in cuts}))
        assert "nan" in figure.axes[0].get_legend().get_texts()[0].get_text()

    def test_lesions_are_drawn_by_outcome_and_pair_by_pair(self):
        pairs = tabulate_positive_pairs(self.similarities, self.lesions, SPLIT["image_id"].tolist())
        threshold = pairs["similarity"].median()
        bars = drawn(match_figures.lesion_outcomes(summarise_by_size(evaluate_lesions(pairs, threshold))))
        assert sum(bar.get_width() for bar in bars.axes[0].patches) == pytest.approx(2 * 100)
        dots = drawn(match_figures.lesion_similarities(pairs, threshold))
        missed, found = (line.get_xdata() for line in dots.axes[0].lines if line.get_marker() == "o")
        assert (sorted(missed), sorted(found)) == (
            sorted(pairs.loc[pairs["similarity"] < threshold, "similarity"]),
            sorted(pairs.loc[pairs["similarity"] >= threshold, "similarity"]),
        )


class TestPictures:
    def test_a_strip_per_lesion_shows_all_its_images(self, photographs):
        strips = pictures.lesion_strips(SPLIT, ["b", "a"])
        assert [[picture.image_id for picture in strip.pictures] for strip in strips] == [
            ["i3", "i4"],
            ["i0", "i1", "i2"],
        ]
        assert len(drawn(pictures.draw_strips(strips, photographs, columns=2)).axes[0].images) == 5

    def test_pairs_of_one_lesion_are_green_others_red(self, photographs):
        pair = {"image_a": "i0", "image_b": "i3", "lesion_a": "a", "lesion_b": "b", "similarity": 0.98765}
        strips = pictures.pair_strips([pair, pair | {"image_b": "i1", "lesion_b": "a"}])
        assert [strip.pictures[0].colour for strip in strips] == [BAD, GOOD]
        assert "similarity 0.9877" in texts(drawn(pictures.draw_strips(strips, photographs)))

    def test_neighbours_say_what_the_threshold_makes_of_them(self):
        similarities = np.array([[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]], dtype=np.float32)
        images = pd.DataFrame({"image_id": ["x", "y", "z"], "lesion_id": ["a", "b", "a"]})
        strip = pictures.neighbour_strip(similarities, images, "x", threshold=0.5)
        assert strip.label == "x, lesion a with 1 other photograph"
        assert [(picture.image_id, picture.caption, picture.colour) for picture in strip.pictures[1:]] == [
            ("y", "0.9000 matched", BAD),
            ("z", "0.2000 not matched", GOOD),
        ]

    def test_a_large_group_shows_its_first_images_and_counts_the_others(self):
        rows = [(f"i{n}", "a" if n < 3 else f"only{n}", 7) for n in range(11)]
        strip = pictures.group_strips(pd.DataFrame(rows, columns=["image_id", "lesion_id", "cluster_id"]), [7])[0]
        assert strip.label == "group 7: 11 images of 9 lesions, 3 more images are not shown"
        assert len(strip.pictures) == 8
        assert len({picture.colour for picture in strip.pictures[:3]}) == 1
        assert strip.pictures[0].colour != strip.pictures[3].colour

    def test_the_map_frames_the_largest_lesions(self, photographs):
        points = np.random.default_rng(0).normal(size=(9, 2))
        axes = drawn(pictures.draw_map(points, SPLIT, photographs, n_lesions=1)).axes[0]
        assert len(axes.images) == 9
        assert len([patch for patch in axes.patches if isinstance(patch, Rectangle)]) == 3

    def test_a_map_of_one_point_is_drawn(self, photographs):
        assert len(drawn(pictures.draw_map(np.zeros((1, 2)), SPLIT[:1], photographs)).axes[0].images) == 1

    def test_photographs_are_read_small_and_in_order(self, tmp_path, photographs):
        for image_id, image in photographs.items():
            image.resize((80, 60)).save(tmp_path / f"{image_id}.png")
        found = pictures.read_photographs(list_photographs(tmp_path), ["i4", "i1"], 16)
        assert list(found) == ["i4", "i1"]
        assert found["i4"].size == (16, 12)
        assert found["i4"].getpixel((0, 0)) == (40, 90, 90)
