"""`cluster_images`: photographs that nobody has labelled, grouped by a model of the study."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from PIL import Image

from skinbit.cli import cli
from skinbit.config import ClusterParams
from skinbit.decisions.answers import Answer
from skinbit.decisions.ledger import Ledger
from skinbit.errors import InputError
from skinbit.pipelines.cluster_images.nodes.model import open_checkpoint
from skinbit.reference.new_photographs import model_of_groups, verify_groups
from skinbit.runtime.datasets.files import unpack_header
from skinbit.runtime.session import StudySession

EXPERIMENTS = ("resnet_triplet", "vit_infonce", "vit_baseline")
STUDY = {"sample_data": False, "experiments": "+".join(EXPERIMENTS), "folds": "0+1"}
SMALL = {
    "split": {"n_folds": 2, "test_fraction": 0.4},
    "training": {"fine_tuned": {"epochs": 2}, "frozen": {"epochs": 3, "views": 2}},
    "loader": {"workers": 0, "batch_size": 8},
    "compute": {"threads": 1},
}
CLUSTERS = Path("data/demo/07_model_output/clusters")


@pytest.fixture(scope="module")
def studied(make_project, photographs):
    """A study of a fine-tuned, a frozen and an untrained backbone."""
    project = make_project(photographs)
    project.run(study=STUDY, **SMALL)
    return project


def table(path):
    return pd.read_csv(
        path, dtype={"image_id": str, "lesion_id": str}, keep_default_na=False, na_values={"value": [""]}
    )


def cluster(project, folder, only_missing=False, **options):
    given = {"images": str(folder), **options}
    project.run(pipelines=("cluster_images",), only_missing=only_missing, cluster=given, study=STUDY, **SMALL)
    assert [figure for figure in recomputed(project.root / "data/demo") if not figure.is_equal] == []
    return table(project.root / CLUSTERS / "clustered_images.csv")


def recomputed(root):
    """Return the figures of the groups by the reference; none if their model is not a final one of the study."""
    matching = model_of_groups(root)
    return [] if matching is None else list(verify_groups(root, matching))


@pytest.fixture
def test_photographs(studied, photographs, tmp_path):
    """Copies of all test photographs under other names, in another order; their lesions by new name."""
    split = table(studied.root / "data/demo/02_intermediate/split.csv")
    folder = tmp_path / "new"
    folder.mkdir()
    lesions = {}
    for number, row in enumerate(
        split[split["subset"] == "test"].sort_values("image_id", ascending=False).itertuples()
    ):
        shutil.copy(photographs / "images" / f"{row.image_id}.jpg", folder / f"photo {number:03}.jpg")
        lesions[f"photo {number:03}"] = row.lesion_id
    return folder, lesions


AS_STUDIED = {"single_share": 0.0, "max_group_size": 4}
"""At the folds' cut, and in groups no larger than the study makes them."""


