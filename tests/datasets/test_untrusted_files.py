"""Files that Skinbit wrote and somebody changed since: one message with the file and the remedy, never a KeyError."""

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, DatasetError
from kedro.utils import load_obj
from pydantic import TypeAdapter

from skinbit.errors import InputError
from skinbit.runtime import schemas
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.files import pack
from skinbit.runtime.datasets.keypoints import KeypointsDataset
from skinbit.runtime.datasets.pixels import PixelsDataset
from skinbit.runtime.datasets.stock import JSONDataset
from skinbit.settings import CONFIG_LOADER_ARGS
from skinbit.training.state import Learner, TrainingState, pack_state, unpack_state

CATALOG = yaml.safe_load((Path(__file__).parents[2] / "conf/base/catalog.yml").read_text(encoding="utf-8"))
IDS = ["a", "b", "c"]
UNIT = np.eye(3, 4, dtype=np.float32)
ONES = np.ones((3, 2, 4), np.float32)
POINTS = {
    "sizes": np.ones((3, 2), np.int64),
    "offsets": np.array([0, 2, 2, 5]),
    "positions": np.ones((5, 2), np.float32),
    "diameters": np.ones(5, np.float32),
    "angles": np.ones(5, np.float32),
    "descriptors": np.ones((5, 128), np.uint8),
}
PHOTOGRAPHS = {"canvases": np.zeros((3, 4, 4, 3), np.uint8), "crops": np.zeros((3, 1, 2, 2, 3), np.uint8)}
KEYED = {"image_ids": IDS, "keys": list("xyz")}
FILES: dict[type, tuple[dict[str, Any], dict[str, Any]]] = {
    EmbeddingsDataset: ({"embeddings": UNIT}, {"image_ids": IDS, "model": "m"}),
    FeaturesDataset: ({"features": ONES}, KEYED | {"backbone": {}}),
    KeypointsDataset: (POINTS, KEYED | {"description": {}}),
    PixelsDataset: (PHOTOGRAPHS, KEYED | {"description": {}}),
}


def refusal(dataset: Any) -> str:
    """Return the message with which a dataset refuses its file."""
    with pytest.raises(DatasetError) as refused:
        dataset.load()
    error = refused.value.__cause__
    assert isinstance(error, InputError)
    assert "cannot be used" in error.message
    assert "Remedy: it is damaged" in error.message
    return error.message


