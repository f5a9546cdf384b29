"""Mistakes that a user can mend end the run at once, with one message, and spoil nothing."""

import shutil
import subprocess
import sys

import pytest
from kedro.config import OmegaConfigLoader
from PIL import Image

from skinbit import settings
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.runtime.context import read_parameters
from tests.pipelines.conftest import REPOSITORY

ONE_FOLD = {"sample_data": False, "experiments": "vit_baseline", "folds": 0}


def edit(folder, change):
    lines = (folder / "data.csv").read_text().splitlines()
    (folder / "data.csv").write_text("\n".join(change(lines)) + "\n")


def first_id(folder):
    return (folder / "data.csv").read_text().splitlines()[1].split(",")[1]


def no_csv(folder):
    (folder / "data.csv").unlink()


def no_images(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    (folder / "images").rmdir()


def most_images_missing(folder):
    for path in sorted((folder / "images").iterdir())[1:]:
        path.unlink()


def own_column(folder):
    edit(folder, lambda lines: [lines[0].replace("dx", "fold"), *lines[1:]])


def one_image_per_lesion(folder):
    edit(folder, lambda lines: [lines[0], *(f"L{n}{line[11:]}" for n, line in enumerate(lines[1:]))])


def no_lesion_column(folder):
    edit(folder, lambda lines: [lines[0].replace("lesion_id", "patient"), *lines[1:]])


def missing_image(folder):
    (folder / "images" / f"{first_id(folder)}.jpg").unlink()


def truncated_image(folder):
    path = folder / "images" / f"{first_id(folder)}.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def disguised_image(folder):
    Image.new("RGB", (8, 8)).save(folder / "images" / f"{first_id(folder)}.jpg", format="GIF")


def double_row(folder):
    edit(folder, lambda lines: [*lines, lines[1]])


def path_as_id(folder):
    edit(folder, lambda lines: [*lines, "SYN_0000001,../secret,,nv"])


def empty_file(folder):
    (folder / "data.csv").write_text("")


DATA_MISTAKES = [
    (no_csv, ["There is no metadata file", "data.csv", "SKINBIT_RAW_DIR", "--env demo"]),
    (no_images, ["images does not exist.", "Remedy"]),
    (most_images_missing, ["images that are missing", "and {n_missing} more", "Remedy"]),
    (own_column, ["data.csv has the column 'fold', a name that is reserved for Skinbit"]),
    (one_image_per_lesion, ["lesions are too few", "Left out:", "lesion has fewer than 2 images"]),
    (no_lesion_column, ["data.csv has no column lesion_id", "patient, image_id"]),
    (missing_image, ["1 images that are missing", "{first_id}.jpg (row 2"]),
    (truncated_image, ["1 images that cannot be read", "{first_id}.jpg (row 2 of data.csv): damaged or cut"]),
    (disguised_image, ["{first_id}.jpg (row 2 of data.csv): not a JPEG, PNG"]),
    (double_row, ["1 rows with an image_id that another row has", "image_id '{first_id}': also in row 2"]),
    (path_as_id, ["ids that cannot be used", "'../secret'"]),
    (empty_file, ["data.csv is empty"]),
]


@pytest.fixture(scope="module")
def studied(make_project, photographs):
    """A study of one fold; never changed."""
    project = make_project(photographs)
    project.run(study=ONE_FOLD)
    return project


@pytest.fixture
def done(studied, project, user_data):
    """A copy of it."""
    shutil.copytree(studied.root / "data", project.root / "data")
    return project


class TestData:
    @pytest.mark.parametrize(("mistake", "said"), DATA_MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
    def test_ends_the_run_with_one_message(self, project, user_data, mistake, said):
        facts = {
            "first_id": first_id(user_data),
            "n_missing": len(list((user_data / "images").iterdir())) - 1 - SHOWN_PER_KIND,
        }
        mistake(user_data)
        with pytest.raises(InputError) as raised:
            project.run(study={"sample_data": False, "experiments": "vit_baseline"})
        for part in said:
            assert part.format(**facts) in raised.value.message
        assert not {"02_intermediate/split.csv", "08_reporting/leaderboard.csv"} & project.outputs().keys()
        assert not [name for name in project.outputs() if "features" in name or name.endswith(".tmp")]

    def test_what_an_earlier_run_wrote_stays_as_it_was(self, done, user_data):
        project, before = done, done.outputs()
        truncated_image(user_data)
        with pytest.raises(InputError):
            project.run(study=ONE_FOLD)
        changed = {name for name, content in project.outputs().items() if before.get(name) != content}
        drafts = {f"02_intermediate/draft/{name}.csv" for name in ("row_problems", "checked_images")}
        assert {"02_intermediate/problems.csv"} <= changed <= {"02_intermediate/problems.csv", *drafts}

    def test_embeddings_of_an_earlier_split_are_not_evaluated(self, done):
        project, before = done, done.outputs()["08_reporting/leaderboard.csv"]
        project.run(pipelines=("data_split",), study=ONE_FOLD, seed=7)
        with pytest.raises(InputError, match=r"not those of the images in fold"):
            project.run(pipelines=("evaluation",), study=ONE_FOLD, seed=7)
        assert project.outputs()["08_reporting/leaderboard.csv"] == before

    def test_fewer_lesions_than_folds(self, project, user_data):
        with pytest.raises(InputError, match="lesions are too few"):
            project.run(study={"sample_data": False, "experiments": "vit_baseline"}, split={"n_folds": 30})

    def test_synthetic_photographs_never_go_beside_the_users(self, project, user_data):
        before = {path.name: path.read_bytes() for path in user_data.rglob("*") if path.is_file()}
        (user_data / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="files that sample_data did not make"):
            project.run(study={"sample_data": True})
        after = {path.name: path.read_bytes() for path in user_data.rglob("*") if path.is_file()}
        assert after == {**before, "notes.txt": b"mine"}


BOTH = {"both": {"combine": ["vit_triplet", "resnet_baseline"]}}


def mine(**overrides):
    return {"vit_mine": {"backbone": "vit", "loss": "triplet", **overrides}}


class TestConfiguration:
    @pytest.mark.parametrize(
        ("params", "said"),
        [
            ({"splitt": {"n_folds": 3}}, "splitt: there is no such parameter"),
            ({"split": {"n_fold": 3}}, "split.n_fold: there is no such parameter"),
            ({"data": {"policy": "skip"}}, "a policy is set for each kind of problem, e.g. data.policy.missing=skip"),
            ({"backbones": {"vit": {"pooling": {"powr": 2}}}}, "backbones.vit.pooling.powr: there is no such"),
            ({"experiments": {"vit_baseline": {"lr": 1}}}, "experiments.vit_baseline.lr: there is no such"),
            ({"split": {"n_folds": 1}}, "split.n_folds: Input should be greater than or equal to 2, not 1"),
            ({"study": {"folds": 9}}, "study.folds names fold 9, but split.n_folds is 5"),
            ({"study": {"experiments": "vit"}}, "unknown experiment 'vit'; declared: dinov2_baseline"),
            ({"study": {"folds": "0+0"}}, "study.folds names one twice"),
            ({"backbones": {"vit": {"weights": "weights.pt"}}}, "pretrained is false"),
            ({"evaluation": {"min_samples": 3}}, "evaluation.min_samples"),
            ({"seed": 1.0}, "seed: Input should be a valid integer, not 1.0"),
            ({"data": {"max_lesions": 5}}, "data.max_lesions is 5, but folds and test subset need 6"),
            (
                {"experiments": {"evaluation": {"backbone": "vit", "loss": "baseline"}}},
                "must not be called 'evaluation'",
            ),
            ({"experiments": {"other": {"backbone": "nope", "loss": "baseline"}}}, "unknown backbone 'nope'"),
            ({"backbones": {"vit": {"std": [0.0, 1.0, 1.0]}}}, "backbones.vit.std.0: Input should be greater than 0"),
            (
                {"backbones": {"vit": {"pooling": {"method": "gem", "levels": [2, 2]}}}},
                "levels must be ascending numbers from 0",
            ),
            ({"backbones": {"vit": {"model_args": {"num_classes": 9}}}}, "model_args must not set num_classes"),
            ({"seed": -1}, "seed: Input should be greater than or equal to 0, not -1"),
            ({"experiments": {"x": {"combine": "vit_triplet"}}}, "combine names only vit_triplet"),
            (
                {"experiments": {"x": {"combine": "vit_triplet+vit_triplet"}}},
                "combine names an experiment twice: vit_triplet",
            ),
            ({"experiments": {"x": {"combine": "vit_triplet+nope"}}}, "experiments.x.combine names the unknown"),
            ({"experiments": {"x": {"combine": "vit_triplet+x"}}}, "experiments.x.combine names x, which is a"),
            ({"experiments": {"x": {"combine": [1, 2]}}}, "experiments.x.combine.0: Input should be a valid string"),
            (
                {"experiments": {"vit_triplet": {"combine": "vit_baseline+resnet_baseline", "frozen": False}}},
                "experiments.vit_triplet: combine takes the embeddings of other experiments as they are: "
                "remove backbone, loss, frozen, or set it in the members",
            ),
            (
                {"experiments": {"x": {"combine": "vit_triplet+vit_baseline", "shares": "1+2+3"}}},
                "experiments.x: shares has 3 numbers, but combine names 2 experiments",
            ),
            (
                {"experiments": {"x": {"combine": "vit_triplet+vit_baseline", "shares": [1, 0]}}},
                "experiments.x.shares.1: Input should be greater than or equal to 0.001, not 0",
            ),
            ({"experiments": {"vit_triplet": {"shares": 1}}}, "shares has 1 numbers, but combine names 0 experiments"),
            ({"experiments": {"x": {"loss": "triplet"}}}, "experiments.x: set backbone, or combine to the names of"),
            ({"experiments": {"x": {}}}, "experiments.x: set backbone and loss, or combine to the names of"),
            (
                {"experiments": BOTH, "cluster": {"experiment": "both", "fold": 0}},
                "cluster.fold: both trains nothing, so it has a final model only; leave fold out",
            ),
            ({"experiments": BOTH, "audit": {"experiment": "both"}}, "both is a combination; name a baseline"),
            (
                {"experiments": {"both": {**BOTH["both"], "similarity": {"whitening": {}}}}},
                "experiments.both: combine takes embeddings as they are: set similarity.whitening in members",
            ),
            (
                {"experiments": BOTH, "study": {"experiments": "both"}, "similarity": {"whitening": {}}},
                "similarity.whitening is for experiments that train nothing, not for vit_triplet",
            ),
            (
                {"experiments": {"both": {**BOTH["both"], "similarity": {"zoom_pairs": True}}}},
                "experiments.both: combine takes one vector per photograph: leave similarity.zoom_pairs out",
            ),
            (
                {"experiments": mine(similarity={"zoom_pairs": True}), "study": {"experiments": "vit_mine"}},
                "similarity.zoom_pairs is for experiments that train nothing, not for vit_mine",
            ),
            (
                {"study": {"experiments": "vit_baseline"}, "similarity": {"zoom_pairs": True}},
                "zoom_pairs compares zooms, but vit_baseline has only one: set test_views.zooms, such as",
            ),
            ({"experiments": mine(training={"epoch": 3})}, "epoch: Extra inputs are not permitted"),
            ({"experiments": mine(training={"head": {"width": 3}})}, "head.width: Extra inputs are not permitted"),
            ({"experiments": mine(training={"epochs": 0})}, "epochs: Input should be greater than or equal to 1"),
            ({"experiments": mine(augmentation={"zoom": [3, 1]})}, "augmentation.zoom must be"),
            ({"experiments": mine(loss_options={"temperature": 0.1})}, "temperature: Extra inputs are not permitted"),
            (
                {"experiments": mine(similarity={"whitening": {}}), "study": {"experiments": "vit_mine"}},
                "whitening is for experiments that train nothing",
            ),
            ({"experiments": mine(similarity={"verifcation": True})}, "experiments.vit_mine.similarity: verifcation"),
            ({"evaluation": {"strata": ["dx", "dx"]}}, "strata must name each column once"),
            ({"evaluation": {"strata": [""]}}, "strata must name each column once"),
            ({"evaluation": {"max_group_size": 3}}, "max_group_size is 3, but a lesion may have 4 images"),
            ({"audit": {"experiment": "vit_triplet"}}, "audit.experiment: vit_triplet is trained on the labels"),
            ({"audit": {"experiment": "vit"}}, "audit.experiment names the unknown experiment 'vit'"),
        ],
    )
    def test_a_wrong_parameter_at_any_depth_is_named(self, params, said):
        configuration = OmegaConfigLoader(
            str(REPOSITORY / "conf"), env="demo", runtime_params=params, **settings.CONFIG_LOADER_ARGS
        )
        with pytest.raises(InputError) as raised:
            read_parameters(configuration)
        assert said in raised.value.message

    def test_a_wrong_parameter_fails_before_anything_runs(self, project):
        with pytest.raises(InputError, match="splitt: there is no such parameter"):
            project.run(splitt={"n_folds": 3})
        assert not project.outputs("data")

    def test_an_unknown_timm_name(self, project, user_data):
        backbones = {"vit": {"model": "vit_base_patch16_225"}}
        with pytest.raises(InputError, match=r"no model 'vit_base_patch16_225'.*vit_base_patch16_224"):
            project.run(study={"sample_data": False, "experiments": "vit_baseline"}, backbones=backbones)

    def test_an_unknown_timm_tag(self, project, user_data):
        backbones = {"vit": {"model": "resnet18.a1_in1K", "pretrained": True}}
        with pytest.raises(InputError, match=r"no model 'resnet18.a1_in1K'.*resnet18.a1_in1k"):
            project.run(study={"sample_data": False, "experiments": "vit_baseline"}, backbones=backbones)

    def test_an_image_size_that_leaves_part_of_a_patch(self, project, user_data):
        backbones = {"dinov2": {"image_size": 97}}
        with pytest.raises(InputError, match="97 pixels are no multiple of its patches of 14"):
            project.run(study={"sample_data": False, "experiments": "dinov2_baseline"}, backbones=backbones)

    def test_pretrained_weights_out_of_reach(self, project, user_data):
        backbones = {"vit": {"model": "vit_tiny_patch16_224", "pretrained": True}}
        with pytest.raises(InputError, match="hub is out of reach") as raised:
            project.run(study={"sample_data": False, "experiments": "vit_baseline"}, backbones=backbones)
        assert "Remedy: connect once" in raised.value.message

    def test_an_unknown_pipeline_suggests_the_nearest(self, project):
        with pytest.raises(InputError, match=r"no pipeline 'evaluatoin'\. Did you mean evaluation"):
            project.run(pipelines=("evaluatoin",))

    def test_a_broken_yaml_file(self, project):
        (project.root / "conf" / "demo" / "parameters.yml").write_text("study: [")
        with pytest.raises(InputError, match="configuration cannot be read"):
            project.run()

    def test_a_stage_whose_inputs_do_not_exist_yet(self, project):
        with pytest.raises(InputError, match="run the pipelines that make this file first"):
            project.run(pipelines=("evaluation",))


def test_the_command_prints_one_message_no_traceback_and_exits_with_1(project):
    command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--params", "study.experiments=nothing"]
    ended = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Error: The parameters are wrong" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