def pairwise_f1(groups, lesions):
    """Count pairs by group sizes; nothing of Skinbit's."""
    pairs = lambda keys: sum(n * (n - 1) // 2 for n in Counter(keys).values())  # noqa: E731
    return 2 * pairs(zip(groups, lesions, strict=True)) / (pairs(groups) + pairs(lesions))


class TestGroups:
    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_of_the_test_photographs_have_exactly_the_reported_f1(self, studied, test_photographs, experiment):
        folder, lesions = test_photographs
        found = cluster(studied, folder, experiment=experiment, **AS_STUDIED)
        reported = table(studied.root / f"data/demo/08_reporting/{experiment}/results.csv").set_index("metric")["test"]
        assert pairwise_f1(found["cluster_id"], found["image_id"].map(lesions)) == float(reported["average_f1"])

    @pytest.mark.parametrize("method", ["dbscan", "complete", "mutual"])
    def test_by_other_methods_have_it_too(self, studied, test_photographs, method):
        folder, lesions = test_photographs
        options = {} if method == "mutual" else AS_STUDIED  # which needs no cut, and has no largest size
        found = cluster(studied, folder, experiment="vit_infonce", method=method, **options)
        reported = table(studied.root / "data/demo/08_reporting/vit_infonce/results.csv").set_index("metric")["test"]
        assert pairwise_f1(found["cluster_id"], found["image_id"].map(lesions)) == float(reported[f"{method}_f1"])

    def test_choose_their_cut_themselves_and_say_what_they_expect(self, studied, test_photographs, caplog):
        found = cluster(studied, test_photographs[0], experiment="vit_infonce")
        groups = json.loads((studied.root / CLUSTERS / "groups.json").read_text())
        expected = groups["expected"]["f1"]
        assert expected["low"] <= expected["value"] <= expected["high"]
        assert 0 <= groups["expected"]["single_share"] <= 1
        assert f"F1 {expected['value']:.3f} [{expected['low']:.3f}, {expected['high']:.3f}]" in caplog.text
        assert found["probability_of_nearest"].astype(float).between(0, 1).all()
        page = (studied.root / CLUSTERS / "clusters.html").read_text()
        assert f"{expected['value']:.3f} [{expected['low']:.3f}, {expected['high']:.3f}]" in page

    def test_of_a_wanted_precision_are_expected_to_have_it(self, studied, test_photographs):
        wanted = {"experiment": "vit_infonce", "method": "cosine"}
        n_groups = []
        for precision in (0.2, 0.95):
            found = cluster(studied, test_photographs[0], **wanted, precision=precision)
            n_groups.append(found["cluster_id"].nunique())
            expected = json.loads((studied.root / CLUSTERS / "groups.json").read_text())["expected"]["precision"]
            assert expected is None or expected["value"] >= precision
        assert n_groups[0] < n_groups[1]

    def test_a_fold_groups_too(self, studied, test_photographs):
        for experiment in ("resnet_triplet", "vit_infonce"):
            assert len(cluster(studied, test_photographs[0], experiment=experiment, fold=1)) == len(test_photographs[1])

    @pytest.mark.long
    def test_a_fold_of_a_calibrated_experiment_groups_as_it_was_scored_wherever_its_checkpoint_is(
        self, studied, make_project, photographs, tmp_path
    ):
        project = make_project(photographs)
        shutil.copytree(studied.root / "data", project.root / "data")
        similarity = {"calibration": "logistic", "scaling": {"share": 0.3, "least": 2}}
        own = {"backbone": "resnet", "loss": "triplet", "similarity": similarity}
        given = {"study": STUDY | {"experiments": "own"}, "experiments": {"own": own}}
        project.run(pipelines=("own",), **given, **SMALL)
        root = project.root / "data/demo"
        model = root / "06_models/own/fold_1/best.safetensors"
        matching = unpack_header(model.read_bytes())["matching"]
        calibrations = json.loads((root / "08_reporting/own/calibration.json").read_text())
        assert matching["calibration"] == calibrations["1"] != calibrations["all"]
        assert matching["similarity"]["scaling"].items() >= similarity["scaling"].items()
        split = table(root / "02_intermediate/split.csv")
        lesions = split[split["fold"] == 1].set_index("image_id")["lesion_id"]
        (tmp_path / "fold").mkdir()
        for image_id in lesions.index:
            shutil.copy(photographs / "images" / f"{image_id}.jpg", tmp_path / "fold")
        reported = table(root / "08_reporting/own/fold_1/results.csv").set_index("metric")["value"]
        for chosen in ({"experiment": "own", "fold": 1}, {"checkpoint": str(model)}):
            cluster = {"images": str(tmp_path / "fold"), **chosen, **AS_STUDIED}
            project.run(pipelines=("cluster_images",), cluster=cluster, **given, **SMALL)
            found = table(project.root / CLUSTERS / "clustered_images.csv")
            f1 = pairwise_f1(found["cluster_id"], found["image_id"].map(lesions))
            assert f1 == pytest.approx(float(reported["average_f1"]), abs=1e-12)

    @pytest.mark.long
    def test_a_checkpoint_that_was_moved_gives_the_same_bytes_in_another_process(
        self, studied, test_photographs, tmp_path
    ):
        folder, _ = test_photographs
        cluster(studied, folder, experiment="vit_infonce")
        first = (studied.root / CLUSTERS / "clustered_images.csv").read_bytes()
        model = tmp_path / "elsewhere" / "model.safetensors"
        model.parent.mkdir()
        shutil.copy(studied.root / "data/demo/06_models/vit_infonce/final/best.safetensors", model)
        bare = shutil.copytree(studied.root, tmp_path / "bare", ignore=shutil.ignore_patterns("data"))
        params = f"cluster.images={folder},cluster.checkpoint={model},loader.batch_size=8,compute.threads=1"
        command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--pipelines", "cluster_images"]
        subprocess.run([*command, "--params", params], cwd=bare, check=True, capture_output=True)
        assert (bare / CLUSTERS / "clustered_images.csv").read_bytes() == first

    def test_twice_gives_the_same_bytes_and_embeds_nothing_again(self, studied, test_photographs, caplog):
        outputs = []
        for _ in range(2):
            cluster(studied, test_photographs[0], experiment="vit_baseline")
            outputs.append({name: studied.outputs()[name] for name in studied.outputs() if "/clusters/" in name})
        assert outputs[0] == outputs[1]
        assert any(name.endswith("clusters.html") for name in outputs[0])
        n_photographs = len(test_photographs[1])
        expected = f"embeddings of {n_photographs} photographs: {n_photographs} from the cache, 0 to compute"
        assert expected in caplog.text

    @pytest.mark.parametrize(
        ("options", "n_groups"),
        [
            ({"method": "cosine", "threshold": -1.0}, 1),
            ({"method": "dbscan", "eps": 2.0}, 1),
            ({"method": "cosine", "threshold": 1.0}, None),
            ({"method": "complete", "cut": 0.0}, None),
        ],
    )
    def test_method_and_cut_can_be_overridden(self, studied, test_photographs, options, n_groups):
        found = cluster(studied, test_photographs[0], experiment="vit_infonce", **options)
        assert found["cluster_id"].nunique() == (n_groups or len(found))

    def test_the_more_photographs_are_alone_the_fewer_are_joined(self, studied, test_photographs, caplog):
        shares = (0.0, 0.99)
        found = [
            cluster(studied, test_photographs[0], experiment="vit_infonce", method="cosine", single_share=share)
            for share in shares
        ]
        n_groups = [groups["cluster_id"].nunique() for groups in found]
        assert n_groups[0] < n_groups[1]
        assert "(rho), 99% of them without a partner" in caplog.text


class TestAnyFolder:
    def test_below_others_works_on_request_and_none_is_refused(self, studied, photographs, tmp_path):
        folder = tmp_path / "visits"
        for number, path in enumerate(sorted((photographs / "images").iterdir())[:4]):
            (folder / f"visit{number % 2}").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"visit{number % 2}")
        (folder / "<i>.avif").touch()
        with pytest.raises(
            InputError, match=r"(?s)has no photograph.*visit0/: a folder with 2 photographs.*Remedy: read"
        ):
            cluster(studied, folder, experiment="vit_infonce")
        named = {"images": str(folder), "experiment": "vit_infonce"}
        studied.run(pipelines=("cluster_images",), cluster=named, study=STUDY, data={"subfolders": True}, **SMALL)
        found = table(studied.root / CLUSTERS / "clustered_images.csv")
        assert sorted({image_id.partition("/")[0] for image_id in found["image_id"]}) == ["visit0", "visit1"]
        assert table(studied.root / CLUSTERS / "unreadable.csv")["file"].tolist() == ["<i>.avif"]
        page = (studied.root / CLUSTERS / "clusters.html").read_text()
        assert "&lt;i&gt;.avif" in page
        assert found["image_id"][0] in page

    @pytest.mark.parametrize("n_images", [1, 2])
    def test_of_few_photographs_works(self, studied, photographs, tmp_path, n_images):
        folder = tmp_path / "few"
        folder.mkdir()
        for path in sorted((photographs / "images").iterdir())[:n_images]:
            shutil.copy(path, folder)
        found = cluster(studied, folder, experiment="vit_infonce")
        assert found.columns.tolist() == ["image_id", "cluster_id", "similarity_to_nearest", "probability_of_nearest"]
        assert len(found) == n_images
        assert (found["similarity_to_nearest"] == "").all() == (n_images < 2)

    def test_of_strange_names_works_and_unreadable_files_are_listed(self, studied, photographs, tmp_path):
        folder = tmp_path / "strange"
        folder.mkdir()
        source = sorted((photographs / "images").iterdir())[0]
        names = [
            "<b>.jpg",
            "two  spaces .jpg",
            "naïve 写真.jpg",
            "'quotes\".jpg",
            "a,b.jpg",
            "same.jpg",
            "NA.jpg",
            "007.jpg",
        ]
        for name in names:
            shutil.copy(source, folder / name)
        Image.open(source).save(folder / "same.PNG")
        (folder / "<i>broken.jpg").write_bytes(source.read_bytes()[:500])
        (folder / "empty.png").touch()
        (folder / "notes.txt").write_text("not a photograph")
        found = cluster(studied, folder, experiment="vit_baseline", method="cosine", threshold=0.99)
        expected = {Path(name).stem for name in names} - {"same"} | {"same.jpg", "same.PNG"}
        assert set(found["image_id"]) == expected
        assert found["cluster_id"].nunique() == 1
        unreadable = table(studied.root / CLUSTERS / "unreadable.csv")
        assert dict(zip(unreadable["file"], unreadable["reason"].str.split(" ").str[0], strict=True)) == {
            "<i>broken.jpg": "damaged",
            "empty.png": "the",
            "1 tables, texts and the like": "not",
        }
        page = (studied.root / CLUSTERS / "clusters.html").read_text()
        assert "<b>.jpg" not in page
        assert "<i>broken" not in page
        assert str(tmp_path) not in page


