"""What the first command shows: a recipe that works, and groups of photographs that nobody has labelled."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.by import By

from skinbit.config import Parameters
from skinbit.data.synthetic import CAPTURES_OF_ARCHIVE, make_photographs
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.embeddings import hardly_differ
from skinbit.embedding.preprocessing import crop_zooms, normalise_pixels
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.scoring.uncertainty import mean_f1, predicted_pairs_of_groups
from skinbit.pipelines.sample_data.nodes import unlabelled_seed
from skinbit.runtime.verification import verify_outputs
from tests.pipelines.test_graph import parameters
from tests.pipelines.test_study import table
from tests.report.conftest import chromium

__all__ = ["chromium"]

LEAST_F1 = 0.85


@pytest.fixture(scope="module")
def demo() -> Parameters:
    return parameters("demo")


@pytest.mark.parametrize("backbone", ["resnet", "vit", "dinov2"])
def test_no_network_maps_all_photographs_onto_one_point(demo, backbone):
    loaded = load_backbone(demo.backbones[backbone], demo.seed)
    made = make_photographs(6, demo.seed, demo.sample.width, demo.sample.height)
    images = [Image.open(BytesIO(photograph.jpeg)) for photograph in made]
    crops = np.concatenate([crop_zooms(image, loaded.preprocessing, (1.0,)) for image in images])
    with torch.inference_mode():
        features = loaded.module(normalise_pixels(torch.from_numpy(crops), loaded.preprocessing)).numpy()
    assert not hardly_differ(unit_vectors(features))


@pytest.fixture(scope="module")
def finished(make_project):
    """The demo as it is, but for the experiments that the recommended one does not need."""
    project = make_project()
    project.run(study={"experiments": "recommended"})
    return project


@pytest.mark.long
class TestWholeRun:
    def test_the_best_experiment_groups_well_at_the_other_folds_cut(self, finished):
        best = table(finished, "08_reporting/leaderboard.csv").iloc[0]
        assert best["experiment"] == "recommended"
        assert best["cosine_f1_transfer_mean"] >= LEAST_F1
        assert best["average_f1_transfer_mean"] >= LEAST_F1

    def test_every_figure_is_that_of_the_reference(self, finished):
        found = verify_outputs(finished.root / "data/demo")
        assert found.first is None
        assert found.left_out == []
        assert found.counts["08_reporting/*/final/results.csv"] > 50
        assert found.counts["07_model_output/clusters/clustered_images.csv"] > 50

    def test_photographs_without_labels_are_grouped_by_lesion(self, finished, demo):
        sample = demo.sample
        made = make_photographs(
            sample.n_unlabelled, unlabelled_seed(demo.seed), sample.width, sample.height, CAPTURES_OF_ARCHIVE
        )
        lesion_of = {photograph.image_id: photograph.lesion_id for photograph in made}
        groups = table(finished, "07_model_output/clusters/clustered_images.csv")
        assert sorted(groups["image_id"]) == sorted(lesion_of)
        lesions = lesion_labels([lesion_of[image_id] for image_id in groups["image_id"]])
        assert mean_f1([predicted_pairs_of_groups(groups["cluster_id"].to_numpy(), lesions)]) >= LEAST_F1

    @pytest.mark.parametrize("page", ["08_reporting/report.html", "07_model_output/clusters/clusters.html"])
    def test_a_browser_opens_the_page_and_has_nothing_to_complain_of(self, finished, chromium, page):
        chromium.get_log("browser")
        chromium.get((finished.root / "data/demo" / page).as_uri())
        assert not chromium.get_log("browser")
        assert chromium.find_element(By.TAG_NAME, "h1").is_displayed()

    def test_the_report_says_how_well_the_best_recipe_does(self, finished, chromium):
        chromium.get((finished.root / "data/demo/08_reporting/report.html").as_uri())
        said = chromium.find_element(By.TAG_NAME, "h1").text
        assert said.startswith("recommended with ")
        assert "finds images of the same lesion best: pairwise F1" in said

    def test_the_gallery_shows_on_which_points_photographs_agree(self, finished, chromium):
        chromium.get((finished.root / "data/demo/07_model_output/clusters/clusters.html").as_uri())
        chromium.find_element(By.CSS_SELECTOR, "button[data-links]").click()
        drawing = chromium.find_element(By.CSS_SELECTOR, "#drawings img")
        assert drawing.is_displayed()