class TestTensors:
    @pytest.mark.parametrize("kind", FILES)
    def test_the_examples_can_be_loaded(self, tmp_path, kind):
        (tmp_path / "a").write_bytes(pack(*FILES[kind]))
        assert list(kind(filepath=(tmp_path / "a").as_posix()).load().image_ids) == IDS

    @pytest.mark.parametrize(
        ("kind", "tensors", "header", "said"),
        [
            (EmbeddingsDataset, {"embeddings": UNIT[:2]}, {}, "'embeddings' is float32 2x4, not float32 3xn"),
            (EmbeddingsDataset, {"embeddings": UNIT[:, 0]}, {}, "'embeddings' is float32 3, not"),
            (EmbeddingsDataset, {"embeddings": UNIT.astype(np.float64)}, {}, "is float64"),
            (EmbeddingsDataset, {"embeddings": UNIT * np.float32(np.nan)}, {}, "contains NaN or infinity"),
            (EmbeddingsDataset, {"embeddings": UNIT * 2}, {}, "image a is not of unit length"),
            (EmbeddingsDataset, {"embeddings": None, "other": UNIT}, {}, "has no tensor 'embeddings'"),
            (EmbeddingsDataset, {}, {"image_ids": None}, "no list of texts 'image_ids'"),
            (EmbeddingsDataset, {}, {"image_ids": [1, 2, 3]}, "no list of texts 'image_ids'"),
            (FeaturesDataset, {"features": ONES[0]}, {}, "'features' is float32 2x4, not float32 3xnxn"),
            (FeaturesDataset, {"features": ONES * np.float32(np.inf)}, {}, "contains NaN or infinity"),
            (FeaturesDataset, {}, {"keys": ["x"]}, "has 1 keys, not 3"),
            (FeaturesDataset, {}, {"backbone": "vit"}, "no object 'backbone'"),
            (KeypointsDataset, {"offsets": np.array([0, 3, 2, 5])}, {}, "does not ascend"),
            (KeypointsDataset, {"offsets": np.array([0, 2**62, -(2**62), 5])}, {}, "does not ascend"),
            (KeypointsDataset, {"offsets": np.array([0, 2, 2, 9])}, {}, "'positions' is float32 5x2, not float32 9x2"),
            (KeypointsDataset, {"descriptors": np.ones((5, 64), np.uint8)}, {}, "5x64, not uint8 5x128"),
            (KeypointsDataset, {"angles": None}, {}, "has no tensor 'angles'"),
            (PixelsDataset, {"crops": None}, {}, "it has no tensor 'crops'"),
            (PixelsDataset, {"crops": PHOTOGRAPHS["crops"][:2]}, {}, "'crops' is uint8 2x1x2x2x3, not uint8 3xnxnxnx3"),
            (PixelsDataset, {"canvases": PHOTOGRAPHS["canvases"].astype(np.int8)}, {}, "'canvases' is int8"),
            (PixelsDataset, {}, {"image_ids": ["a"]}, "'canvases' is uint8 3x4x4x3, not uint8 1xnxnx3"),
            (PixelsDataset, {}, {"description": []}, "no object 'description'"),
        ],
        ids=range(22),
    )
    def test_what_does_not_fit_is_named(self, tmp_path, kind, tensors, header, said):
        own_tensors, own_header = FILES[kind]
        tensors = {name: array for name, array in (own_tensors | tensors).items() if array is not None}
        (tmp_path / "a").write_bytes(pack(tensors, own_header | header))
        assert said in refusal(kind(filepath=(tmp_path / "a").as_posix()))

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_bytes_anywhere_give_the_content_or_one_message(self, tmp_path, data):
        kind = data.draw(st.sampled_from(list(FILES)))
        content = bytearray(pack(*FILES[kind]))
        start = data.draw(st.integers(0, len(content)))
        piece = data.draw(st.binary(max_size=8))
        content[start : data.draw(st.sampled_from([start, start + len(piece), len(content)]))] = piece
        (tmp_path / "a").write_bytes(content)
        try:
            kind(filepath=(tmp_path / "a").as_posix()).load()
        except DatasetError as error:
            cause = error.__cause__
        else:
            cause = None
        assert cause is None or isinstance(cause, InputError)


def read_by_nodes(kind: str, key: str) -> list[str]:
    """Return the entries of a kind that have no contract."""
    return [
        name
        for name, entry in CATALOG.items()
        if not name.startswith("_") and entry["type"] == f"skinbit.runtime.datasets.stock.{kind}" and key not in entry
    ]