class TestKnownLesions:
    @pytest.fixture
    def halves(self, studied, photographs, tmp_path):
        """The first photograph of every lesion is known; the others are new."""
        metadata = table(photographs / "data.csv")
        is_first = ~metadata["lesion_id"].duplicated()
        for name in ("known/images", "new"):
            (tmp_path / name).mkdir(parents=True)
        for row in metadata.itertuples():
            target = "known/images" if is_first[row.Index] else "new"
            shutil.copy(photographs / "images" / f"{row.image_id}.jpg", tmp_path / target)
        metadata[is_first].to_csv(tmp_path / "known" / "lesions.csv", index=False)
        return tmp_path, metadata

    def test_attract_new_photographs(self, studied, halves):
        folder, metadata = halves
        known = str(folder / "known/lesions.csv")
        found = cluster(studied, folder / "new", experiment="resnet_triplet", known=known)
        assert found.columns.tolist() == [
            "image_id",
            "cluster_id",
            "similarity_to_nearest",
            "probability_of_nearest",
            "lesion_id",
        ]
        truth = found["image_id"].map(metadata.set_index("image_id")["lesion_id"])
        joined = found["lesion_id"] != ""
        assert joined.any()
        assert {figure.column for figure in recomputed(studied.root / "data/demo")} == {*found.columns}
        right = (found["lesion_id"] == truth)[joined].mean()
        assert right > 3 / metadata["lesion_id"].nunique()  # a network of two epochs; chance is a third of that

    def test_one_photograph_belongs_to_one_lesion_and_groups_hold_one_at_most(self, studied, halves):
        folder, _ = halves
        known = str(folder / "known/lesions.csv")
        options = {"method": "cosine", "threshold": -1.0}  # everything is similar enough
        found = cluster(studied, folder / "new", experiment="vit_infonce", known=known, **options)
        assert (found["lesion_id"] != "").all()
        assert (found.groupby("cluster_id")["lesion_id"].nunique() == 1).all()

    def test_a_copy_of_a_known_photograph_joins_its_lesion(self, studied, halves):
        folder, metadata = halves
        first = metadata.iloc[0]
        shutil.copy(folder / f"known/images/{first['image_id']}.jpg", folder / "new" / "copy.jpg")
        options = {"method": "cosine", "threshold": 0.999999}
        known = str(folder / "known/lesions.csv")
        found = cluster(studied, folder / "new", experiment="vit_infonce", known=known, **options).set_index("image_id")
        assert found.loc["copy", "lesion_id"] == first["lesion_id"]

    def test_a_known_photograph_without_a_file_is_named_with_its_row(self, studied, halves):
        folder, metadata = halves
        missing = metadata.iloc[0]["image_id"]
        (folder / f"known/images/{missing}.jpg").unlink()
        with pytest.raises(InputError, match=rf"{missing}\.jpg \(row 2 of lesions.csv\)"):
            cluster(studied, folder / "new", experiment="vit_infonce", known=str(folder / "known/lesions.csv"))

    def test_take_by_linkage_as_many_new_photographs_as_a_group_may_have_however_many_they_are(self, studied, halves):
        folder, _ = halves
        listed = folder / "known/lesions.csv"
        known = table(listed)
        known.assign(lesion_id="one").to_csv(listed, index=False)
        # Whatever may be joined is.
        options = {"method": "average", "cut": 2.0, "known": str(listed), "max_group_size": 4}
        found = cluster(studied, folder / "new", experiment="vit_infonce", **options)
        assert len(known) > 4
        assert 0 < (found["lesion_id"] == "one").sum() <= 4


