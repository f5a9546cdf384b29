"""Nothing that Skinbit loads is a pickle, and nothing that it reads is run."""

import ast
import dataclasses
from pathlib import Path

import pytest
import timm
import torch
import yaml

from skinbit.config import BackboneParams
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.hub import _Answer
from skinbit.errors import InputError
from skinbit.runtime.tracking.process import QUIET

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("src", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py"))

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "jsonpickle", "shelve", "marshal"}
NAMES = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "np.load", "numpy.load", "np.fromfile"),
    *(
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
        "pd.read_pickle",
        "pandas.read_pickle",
        "os.system",
        "os.popen",
    ),
}
METHODS = {"read_pickle", "to_pickle", "load_module"}
KEYWORDS = {
    "allow_pickle": True,
    "weights_only": False,
    "trust_remote_code": True,
    "shell": True,
    "enable_unsafe_deserialization": True,
}


EXEMPT = {"benchmarks/mutation.py": ["compile"]}
"""It plants faults in this repository's own source."""


def dangers_in(code: str) -> list[str]:
    """Name what could run code that was read from a file."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(str(node.module))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in NAMES | CALLS or name.rpartition(".")[2] in METHODS:
                found.append(name)
            found += [
                str(word.arg)
                for word in node.keywords
                if word.arg in KEYWORDS
                and not (isinstance(word.value, ast.Constant) and word.value.value is not KEYWORDS[word.arg])
            ]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_source_file_can_run_what_it_reads(path):
    expected = EXEMPT.get(path.relative_to(REPOSITORY).as_posix(), [])
    assert dangers_in(path.read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import joblib.numpy_pickle",
        "from dill import loads",
        "from cloudpickle.cloudpickle import dumps",
        "torch.load(path)",
        "np.load(path)",
        "pd.read_pickle(path)",
        "table.to_pickle(path)",
        "yaml.load(text, yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "load(path, allow_pickle=True)",
        "load(path, weights_only=flag)",
        "subprocess.run(command, shell=True)",
        "import marshal, shelve",
    ],
)
def test_a_source_file_that_could_would_be_noticed(code):
    assert dangers_in(code)


def test_every_dataset_of_the_catalog_is_of_skinbits_own_kinds():
    entries = yaml.safe_load((REPOSITORY / "conf/base/catalog.yml").read_text(encoding="utf-8"))
    types = {entry["type"] for name, entry in entries.items() if not name.startswith("_")}
    assert types
    assert [kind for kind in types if not kind.startswith("skinbit.runtime.datasets.")] == []


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.pkl", "weights.bin", "weights.npz", "weights"])
def test_weights_of_another_format_are_refused_before_they_are_opened(name):
    with pytest.raises(ValueError, match=r"weights must be a \.safetensors file \(no pickles\)"):
        BackboneParams(model="test_resnet", weights=name)


def test_weights_that_are_published_as_a_pickle_are_not_opened(monkeypatch, tmp_path):
    asked = []

    def ask(url):
        asked.append(url)
        return _Answer(404, "EntryNotFound", b"", None)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("skinbit.embedding.hub._ask", ask)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("it is downloaded"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle is opened"))
    with pytest.raises(InputError, match="not a safetensors file, and Skinbit never opens pickles") as refused:
        load_backbone(BackboneParams(model="resnet18.a1_in1k"), seed=1)
    assert "Remedy" in refused.value.message
    assert [url.partition("/timm/")[2] for url in asked] == ["resnet18.a1_in1k/resolve/main/model.safetensors"]


@pytest.mark.parametrize("published", [{"hf_hub_id": None}, {"hf_hub_filename": "w.pt"}, {"hf_hub_filename": "w.npz"}])
def test_weights_that_are_published_in_another_format_only_are_refused_before_they_are_asked_for(
    monkeypatch, published
):
    changed = dataclasses.replace(timm.get_pretrained_cfg("resnet18.a1_in1k"), **published)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda *_, **__: changed)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("the hub is asked"))
    with pytest.raises(InputError, match="not a safetensors file, and Skinbit never opens pickles"):
        load_backbone(BackboneParams(model="resnet18.a1_in1k"), seed=1)


def test_the_tracking_process_would_refuse_a_pickled_model():
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION

    assert QUIET[MLFLOW_ALLOW_PICKLE_DESERIALIZATION.name] == "false"


def test_nothing_is_logged_as_a_pickled_model():
    used = {
        ast.unparse(node.func)
        for path in (REPOSITORY / "src/skinbit/runtime/tracking").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert "self._client.log_artifact" in used
    assert [name for name in used if name.endswith((".log_model", ".save_model", ".load_model"))] == []