class TestDocuments:
    POINTS: ClassVar = {"cuts": [0.1, 0.5], "tp": [1, 2], "fp": [0, 3], "n_positive_pairs": 4, "n_images": 9}

    def test_every_document_and_table_that_a_node_reads_has_a_contract(self):
        assert read_by_nodes("JSONDataset", "contract") == ["sample_manifest", "study_software"], (
            "which people read, not nodes"
        )
        assert read_by_nodes("CSVDataset", "validator") == ["assignment", "leaderboard"], "text, and for people"

    def test_every_contract_exists(self):
        contracts = [entry["contract"] for entry in CATALOG.values() if "contract" in entry]
        assert [TypeAdapter(load_obj(name)).core_schema["type"] for name in contracts]
        validators = [entry["validator"] for entry in CATALOG.values() if "validator" in entry]
        named = [name for name in validators if "{" not in name]  # those of patterns: tests/pipelines/test_graph.py
        assert all(isinstance(load_obj(name), type(schemas.Split)) for name in named)

    def dataset(self, path: Path, content: Any, name: str) -> JSONDataset:
        """Return an entry of the catalog with another file."""
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        entry = CATALOG[name]
        found: JSONDataset = load_obj(entry["type"])(filepath=path.as_posix(), contract=entry["contract"])
        return found

    @pytest.mark.parametrize(
        ("content", "name", "said"),
        [
            ("{", "known_cuts", "Expecting property name"),
            ("[" * 100_000, "known_cuts", "recursion"),
            ([], "{experiment}.operating_points", "should be an object"),
            ({"cosine": [POINTS | {"n_images": None}]}, "{experiment}.operating_points", "cosine.0.n_images"),
            ({"cosine": [POINTS | {"cuts": [0.1, float("inf")]}]}, "{experiment}.operating_points", "cosine.0.cuts.1"),
            ({"cosine": [{"cuts": []}]}, "{experiment}.operating_points", "cosine.0.tp: Field required"),
            ({"0": {"kind": "logistic"}}, "{experiment}.calibration", "0.intercept: Field required"),
            ({"../x": {}}, "{experiment}.calibration", "../x"),
            ({"a": "https://example.org/x.png"}, "{new_or_known}_thumbnails", "a: String should match pattern"),
            ({"a": "data:text/html;base64,AAAA"}, "{new_or_known}_thumbnails", "a: String should match pattern"),
            ({"method": "cosine", "given": None, "value": None}, "known_cuts", "operating_points: Field required"),
            ({"groups": [{}]}, "cluster_groups", "groups.0.image_ids: Field required"),
            ([{"cluster_id": 0, "image_ids": ["a"], "inliers": 1, "drawing": None}], "cluster_links", "0.image_ids"),
            ({}, "{experiment}.matching", "similarity: Field required"),
            ({"dbscan_eps": 3.0}, "{experiment}.averages", "dbscan_eps"),
            ({"pairs": [{"similarity": 7}]}, "{experiment}.test_misclassifications_{method}", "pairs.0.similarity"),
            ({"figures": {"f1": {"mean": "high"}}}, "{experiment}.summary", "figures.f1.mean"),
        ],
        ids=range(17),
    )
    def test_what_breaks_a_contract_is_named(self, tmp_path, content, name, said):
        message = refusal(self.dataset(tmp_path / "a.json", content, name))
        assert "a.json cannot be used" in message
        assert said in message

    def test_a_document_comes_back_as_it_was_written(self, tmp_path):
        content = {"cosine": [self.POINTS]}
        dataset = self.dataset(tmp_path / "a.json", content, "{experiment}.operating_points")
        dataset.save(dataset.load())
        assert json.loads((tmp_path / "a.json").read_text()) == content