def hash_of(folder, image_id):
    return hashlib.sha256((folder / f"{image_id}.jpg").read_bytes()).hexdigest()


def groups_of(project, folder, **options):
    """Return the group of each photograph where whatever is near joins, three at most."""
    given = {"experiment": "vit_infonce", "cut": 0.2, "max_group_size": 3} | options
    return cluster(project, folder, **given).set_index("image_id")["cluster_id"]


class TestAnswers:
    """What people have answered holds, however the photographs are called."""

    @pytest.fixture
    def answered(self, studied, photographs, tmp_path):
        """A folder that was grouped once, and the ledger of the root with answers against these groups."""
        folder = tmp_path / "asked"
        folder.mkdir()
        for path in sorted((photographs / "images").iterdir())[:12]:
            shutil.copy(path, folder)
        before = groups_of(studied, folder)
        ids = before.index
        parted = next([a, b] for a, b in combinations(ids, 2) if before[a] == before[b])
        joined = next([a, b] for a, b in combinations(ids, 2) if before[a] != before[b] and not {a, b} & {*parted})
        path = studied.root / "data/demo/09_decisions/decisions.sqlite"
        ledger = Ledger(path)
        one, other = (hash_of(folder, image_id) for image_id in parted)
        ledger.append(Answer(verdict="different lesions", parts=((one,), (other,))))
        ledger.append(Answer(verdict="same lesion", parts=(tuple(hash_of(folder, each) for each in joined),)))
        yield folder, ledger, parted, joined
        ledger.close()
        shutil.rmtree(path.parent)

    def test_hold_in_the_next_run_and_by_another_model_when_the_files_have_other_names(self, studied, answered, caplog):
        folder, _, parted, joined = answered
        found = groups_of(studied, folder, only_missing=True)
        assert found[parted[0]] != found[parted[1]]
        assert found[joined[0]] == found[joined[1]]
        assert len(recomputed(studied.root / "data/demo")) == 4 * len(found)
        assert "2 answers are obeyed; 0 are about photographs that are not here" in caplog.text
        written = json.loads((studied.root / CLUSTERS / "groups.json").read_text())["answers"]
        assert (written["pairs_together"], written["pairs_apart"], written["contradictory"]) == (1, 1, 0)
        assert "1 pairs held together, 1 held apart" in (studied.root / CLUSTERS / "clusters.html").read_text()
        new_names = {path.stem: f"renamed {number:02}" for number, path in enumerate(sorted(folder.iterdir())[::-1])}
        for old, new in new_names.items():
            (folder / f"{old}.jpg").rename(folder / f"{new}.jpg")
        (folder / f"{new_names[parted[0]]}.jpg").rename(folder / "another.jpg")
        again = groups_of(studied, folder, experiment="vit_baseline", method="complete")
        assert again["another"] != again[new_names[parted[1]]]
        assert again[new_names[joined[0]]] == again[new_names[joined[1]]]

    def test_that_contradict_are_left_out_and_marked_or_end_the_run(self, studied, answered, caplog):
        folder, ledger, _, joined = answered
        one, other = (hash_of(folder, image_id) for image_id in joined)
        ledger.append(Answer(verdict="different lesions", parts=((one,), (other,))))
        groups_of(studied, folder)
        assert f"answers about 2 photographs contradict each other: {', '.join(sorted(joined))}" in caplog.text
        groups = json.loads((studied.root / CLUSTERS / "groups.json").read_text())["groups"]
        assert sorted(each for group in groups for each in group["contradictory_ids"]) == sorted(joined)
        with pytest.raises(InputError, match=rf"(?s)contradict each other: {joined[0]}.*Remedy: undo"):
            cluster(studied, folder, experiment="vit_infonce", strict_decisions=True)

    def test_of_a_ledger_that_is_not_there_end_the_run_before_anything_is_read(self, studied, tmp_path):
        nowhere = str(tmp_path / "nowhere.sqlite")
        with pytest.raises(InputError, match=r"There is no ledger .*nowhere\.sqlite"):
            cluster(studied, tmp_path / "no folder", experiment="vit_infonce", decisions=nowhere)


