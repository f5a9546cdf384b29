"""Every save of every dataset in the catalog is complete or has not happened, and no later change goes unnoticed.

The kernel itself ends it: it lets a process write files of a few bytes only (``RLIMIT_FSIZE``), as a full disk would,
and either refuses the write, which raises, or kills the process in the middle of it. Any way of writing is caught.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import AbstractDataset, DataCatalog, DatasetError
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.text import TextDataset
from kedro_datasets.yaml import YAMLDataset

from skinbit.config import GeometryParams, SimilarityParams
from skinbit.decisions.verdicts import Verdicts
from skinbit.embedding.checkpoints import Checkpoint, StoredState
from skinbit.embedding.headers import read_header
from skinbit.embedding.tables import Embeddings, Features, Pixels
from skinbit.errors import InputError
from skinbit.matching.assembly import Matching
from skinbit.matching.cuts.operating_points import KnownCuts, OperatingPoints
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.keypoints.sift import tabulate_keypoints
from skinbit.matching.similarity.calibration import INLIER_STEPS, Calibration
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.datasets.checkpoint import CheckpointDataset
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.datasets.image_folder import ImageFolderDataset
from skinbit.runtime.datasets.keypoints import KeypointsDataset
from skinbit.runtime.datasets.metadata_table import MetadataDataset
from skinbit.runtime.datasets.pixels import PixelsDataset
from skinbit.runtime.datasets.stock import ObjectDataset
from skinbit.runtime.datasets.training_state import TrainingStatesDataset
from skinbit.runtime.provenance import Origin, Record
from skinbit.settings import CONFIG_LOADER_ARGS

resource = pytest.importorskip("resource", reason="needs a kernel that limits the size of files")

CONF = Path(__file__).parents[2] / "conf"
EXAMPLE_NAMES = {
    **{"backbone": "vit", "experiment": "vit_triplet", "fold": "0", "subset": "fold_0", "method": "cosine"},
    **{"table": "results", "figure": "f1", "new_or_known": "new"},
}
WRITABLE_BYTES = 20  # every example is longer


def make_figure(seed: int) -> Any:
    figure = plt.figure(figsize=(1, 1))
    figure.add_subplot().plot([0, seed])
    return figure


def make_array(seed: int, *shape: int) -> np.ndarray:
    return np.full(shape, seed, dtype=np.float32)


def make_origin(seed: int) -> Origin:
    return Origin(function="module.function", bound={"seed": seed}, inputs=(), outputs=("split",), versions={})


def make_pixels(seed: int) -> Pixels:
    canvases, crops = (np.full(shape, seed, np.uint8) for shape in ((2, 4, 4, 3), (2, 1, 3, 3, 3)))
    return Pixels(("a", "b"), canvases, crops, ("x", "y"), {"seed": seed})


HEADER = read_header(
    {
        "backbone": {"model": "test_resnet", "image_size": 32, "pretrained": False},
        "preprocessing": {
            **{"image_size": 32, "crop_pct": 0.95, "interpolation": "bicubic"},
            **{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        },
        **{"weights_sha256": "0" * 64, "holds_backbone": True, "head": {"dim": None}},
        **{"loss": "baseline", "epoch": None, "seed": 42, "versions": {}},
    }
)


def make_objects(seed: int) -> dict[str, Any]:
    """Return an object of every type that writes itself, by the name of the type."""
    points = OperatingPoints(cuts=(0.1, 0.2), tp=(1, 2), fp=(0, seed), n_positive_pairs=2, n_images=5)
    slopes = (0.0,) * len(INLIER_STEPS)
    calibration = Calibration(kind="logistic", intercept=seed, similarity_slope=1.0, inliers_slopes=slopes)
    return {
        "PointsOfSubset": {"dbscan": points},
        "PointsOfSubsets": {"dbscan": (points,)},
        "Verdicts": Verdicts(must=((0, 1 + seed),), n_obeyed=1),
        "KnownCuts": KnownCuts(method="dbscan", given=None, value=0.1, operating_points=(points,)),
        "Calibrations": {"all": calibration},
        "OddsOfSubset": (PairOdds(intercept=seed, slope=1.0, prior=0.1),),
        "Matching": Matching(
            operating_points={"dbscan": (points,)},
            max_group_size=None,
            similarity=SimilarityParams(verification=True),
            geometry=GeometryParams(),
            calibration=calibration,
        ),
    }


EXAMPLES = {
    ObjectDataset: make_objects,
    CSVDataset: lambda seed: pd.DataFrame({"image_id": ["a", "b"], "some_value": [seed, 0.5]}),
    MetadataDataset: lambda seed: pd.DataFrame({"lesion_id": ["L", "L"], "image_id": ["a", f"b{seed}"]}),
    JSONDataset: lambda seed: {"some_key": "some value", "seed": seed},
    YAMLDataset: lambda seed: {"some_key": "some value", "seed": seed},
    MatplotlibDataset: make_figure,
    TextDataset: lambda seed: f"<p>{seed} and much more text</p>",
    EmbeddingsDataset: lambda seed: Embeddings(("a", "b"), make_array(seed, 2, 3), {}),
    FeaturesDataset: lambda seed: Features(("a", "b"), make_array(seed, 2, 1, 3), ("x", "y"), {}),
    KeypointsDataset: lambda seed: tabulate_keypoints((), (), (), {"image_side": seed}),
    CheckpointDataset: lambda seed: Checkpoint({"weight": torch.full((2, 3), float(seed))}, HEADER),
    FingerprintsDataset: lambda seed: {"split": Record(origin=make_origin(seed))},
    PixelsDataset: make_pixels,
    TrainingStatesDataset: lambda seed: StoredState({"weight": torch.full((2, 3), float(seed))}, {"seed": seed}),
    ImageFolderDataset: lambda seed: {"a.jpg": bytes([seed]) * 100, "b.jpg": bytes([seed]) * 100},
}
READ_ONLY = (
    "skinbit.runtime.datasets.supplied_table.SuppliedTableDataset",
    "skinbit.runtime.datasets.folder_listing.FolderListingDataset",
    "skinbit.runtime.datasets.feature_cache.FeatureCacheDataset",
    "skinbit.runtime.datasets.pieces.PieceCacheDataset",
    "skinbit.runtime.datasets.lookup.LookupDataset",
    "skinbit.runtime.datasets.decisions.DecisionsDataset",
    "skinbit.runtime.datasets.decisions.AnswersDataset",
    "skinbit.runtime.datasets.lock_file.LockFileDataset",
    "skinbit.runtime.datasets.executor.ExecutorDataset",
)


def example(dataset: Any, seed: int) -> Any:
    """Return something that the dataset can save; another seed gives something else."""
    makers = [make for kind, make in EXAMPLES.items() if isinstance(dataset, kind)]
    assert makers, f"{type(dataset).__name__} is new in the catalog: add an example of what it saves to EXAMPLES"
    made = makers[0](seed)
    return made[dataset._contract.split(".")[-1]] if isinstance(dataset, ObjectDataset) else made


def entries_that_are_saved() -> list[str]:
    content = yaml.safe_load((CONF / "base" / "catalog.yml").read_text(encoding="utf-8"))
    return [name for name in content if not name.startswith("_") and content[name]["type"] not in READ_ONLY]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def catalog(root: Path) -> DataCatalog:
    """The project's own catalog, read as Kedro reads it, with all files below ``root / "data"``."""
    shutil.copytree(CONF / "base", root / "conf" / "base")
    (root / "conf" / "local").mkdir()
    (root / "synthetic.json").touch()  # metadata of someone else are not overwritten
    where = root / "conf" / "base" / "globals.yml"
    moved = {"root": f"{root}/data", "raw_dir": f"{root}/data/01_raw"}
    where.write_text(yaml.safe_dump(yaml.safe_load(where.read_text(encoding="utf-8")) | moved), encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        for variable in ("SKINBIT_RAW_DIR", "SKINBIT_METADATA_FILE"):
            environment.delenv(variable, raising=False)
        return DataCatalog.from_config(OmegaConfigLoader(str(root / "conf"), **CONFIG_LOADER_ARGS)["catalog"])


@pytest.fixture
def data(root: Path) -> Path:
    """The folder that the catalog's files are in; empty."""
    shutil.rmtree(root / "data", ignore_errors=True)
    return root / "data"


def resolve(catalog: DataCatalog, entry: str) -> Any:
    """Return the dataset of an entry; a pattern's placeholders take example names."""
    name = re.sub(r"{(\w+)}", lambda placeholder: EXAMPLE_NAMES[placeholder[1]], entry)
    assert name == entry or catalog.config_resolver.match_dataset_pattern(name) == entry
    dataset = catalog.get(name)
    assert isinstance(dataset, AbstractDataset)
    return dataset


def save(dataset: Any, value: Any) -> None:
    """Save, or, where a node saves while it runs, do as it does."""
    if isinstance(dataset, TrainingStatesDataset):
        dataset.load()("vit_triplet", "fold_0").write(value)
    else:
        dataset.save(value)


def holds_something(dataset: Any) -> bool:
    if isinstance(dataset, TrainingStatesDataset):
        return dataset.load()("vit_triplet", "fold_0").read() is not None
    return bool(dataset.exists())


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def without_temporary(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not re.search(r"(^|/)\.[^/]+\.tmp$", name)}


@contextlib.contextmanager
def writes_end_early() -> Iterator[None]:
    """Let no file of this process grow beyond a few bytes."""
    before, compiles = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # else Python would keep half of what it compiles of a library, for good
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITABLE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = compiles


def save_and_fail(dataset: Any, value: Any) -> None:
    """Save on a full disk."""
    with writes_end_early(), pytest.raises((DatasetError, OSError)):
        save(dataset, value)


def save_and_die(dataset: Any, value: Any) -> None:
    """Save in a process that the kernel kills in the middle of writing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child only writes: threads do not matter
        child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python itself ignores it
        with contextlib.suppress(BaseException), writes_end_early():
            save(dataset, value)
        os._exit(0)
    assert os.WTERMSIG(wait_for(child)) == signal.SIGXFSZ, "the save was meant to be killed"


def wait_for(child: int, timeout_s: float = 20) -> int:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child process hung")


ENDINGS = [save_and_fail, save_and_die]


def assert_first_save_is_all_or_nothing(dataset: Any, folder: Path, end_early: Any) -> None:
    end_early(dataset, example(dataset, 1))
    assert without_temporary(files_below(folder)) == {}, "half a file has the final name"
    assert not holds_something(dataset)


def assert_later_save_is_all_or_nothing(dataset: Any, folder: Path, end_early: Any) -> None:
    save(dataset, example(dataset, 1))
    saved = files_below(folder)
    assert saved
    assert min(map(len, saved.values())) > WRITABLE_BYTES
    end_early(dataset, example(dataset, 2))
    assert without_temporary(files_below(folder)) == saved, "the old content is lost"
    assert holds_something(dataset)


def assert_whole_save_takes_effect(dataset: Any, folder: Path) -> None:
    saved = []
    for seed in (1, 2):
        save(dataset, example(dataset, seed))
        saved.append(files_below(folder))
    assert saved[0].keys() == saved[1].keys()
    assert saved[0] != saved[1]


@pytest.mark.parametrize("end_early", ENDINGS)
@pytest.mark.parametrize("entry", entries_that_are_saved())
def test_first_save_that_ends_early_leaves_no_file(
    catalog: DataCatalog, data: Path, entry: str, end_early: Any
) -> None:
    assert_first_save_is_all_or_nothing(resolve(catalog, entry), data, end_early)


@pytest.mark.parametrize("end_early", ENDINGS)
@pytest.mark.parametrize("entry", entries_that_are_saved())
def test_save_that_ends_early_leaves_the_old_files_as_they_were(
    catalog: DataCatalog, data: Path, entry: str, end_early: Any
) -> None:
    assert_later_save_is_all_or_nothing(resolve(catalog, entry), data, end_early)


@pytest.mark.parametrize("entry", entries_that_are_saved())
def test_save_that_fails_leaves_nothing_behind(catalog: DataCatalog, data: Path, entry: str) -> None:
    dataset = resolve(catalog, entry)
    save_and_fail(dataset, example(dataset, 1))
    assert files_below(data) == {}


@pytest.mark.parametrize("entry", entries_that_are_saved())
def test_save_that_ends_well_replaces_the_old_files(catalog: DataCatalog, data: Path, entry: str) -> None:
    assert_whole_save_takes_effect(resolve(catalog, entry), data)


@pytest.fixture
def study_catalog(catalog: DataCatalog, data: Path, monkeypatch: pytest.MonkeyPatch) -> StudyCatalog:
    """The same catalog, with records of what it saves; examples need not be what validators ask for."""
    monkeypatch.setenv("KEDRO_DATASET_VALIDATION", "0")
    return StudyCatalog(config_resolver=catalog.config_resolver)


def change_byte(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 1
    path.write_bytes(content)


ALSO_WRITTEN_BY_USERS = ["images", "unlabelled_images", "raw_metadata"]
RECORDED = sorted({*entries_that_are_saved()} - {"fingerprints", "training_states", *ALSO_WRITTEN_BY_USERS})


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("entry", RECORDED)
def test_file_with_a_changed_byte_is_neither_loaded_nor_kept(
    study_catalog: StudyCatalog, data: Path, entry: str, share: float
) -> None:
    name = re.sub(r"{(\w+)}", lambda placeholder: EXAMPLE_NAMES[placeholder[1]], entry)
    study_catalog.expect({name: make_origin(1)})
    study_catalog.save(name, example(study_catalog[name], 1))
    assert study_catalog.find_stale() == study_catalog.find_damaged() == {}
    (path,) = (path for path in data.rglob("*") if path.is_file() and ".fingerprints" not in path.parts)
    change_byte(path, share)
    with pytest.raises(InputError) as refused:
        study_catalog.load(name)
    assert f"{path} was damaged, edited or replaced after the run that wrote it" in refused.value.message
    assert "--only-missing-outputs" in refused.value.message
    assert study_catalog.find_damaged() == {name: str(path)}
    assert not study_catalog.exists(name)


def test_every_changed_byte_of_a_record_is_noticed(study_catalog: StudyCatalog, data: Path) -> None:
    study_catalog.expect({"leaderboard": make_origin(1)})
    study_catalog.save("leaderboard", example(study_catalog["leaderboard"], 1))
    path = data / ".fingerprints" / "leaderboard.json"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert study_catalog.records() == {}, position
    with pytest.raises(InputError, match=r"leaderboard\.json, which tells whether .*leaderboard\.csv is as it was"):
        study_catalog.load("leaderboard")
    assert study_catalog.find_damaged() == {"leaderboard": str(path)}


@pytest.mark.parametrize("entry", ALSO_WRITTEN_BY_USERS)
def test_changed_byte_of_what_users_write_too_is_a_change_of_the_data(
    study_catalog: StudyCatalog, data: Path, entry: str
) -> None:
    study_catalog.expect({entry: make_origin(1)})
    study_catalog.save(entry, example(study_catalog[entry], 1))
    change_byte(next(path for path in (data / "01_raw").rglob("*") if path.is_file()), 0.5)
    assert study_catalog.find_damaged() == {}
    assert study_catalog.find_stale() == {entry: (f"files of {entry}",)}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_training_state_with_a_changed_byte_is_not_used(
    catalog: DataCatalog, data: Path, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    save(dataset := catalog["training_states"], example(dataset, 1))
    (path,) = (path for path in data.rglob("*") if path.is_file())
    change_byte(path, share)
    assert not holds_something(dataset)
    assert "training_state.safetensors cannot be used" in caplog.text


@pytest.mark.parametrize("end_early", ENDINGS)
@pytest.mark.parametrize(
    ("stock", "name"),
    [(CSVDataset, "a.csv"), (JSONDataset, "a.json"), (YAMLDataset, "a.yaml"), (MatplotlibDataset, "a.png")],
)
def test_stock_dataset_in_the_catalog_would_be_noticed(tmp_path: Path, stock: type, name: str, end_early: Any) -> None:
    dataset = stock(filepath=(tmp_path / "data" / name).as_posix())
    with pytest.raises(AssertionError, match="half a file has the final name"):
        assert_first_save_is_all_or_nothing(dataset, tmp_path / "data", end_early)
    with pytest.raises(AssertionError, match="the old content is lost"):
        assert_later_save_is_all_or_nothing(dataset, tmp_path / "data", end_early)


def test_dataset_of_a_new_kind_in_the_catalog_would_be_noticed(tmp_path: Path) -> None:
    from kedro_datasets.pickle import PickleDataset

    with pytest.raises(AssertionError, match="PickleDataset is new in the catalog"):
        example(PickleDataset(filepath=(tmp_path / "a.txt").as_posix()), 1)
