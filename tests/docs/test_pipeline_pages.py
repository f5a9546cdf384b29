"""The tables of docs/pipelines are those of the code: `python tests/docs/test_pipeline_pages.py` writes them anew."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io.core import is_parameter
from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.pipeline_registry import build_pipelines
from skinbit.settings import CONFIG_LOADER_ARGS

REPOSITORY = Path(__file__).parents[2]
STAGES = (
    *("sample_data", "data_split", "baseline_embeddings", "metric_learning"),
    *("evaluation", "final_model", "cluster_images", "audit"),
)
CLUSTERED = {"images": "FOLDER", "experiment": "vit_triplet"}
COMBINED = {"both": {"combine": ["vit_triplet", "resnet_baseline"]}}
TABLES = re.compile(r"<!-- made from the code -->\n.*?<!-- end -->", re.DOTALL)


def base_parameters() -> Parameters:
    loader = OmegaConfigLoader(str(REPOSITORY / "conf"), env="base", **CONFIG_LOADER_ARGS)
    tree = loader["parameters"]
    study = {**tree["study"], "experiments": [*tree["study"]["experiments"], *COMBINED]}
    cluster = {**tree["cluster"], **CLUSTERED}
    experiments = {**tree["experiments"], **COMBINED}
    return Parameters.model_validate({**tree, "study": study, "experiments": experiments, "cluster": cluster})


class Tables:
    """What a pipeline's nodes do, read and write, with one line per function however many experiments there are."""

    def __init__(self) -> None:
        parameters = base_parameters()
        self._pipelines = build_pipelines(parameters)
        self._experiments = sorted(parameters.experiments, key=len, reverse=True)
        self._backbones = sorted(parameters.backbones)
        self._catalog = yaml.safe_load((REPOSITORY / "conf/base/catalog.yml").read_text())

    def of(self, stage: str) -> str:
        """Return the tables of a pipeline as Markdown."""
        pipeline = self._pipelines[stage]
        by_function: dict[str, list[Node]] = {}
        for node in pipeline.nodes:
            by_function.setdefault(node.func.__name__, []).append(node)
        blocks = sorted({name.split(":")[1].split(".")[0] for name in pipeline.inputs() if is_parameter(name)})
        return "\n".join(
            [
                "<!-- made from the code -->",
                f"Parameters: {', '.join(f'`{block}`' for block in blocks)}." if blocks else "No parameters.",
                "",
                "| node | reads | writes |",
                "| --- | --- | --- |",
                *(self._node_row(name, nodes) for name, nodes in by_function.items()),
                "",
                "| dataset | file |",
                "| --- | --- |",
                *self._file_rows(pipeline),
                "<!-- end -->",
            ]
        )

    def _node_row(self, function: str, nodes: list[Node]) -> str:
        does = (nodes[0].func.__doc__ or "").split("\n")[0].rstrip(".")
        reads = [name for node in nodes for name in node.inputs if not is_parameter(name)]
        writes = [name for node in nodes for name in node.outputs]
        return "| " + " | ".join([f"`{function}`<br>{does}.", self._list(reads), self._list(writes)]) + " |"

    def _list(self, names: list[str]) -> str:
        return "<br>".join(f"`{name}`" for name in dict.fromkeys(map(self._general, names))) or "parameters only"

    def _general(self, name: str) -> str:
        """Put placeholders for experiment, fold and backbone."""
        for experiment in self._experiments:
            name = re.sub(rf"^{experiment}\.", "{experiment}.", name)
        name = re.sub(rf"^({'|'.join(self._backbones)})_", "{backbone}_", name)
        return re.sub(r"\.fold_\d+\.", ".fold_{fold}.", name)

    def _file_rows(self, pipeline: Pipeline) -> Iterator[str]:
        for name in dict.fromkeys(self._general(name) for node in pipeline.nodes for name in node.outputs):
            yield f"| `{name}` | `{self._file(name)}` |"

    def _file(self, dataset: str) -> str:
        for pattern in sorted(self._catalog, key=lambda name: (name != dataset, -len(re.sub(r"{\w+}", "", name)))):
            match = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(pattern)), dataset)
            entry = self._catalog[pattern]
            if match and isinstance(entry, dict):
                path = (entry.get("filepath") or entry["path"]).replace("${_root}/", "").replace("$", "")
                for placeholder, value in match.groupdict().items():
                    path = path.replace(f"{{{placeholder}}}", value)
                return path.replace("{_", "{")
        raise LookupError(f"{dataset} is in no entry of the catalog")


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables()


@pytest.mark.parametrize("stage", STAGES)
def test_the_page_of_a_pipeline_has_the_tables_of_its_code(tables, stage):
    page = (REPOSITORY / f"docs/pipelines/{stage}.md").read_text()
    assert TABLES.findall(page) == [tables.of(stage)], f"run: python {Path(__file__).relative_to(REPOSITORY)}"


def test_every_stage_has_a_page_that_the_list_of_pipelines_names():
    listed = (REPOSITORY / "docs/pipelines/index.md").read_text()
    registered = set(build_pipelines(base_parameters())) - set(base_parameters().experiments) - {"__default__"}
    assert registered == set(STAGES)
    assert [stage for stage in STAGES if f"({stage}.md)" not in listed] == []


if __name__ == "__main__":
    for name in STAGES:
        file = REPOSITORY / f"docs/pipelines/{name}.md"
        file.write_text(TABLES.sub(lambda _, name=name: Tables().of(name), file.read_text()))