class TestMatches:
    def test_list_the_most_probable_partners_of_every_photograph(self, studied, test_photographs):
        found = cluster(studied, test_photographs[0], experiment="vit_infonce", n_partners=3).set_index("image_id")
        matches = table(studied.root / CLUSTERS / "matches.csv")
        assert matches["image_id"].tolist() == [image_id for image_id in found.index for _ in range(3)]
        assert matches["rank"].tolist() == [1, 2, 3] * len(found)
        first = matches[matches["rank"] == 1].set_index("image_id")
        assert first["similarity"].astype(float).tolist() == found["similarity_to_nearest"].astype(float).tolist()
        assert (matches["inliers"] == "").all()  # this model compares no keypoints
        is_same = (
            found.loc[matches["image_id"], "cluster_id"].to_numpy()
            == found.loc[matches["partner"], "cluster_id"].to_numpy()
        )
        assert (matches["same_group"] == "yes").tolist() == is_same.tolist()


OWN = ("data/demo/07_model_output/clusters/", "data/demo/04_feature/clusters/", "data/demo/.fingerprints/")
"""What `cluster_images` may write below: its outputs, its cache, and the records of what made them."""


def foreign(root, *others):
    """Return every file of a project, and of other folders, that `cluster_images` must leave as it is."""
    files = [path for place in (root, *others) for path in place.rglob("*") if path.is_file() or path.is_symlink()]
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in files
        if not path.as_posix().removeprefix(f"{root.as_posix()}/").startswith(OWN)
    }