class TestTables:
    @pytest.fixture
    def catalog(self, tmp_path, monkeypatch):
        """The project's catalog, its files below a folder of the test."""
        monkeypatch.chdir(tmp_path)  # paths of the catalog start at the project
        conf = Path(__file__).parents[2] / "conf"
        loader = OmegaConfigLoader(str(conf), env="demo", base_env="base", **_without_envs(CONFIG_LOADER_ARGS))
        return DataCatalog.from_config(loader["catalog"])

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("vit.fold_0.results", "metric,value\nf1,high\n", "finite number"),
            ("vit.fold_0.results", "metric,value\nf1,inf\n", "finite number"),
            ("vit.fold_0.results", "name,value\nf1,0.5\n", "metric and value"),
            ("vit.results", "metric,fold_0\nf1,0.5\n", "mean and std"),
            ("vit.fold_0.history", "epoch,loss,f1,recall_at_1,learning_rate\n1,0.5,7,0.5,0.1\n", "f1"),
            ("vit.resampled_f1", "cosine,surprise\n0.5,0.5\n", "surprise"),
            ("vit.strata", "column,method,stratum\ndx,cosine,nv\n", "n_lesions"),
            ("new_photographs", f"image_id,file,sha256\na,../a.jpg,{'0' * 64}\n", "text like"),
            ("cluster_shortlist", "row_a,row_b,inliers\n0,-1,3\n", "whole numbers"),
            ("clustered_images", "image_id,cluster_id,similarity_to_nearest\na,0,2.5\n", "finite number"),
            ("split", "image_id\n\x00", "split"),
        ],
        ids=range(11),
    )
    def test_what_breaks_a_contract_is_named_with_the_remedy(self, catalog, name, content, said):
        from skinbit.runtime.session import _mendable

        path = Path(catalog[name]._describe()["filepath"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        with pytest.raises(DatasetError) as refused:
            catalog.load(name)
        message = _mendable(refused.value).message
        assert said in message
        assert name in message
        assert "Remedy: it is damaged" in message


def _without_envs(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "base_env"}


class TestTrainingState:
    """One that does not fit counts as none: a training that begins anew ends as an uninterrupted one."""

    ROW: ClassVar = {"epoch": 1.0, "loss": 0.5, "f1": 0.5, "recall_at_1": 0.5, "learning_rate": 0.1}

    @pytest.fixture
    def parts(self):
        module = torch.nn.Linear(3, 2)
        optimiser = torch.optim.AdamW([{"params": [module.weight]}, {"params": [module.bias]}])
        module(torch.ones(1, 3)).sum().backward()
        optimiser.step()
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        learner = Learner(module, optimiser, scaler)
        return learner, pack_state(self.state(module), "key", learner)

    def state(self, module):
        state = TrainingState()
        state.note_epoch(dict(self.ROW), module)
        return state

    def test_one_that_fits_is_used(self, parts):
        learner, stored = parts
        assert unpack_state(stored, "key", learner).next_epoch == 1

    @pytest.mark.parametrize(
        ("tensors", "header"),
        [
            ({"module.weight": None}, {}),
            ({"module.weight": torch.zeros(2, 4)}, {}),
            ({"module.weight": torch.zeros(2, 3, dtype=torch.float64)}, {}),
            ({"best.bias": None}, {}),
            ({"best.surprise": torch.zeros(1)}, {}),
            ({"surprise": torch.zeros(1)}, {}),
            ({"optimiser.0.exp_avg": None}, {}),
            ({"optimiser.7.exp_avg": torch.zeros(1)}, {}),
            ({"optimiser.nonsense": torch.zeros(1)}, {}),
            ({"centroids": torch.zeros(3)}, {}),
            ({}, {"history": []}),
            ({}, {"history": [{"epoch": 1.0}]}),
            ({}, {"history": None}),
            ({}, {"best_epoch": 4}),
            ({}, {"best_epoch": "0"}),
            ({}, {"is_finished": None}),
            ({}, {"scaler": {"scale": 1.0}}),
        ],
        ids=range(17),
    )
    def test_one_that_does_not_fit_counts_as_none_and_changes_nothing(self, parts, tensors, header, caplog):
        learner, stored = parts
        before = copy.deepcopy(learner.module.state_dict())
        joined = {name: tensor for name, tensor in {**stored.tensors, **tensors}.items() if tensor is not None}
        changed = type(stored)(joined, {**stored.header, **header})
        assert unpack_state(changed, "key", learner) == TrainingState()
        assert all(torch.equal(tensor, before[name]) for name, tensor in learner.module.state_dict().items())
        assert "the training restarts" in caplog.text


def test_a_table_of_figures_may_have_undefined_ones() -> None:
    table = pd.DataFrame({"metric": ["a", "b"], "value": [0.5, np.nan]})
    pd.testing.assert_frame_equal(schemas.Metrics.validate(table), table)