class TestConfinement:
    @pytest.fixture
    def folder(self, photographs, tmp_path):
        folder = tmp_path / "some"
        folder.mkdir()
        for path in sorted((photographs / "images").iterdir())[:3]:
            shutil.copy(path, folder)
        return folder

    def test_whatever_photographs_are_called_nothing_else_is_written(self, studied, folder, tmp_path):
        source = next(folder.iterdir())
        hostile = (
            "..jpg",
            "...jpg",
            "..\\..\\x.jpg",
            "~.jpg",
            "a\nb.jpg",
            "$(touch x).jpg",
            "CON.jpg",
            "%2e%2e%2fx.jpg",
        )
        for name in (*hostile, "=cmd|' !A0.jpg", "@x.jpg", "clusters.html.jpg", "x" * 200 + ".jpg", "{experiment}.jpg"):
            shutil.copy(source, folder / name)
        (folder / "link.jpg").symlink_to(tmp_path / "secret.txt")
        (tmp_path / "secret.txt").write_text("no photograph")
        before = foreign(studied.root, tmp_path)
        cluster(studied, folder, experiment="vit_baseline")
        assert foreign(studied.root, tmp_path) == before
        written = {path.name for path in (studied.root / CLUSTERS).rglob("*") if path.is_file()}
        assert not [name for name in written if "x" * 9 in name or "cmd" in name or "CON" in name]

    def test_names_that_a_spreadsheet_would_run_are_in_no_table(self, studied, folder):
        for name in ("=cmd.jpg", "@x.jpg", "+x.jpg", "-x.jpg", "-12.jpg"):
            shutil.copy(next(folder.iterdir()), folder / name)
        (folder / "=broken.jpg").touch()
        found = cluster(studied, folder, experiment="vit_baseline")
        assert [name for name in found["image_id"] if name[0] in "=@+-"] == ["-12"]
        unreadable = table(studied.root / CLUSTERS / "unreadable.csv")["file"]
        assert set(unreadable) == {"'=cmd.jpg", "'@x.jpg", "'+x.jpg", "'-x.jpg", "'=broken.jpg"}

    def test_photographs_and_a_model_inside_of_the_output_folder_stay(self, studied, folder):
        inside = studied.root / CLUSTERS / "mine"
        shutil.copytree(folder, inside, dirs_exist_ok=True)
        model = inside / "best.safetensors"
        shutil.copy(studied.root / "data/demo/06_models/vit_baseline/final/best.safetensors", model)
        before = {path: path.read_bytes() for path in inside.iterdir()}
        assert len(cluster(studied, inside, checkpoint=str(model))) == 3
        assert {path: path.read_bytes() for path in inside.iterdir()} == before

    def test_the_copy_of_a_model_in_the_output_folder_may_be_used_itself(self, studied, folder):
        copy = studied.root / CLUSTERS / "work/model.safetensors"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(studied.root / "data/demo/06_models/vit_baseline/final/best.safetensors", copy)
        first, before = cluster(studied, folder, checkpoint=str(copy)), copy.read_bytes()
        assert cluster(studied, folder, checkpoint=str(copy)).equals(first)
        assert copy.read_bytes() == before

    def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_stays(self, studied, folder, tmp_path):
        victim, link = tmp_path / "victim.txt", studied.root / CLUSTERS / "clustered_images.csv"
        victim.write_text("mine")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        cluster(studied, folder, experiment="vit_baseline")
        assert victim.read_text() == "mine"
        assert not link.is_symlink()

    @pytest.mark.parametrize(
        "place", ["07_model_output/clusters", "07_model_output/clusters/work", "04_feature/clusters"]
    )
    def test_a_link_in_the_place_of_a_folder_is_refused(self, studied, folder, tmp_path, place):
        link, elsewhere, aside = studied.root / "data/demo" / place, tmp_path / "elsewhere", tmp_path / "aside"
        elsewhere.mkdir()
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.exists():
            shutil.move(link, aside)
        link.symlink_to(elsewhere)
        try:
            with pytest.raises(InputError, match=f"{place} is a link"):
                cluster(studied, folder, experiment="vit_baseline")
            assert list(elsewhere.iterdir()) == []
        finally:
            link.unlink()
            if aside.exists():
                shutil.move(aside, link)

    def test_the_root_itself_may_be_a_link(self, studied, folder, tmp_path):
        outputs, elsewhere = studied.root / "data", tmp_path / "disk"
        shutil.move(outputs, elsewhere)
        outputs.symlink_to(elsewhere)
        try:
            assert len(cluster(studied, folder, experiment="vit_baseline")) == 3
            assert (elsewhere / "demo/07_model_output/clusters/clusters.html").exists()
        finally:
            outputs.unlink()
            shutil.move(elsewhere, outputs)


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"experiment": "vit_triplet"}, "vit_triplet"),
            ({"experiment": "nonsense"}, "unknown experiment 'nonsense'"),
            ({}, "recommended/final/best"),
            ({"checkpoint": "nowhere.safetensors"}, "nowhere.safetensors"),
            ({"experiment": "vit_baseline", "fold": 0}, "leave fold out"),
            ({"experiment": "vit_infonce", "threshold": 0.5}, "threshold is for the method cosine"),
            (
                {"experiment": "vit_infonce", "method": "mutual", "cut": 0.5},
                "cut is for the method average or complete",
            ),
            ({"experiment": "vit_infonce", "checkpoint": "x"}, "not both"),
        ],
    )
    def test_end_with_a_message_that_names_them(self, studied, photographs, options, said):
        with pytest.raises(InputError, match=said):
            cluster(studied, photographs / "images", **options)

    def test_where_none_is_recommended_a_model_must_be_named(self):
        with pytest.raises(InputError, match=r"cluster\.experiment=NAME"):
            open_checkpoint(pytest.fail, ClusterParams())

    def test_a_folder_that_is_not_there_is_named(self, studied, tmp_path):
        with pytest.raises(InputError, match="nowhere"):
            cluster(studied, tmp_path / "nowhere", experiment="vit_infonce")

    def test_no_checkpoint_at_all_but_a_file_of_something_else(self, studied, photographs, tmp_path):
        file = tmp_path / "model.safetensors"
        file.write_bytes(b"no model")
        with pytest.raises(InputError, match=r"model\.safetensors"):
            cluster(studied, photographs / "images", checkpoint=str(file))


TORCH_FREE = """
import sys
from click import ClickException
from kedro.framework.startup import bootstrap_project
bootstrap_project(".")
from skinbit.cli import cli
for words in sys.argv[1:]:
    try:
        cli.main(["group", *words.split(), "--env", "demo"], standalone_mode=False)
    except ClickException as error:
        print(error.format_message())
assert "torch" not in sys.modules
"""


TINY_STARTER = {
    "backbones": {"resnet18_zooms": {"model": "test_resnet", "image_size": 32, "pretrained": False}},
    "sample": {"n_lesions": 24, "width": 96, "height": 72},
    "geometry": {"image_side": 96},
}
LATER_MISTAKES = [
    (["{photographs}/images", "--metadata", "conf/logging.yml"], ("logging.yml has no column image_id", "Remedy: ")),
    (["{photographs}/images", "--known", "conf/logging.yml"], ("logging.yml has no column", "Remedy: ")),
    (
        ["{photographs}/images", "--known", "data/demo/02_intermediate/metadata.csv"],
        ("02_intermediate/images", "Remedy"),
    ),
    (
        ["{photographs}/images", "--experiment", "vit_baseline", "--out", "pyproject.toml/x"],
        ("cannot be made: not a directory", "Remedy: name another folder in --out"),
    ),
    (["{photographs}/images", "--decisions", "conf/logging.yml"], ("conf/logging.yml", "Remedy: ")),
]
"""What is noticed once the catalog is there; the catalog takes a moment."""


class TestCommand:
    """`kedro group FOLDER`."""

    @pytest.fixture
    def group(self, studied, monkeypatch):
        """Run the command in the project's folder."""

        def run(*words: object) -> Result:
            bootstrap_project(studied.root)
            monkeypatch.chdir(studied.root)
            given = "loader.workers=0,loader.batch_size=8,compute.threads=1"
            return CliRunner().invoke(cli, ["group", *map(str, words), "--env", "demo", "--params", given])

        return run

    @pytest.mark.long
    def test_writes_the_files_of_the_pipeline(self, studied, test_photographs, group, tmp_path):
        folder, out = test_photographs[0], tmp_path / "some" / "folder"
        cluster(studied, folder, experiment="vit_infonce", method="complete")
        made = {path.name: path.read_bytes() for path in (studied.root / CLUSTERS).iterdir() if path.is_file()}
        for name in made:
            (studied.root / CLUSTERS / name).unlink()
        group(folder, "--experiment", "vit_infonce", "--method", "complete", "--out", out)
        for place in (out, studied.root / CLUSTERS):
            assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == made

    @pytest.mark.long
    def test_takes_known_lesions(self, studied, group, photographs):
        known = photographs / "data.csv"
        ended = group(photographs / "images", "--known", known, "--experiment", "vit_baseline")
        assert ended.exit_code == 0
        assert ended.output.splitlines()[-1] == f"table  {studied.root / CLUSTERS / 'clustered_images.csv'}"
        assert (table(studied.root / CLUSTERS / "clustered_images.csv")["lesion_id"] != "").all()

    def test_ends_with_the_paths_of_page_and_table(self, group, photographs, tmp_path):
        folder, out = tmp_path / "few, some", tmp_path / "out"  # a comma, which --params would not take
        folder.mkdir()
        for path in sorted((photographs / "images").iterdir())[:2]:
            shutil.copy(path, folder)
        ended = group(folder, "--experiment", "vit_baseline", "--out", out)
        assert ended.output.splitlines()[-3:] == [
            f"pairs  {out / 'matches.csv'}",
            f"page   {out / 'clusters.html'}",
            f"table  {out / 'clustered_images.csv'}",
        ]
        assert len(table(out / "clustered_images.csv")) == 2

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["nowhere"], ("There is no folder", "/nowhere", "Remedy: correct FOLDER")),
            (["{photographs}/data.csv"], ("There is no folder", "data.csv")),
            (["conf"], ("conf has no photograph", "Remedy: put photographs")),
            (["{photographs}/images", "--metadata", "."], ("There is no file", "Remedy: correct --metadata")),
            (["{photographs}/images", "--known", "no.csv"], ("There is no file", "/no.csv", "Remedy: correct --known")),
            (["{photographs}/images", "--experiment", "vit"], ("unknown experiment 'vit'", "declared: dinov2_")),
            (["{photographs}/images", "--method", "any"], ("cluster.method", "'average'", "not 'any'")),
            (
                ["{photographs}/images", "--experiment", "vit_triplet"],
                ("no model of vit_triplet yet", "Remedy: `kedro run --env demo --pipelines vit_triplet`"),
            ),
            *(pytest.param(words, said, marks=pytest.mark.long) for words, said in LATER_MISTAKES),
        ],
    )
    def test_ends_with_one_message_before_anything_runs(self, group, photographs, monkeypatch, words, said):
        monkeypatch.setattr(StudySession, "run", lambda *_, **__: pytest.fail("it ran"))
        ended = group(*(word.format(photographs=photographs) for word in words))
        assert ended.exit_code == 1
        assert ended.output.count("Error: ") == 1
        assert [part for part in said if part not in ended.output] == []

    @pytest.mark.long
    def test_groups_by_the_starter_which_it_makes_once_where_no_model_is_recommended_yet(
        self, studied, group, photographs, caplog
    ):
        file = studied.root / "conf/starter/parameters.yml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | TINY_STARTER))
        assert group(photographs / "images").exit_code == 0
        assert caplog.text.count("the starter is fitted once on synthetic photographs") == 1
        model = studied.root / "data/starter/06_models/starter/final/best.safetensors"
        made, found = model.stat().st_mtime_ns, (studied.root / CLUSTERS / "clustered_images.csv").read_bytes()
        assert group(photographs / "images").exit_code == 0
        assert caplog.text.count("the starter is fitted once on synthetic photographs") == 1
        assert model.stat().st_mtime_ns == made
        assert (studied.root / CLUSTERS / "clustered_images.csv").read_bytes() == found

    @pytest.mark.long
    def test_refuses_what_is_not_there_before_torch_is_imported(self, studied, photographs):
        images = photographs / "images"
        wrong = ("nowhere", "conf", f"{images} --known x.csv", f"{images} --experiment x", f"{images} --method x")
        command = [sys.executable, "-c", TORCH_FREE, *wrong]
        ended = subprocess.run(command, cwd=studied.root, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("There is no ") == 2
        assert ended.stdout.count("has no photograph") == 1
        assert ended.stdout.count("The parameters are wrong") == 2
