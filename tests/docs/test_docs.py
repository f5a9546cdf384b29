"""What README and docs say is so: commands, examples, parameters, files, log lines and links."""

import ast
import contextlib
import functools
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline
from pydantic import BaseModel

from skinbit.config import BackboneParams, Parameters
from skinbit.embedding.hub import licence_of
from skinbit.pipeline_registry import build_pipelines
from skinbit.runtime.context import read_parameters
from skinbit.runtime.session import StudySession
from skinbit.settings import CONFIG_LOADER_ARGS

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text()
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
}
MARKERS = ("(needs network)", "(needs a GPU)", "(your data")
COVERED = {
    "pip install uv && uv run kedro run --env demo": "pipelines/test_study.py::test_needs_nothing_and_runs_twice",
    "pip install uv && uv run pytest": "docs/test_docs.py::test_every_command_of_the_docs_is_run_covered_or_marked",
    "uv run kedro run --pipelines cluster_images --params cluster.images=": (
        "pipelines/test_cluster_images.py::test_of_the_test_photographs_have_exactly_the_reported_f1"
    ),
    "uv run kedro group new_photographs": "pipelines/test_cluster_images.py::test_writes_the_files_of_the_pipeline",
    "uv run kedro run --env demo --params tracking.enabled=": (
        "pipelines/test_tracking.py::test_the_study_itself_never_imports_mlflow"
    ),
    "uv run kedro review": "review/test_reviewing.py::test_sixty_questions_lose_and_double_no_answer",
    "uv run kedro compare": "pipelines/test_comparison.py::test_the_first_difference_is_named_and_all_on_demand",
    "make mutants": "benchmarks/test_mutants.py::test_each_mutant_has_one_fault_and_words_have_none",
    "make release": "pipelines/test_package.py::test_two_copies_of_a_commit_make_the_same_bytes",
    "uv run kedro verify": "pipelines/test_reproducibility.py::test_the_command_ends_with_0_or_1_and_one_message",
    "SKINBIT_STUDIES=": "reference/test_random_studies.py::test_similarities_are_those_of_the_reference",
    "uv run pytest -m faults": "faults/test_kills.py::test_fifty_kills",
    "uv run pytest -m long": "pipelines/test_relations.py::test_with_shuffled_labels_f1_falls_to_chance",
    **dict.fromkeys(
        ("cp data/demo/08_reporting/study/parameters.yml", "printf 'root: data/again", "uv run kedro run --env local"),
        "pipelines/test_reproducibility.py::test_the_parameters_of_a_study_are_an_environment_that_makes_the_same_files",
    ),
    # The photographs of docs/results.md are not in the repository; the same study of others:
    "SKINBIT_RAW_DIR=": "pipelines/test_study.py::test_writes_every_file_of_the_contract",
}
"""How commands of console blocks begin that would take too long here, with the test that stands for each."""

EXECUTED = {
    "uv run kedro run --env demo --pipelines sample_data,data_split,audit --params sample.n_lesions=12": (
        "data/demo/08_reporting/audit.csv"
    ),
    "uv run kedro run --env demo --pipelines sample_data,data_split --params sample.n_lesions=12": (
        "data/demo/02_intermediate/split.csv"
    ),
    "uv run kedro run --env demo --params backbones.tiny.model=test_convnext,backbones.tiny.image_size=64,"
    "backbones.tiny.pretrained=false,experiments.tiny_baseline.backbone=tiny,"
    "experiments.tiny_baseline.loss=baseline,study.experiments=tiny_baseline,study.folds=0+1,"
    "sample.n_lesions=12,sample.width=64,sample.height=48": "data/demo/08_reporting/leaderboard.csv",
    "uv run python -c \"import timm; print(*timm.list_models('convnext_tiny*', pretrained=True), sep='\\n')\"": (
        "convnext_tiny.fb_in22k_ft_in1k"
    ),
    "grep -rlw mutual src/skinbit --include=*.py": "src/skinbit/matching/scoring/score.py",
}
"""Commands that are run as they stand, each with a file that it must make or a line that it must print."""


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)


def console(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page's console blocks without quotes that matter to a shell only, and their comments."""
    lines = "".join(fenced(page, "console")).replace("\\\n", " ").splitlines()
    split = [line.partition(" # ") for line in lines if line.strip()]
    commands = [(" ".join(command.split()), note) for command, _, note in split]
    return [(command.replace('--params "', "--params ").removesuffix('"'), note) for command, note in commands]


def is_executed(command: str, *listed: str) -> bool:
    return command in {one.removesuffix('"') for one in listed or EXECUTED}


def in_text(page: str) -> list[str]:
    return re.findall(r"`((?:[A-Z_]+=\S+ )?(?:uv run )?(?:kedro|make|python -m benchmarks)\b[^`]*)`", prose(page))


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    nested = {name for name in first.keys() & second.keys() if isinstance(first[name], dict)}
    return {**first, **second, **{name: merged(first[name], second[name]) for name in nested}}


def examples_of(page: str) -> dict[str, Any]:
    """Return all that the YAML blocks of a page set in parameters."""
    loaded = [yaml.safe_load(block) for block in fenced(page, "yaml")]
    return functools.reduce(merged, [tree for tree in loaded if tree.keys() & Parameters.model_fields.keys()], {})


def parameters(env: str, changes: dict[str, Any]) -> Parameters:
    loader = OmegaConfigLoader(str(REPOSITORY / "conf"), env=env, runtime_params=changes or None, **CONFIG_LOADER_ARGS)
    return read_parameters(loader)


def options_of(command: str) -> dict[str, Any] | None:
    """Read the options of a `kedro run` as Kedro does; None for another command."""
    words = shlex.split(command.partition("kedro run")[2])
    return kedro_run.make_context("run", words).params if "kedro run" in command else None


def wrong_in(command: str, page: str) -> str | None:
    """Return what is wrong with a `kedro`, `make` or benchmark command; None: nothing."""
    words = command.split()
    if "make" in words[:1]:
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        return next((f"make has no target {word}" for word in words[1:] if word not in targets), None)
    if "benchmarks" in command:
        module = next(word for word in words if word.startswith("benchmarks."))
        benchmark = REPOSITORY / f"{module.replace('.', '/')}.py"
        return None if benchmark.exists() and "def main()" in benchmark.read_text() else "there is no such benchmark"
    try:
        options = options_of(command)
        if options is not None:
            _check_run(options, page)
    except click.ClickException as error:
        return error.format_message()
    except LookupError as error:
        return f"there is no {error}"
    return None


def _check_run(options: dict[str, Any], page: str) -> None:
    one_fold = {} if options["namespaces"] else {"study": {"folds": 0}}  # five would give the same pipelines, slowly
    examples = {} if "loss: multisimilarity" in page else examples_of(page)
    changes = functools.reduce(merged, [examples, one_fold, options["params"]])
    pipelines = _pipelines(options["env"] or "base", json.dumps(changes))
    chosen = [pipelines[name] for name in options["pipelines"] or ["__default__"]]
    for namespace in options["namespaces"]:
        if not any(f"{node.namespace}.".startswith(f"{namespace}.") for pipeline in chosen for node in pipeline.nodes):
            raise LookupError(namespace)


@functools.cache
def _pipelines(env: str, changes: str) -> dict[str, Pipeline]:
    return build_pipelines(parameters(env, json.loads(changes)))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the configuration, without tracking, in a folder of its own."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(REPOSITORY / name, root)
    (root / "src").mkdir()
    (root / "conf/base/parameters_tracking.yml").write_text("tracking: {enabled: false}\n")
    return root


class TestCommands:
    def run_in(self, project: Path, command: str) -> list[str]:
        """Run a command and give its files, or its lines of output."""
        if "kedro run" in command:
            options = options_of(command)
            bootstrap_project(project)
            small = {"loader": {"workers": 0}, "sample": {"n_unlabelled": 0}}  # processes and photographs take longest
            changes = merged(small, options["params"])
            with StudySession.create(project, env=options["env"], runtime_params=changes) as session:
                session.run(pipeline_names=options["pipelines"] or None)
            return [path.relative_to(project).as_posix() for path in project.rglob("data/**/*.csv")]
        if "python -c" in command:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(shlex.split(command)[-1], {})
            return printed.getvalue().splitlines()
        return subprocess.run(
            shlex.split(command), cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    @pytest.mark.parametrize("command", EXECUTED)
    def test_a_cheap_command_of_the_docs_does_what_it_says(self, project, command):
        assert EXECUTED[command] in self.run_in(project, command)

    def test_every_command_of_the_docs_is_run_covered_or_marked(self):
        known = (*COVERED, "uv run python -m benchmarks.")
        unknown = [
            f"{name}: {command}"
            for name, page in PAGES.items()
            for command, note in console(page)
            if not is_executed(command) and not command.startswith(known) and not any(mark in note for mark in MARKERS)
        ]
        assert unknown == []

    def test_no_listed_command_has_left_the_docs(self):
        written = [command for page in PAGES.values() for command, _ in console(page)]
        assert [listed for listed in EXECUTED if not any(is_executed(command, listed) for command in written)] == []
        assert [start for start in COVERED if not any(command.startswith(start) for command in written)] == []

    @pytest.mark.parametrize("test", COVERED.values())
    def test_the_test_that_covers_a_command_exists(self, test):
        file, name = test.split("::")
        assert f"def {name}(" in (REPOSITORY / "tests" / file).read_text()

    @pytest.mark.long
    def test_every_kedro_make_and_benchmark_command_can_be_run(self):
        problems = {
            f"{name}: {command}": wrong_in(command, page)
            for name, page in PAGES.items()
            for command in (*(command for command, note in console(page) if "at commit" not in note), *in_text(page))
        }
        assert {command: problem for command, problem in problems.items() if problem} == {}


class TestExamples:
    @pytest.mark.parametrize("name", [name for name, page in PAGES.items() if fenced(page, "yaml")])
    def test_yaml_examples_are_valid_parameters(self, name):
        changes = examples_of(PAGES[name])
        if "loss: multisimilarity" in PAGES[name]:
            changes["experiments"]["vit_multisimilarity"] |= {"loss": "triplet", "loss_options": {}}
        assert parameters("base", changes).model_dump() != parameters("base", {}).model_dump()

    @pytest.mark.parametrize(
        "name", [name for name, page in PAGES.items() if fenced(page, "python") and not fenced(page, "diff")]
    )
    def test_python_examples_print_what_the_page_says(self, name):
        blocks = re.findall(r"^```(python|text)\n(.*?)^```", PAGES[name], re.DOTALL | re.MULTILINE)
        namespace: dict[str, Any] = {}
        printed = io.StringIO()
        for number, (language, block) in enumerate(blocks):
            if language == "python":
                with contextlib.redirect_stdout(printed := io.StringIO()):
                    exec(compile(block, f"{name}, block {number}", "exec"), namespace)
            elif blocks[number - 1][0] == "python" and number:
                assert printed.getvalue() == block

    def test_the_changes_of_add_a_loss_apply_and_its_check_holds(self, tmp_path):
        page = PAGES["docs/how-to/add-a-loss.md"]
        for folder in ("src", "conf"):
            shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "loss.diff").write_text("".join(fenced(page, "diff")))
        subprocess.run(["git", "apply", "loss.diff"], cwd=tmp_path, check=True)
        experiment = yaml.safe_load(fenced(page, "yaml")[0])
        use = f"""
from pathlib import Path
import yaml
import skinbit.config as params
assert Path(params.__file__).is_relative_to({str(tmp_path)!r})
base = [yaml.safe_load(path.read_text()) for path in Path("conf/base").glob("parameters*.yml")]
tree = {{name: block for file in base for name, block in file.items()}}
tree["experiments"] |= {experiment["experiments"]!r}
found = params.Parameters.model_validate(tree)
assert found.recipes["vit_multisimilarity"].training.loss_params.beta == 40
"""
        command = [sys.executable, "-c", "".join(fenced(page, "python")) + use]
        environment = {"PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    def test_the_places_of_a_method_that_add_a_clusterer_names_know_methods(self):
        named = re.findall(r"^\| `(src/\S+)`", PAGES["docs/how-to/add-a-clusterer.md"], re.MULTILINE)
        assert len(named) > 4
        code = {file: (REPOSITORY / file).read_text() for file in named}
        assert [file for file, text in code.items() if not re.search("dbscan|DBSCAN|METHODS|cosine", text)] == []


class TestNames:
    def test_every_parameter_that_is_named_exists(self):
        names = "|".join(Parameters.model_fields)
        written = {
            (name, dotted)
            for name, page in PAGES.items()
            for dotted in re.findall(rf"`((?:{names})(?:\.\w+)+)[`=]", prose(page))
            if not re.search(r"\.(csv|html|json|md|png|py|yaml|yml|safetensors)$", dotted)
        }
        assert len(written) > 30
        written -= {("docs/tracking.md", "training.head.dim")}  # a name of resolved_config.yaml, which it speaks of
        assert [(name, dotted) for name, dotted in sorted(written) if not _is_parameter(dotted)] == []

    def test_the_licences_of_models_are_those_that_timm_states(self):
        table = PAGES["docs/experiments.md"].split("| model | licence |")[1].split("\n\n")[0]
        rows = [re.findall(r"`([^`]+)`", row) for row in table.splitlines() if "`" in row]
        stated = {model: licence for *models, licence in rows for model in models}
        assert len(stated) >= 8
        assert {model: licence_of(BackboneParams(model=model)) for model in stated} == stated

    def test_every_output_that_the_first_page_names_is_in_the_catalog(self):
        table = PAGES["docs/index.md"].split("## What comes out")[1].split("##")[0]
        rows = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
        first = [(row[0], name) for row in rows for name in row]
        named = {path for row in first for path in _spelt_out(row[1], beside=row[0])}
        entries = yaml.safe_load((REPOSITORY / "conf/base/catalog.yml").read_text()).values()
        files = [entry["filepath"].removeprefix("${_root}/") for entry in entries if "filepath" in entry]
        patterns = [re.sub(r"\\\{\w+\\\}", r"[^/]+", re.escape(file)) for file in files]
        assert len(named) > 10
        assert [path for path in sorted(named) if not any(re.fullmatch(p, path) for p in patterns)] == []

    @pytest.mark.parametrize("package", ["src/skinbit", "src/skinbit/matching"])
    def test_the_architecture_has_a_sentence_for_every_room(self, package):
        table = PAGES["docs/architecture.md"].split(f"| room of `{package}` |")[1].split("\n\n")[0]
        rooms = {path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")}
        assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == rooms

    def test_log_lines_are_those_of_the_code(self):
        formats = [text for file in (REPOSITORY / "src").rglob("*.py") for text in _logged(file.read_text())]
        telling = [text for text in formats if len(re.sub(r"%[.\d]*[sdf]|\W", "", text)) > 5]  # "%s: %s" fits anything
        patterns = [re.compile(re.sub(r"%(?:\\?\.\d)?[sdf]", ".+", re.escape(text))) for text in telling]
        lines = [
            (name, line) for name, page in PAGES.items() for log in fenced(page, "log") for line in log.splitlines()
        ]
        assert len(lines) > 10
        assert [(name, line) for name, line in lines if not any(p.fullmatch(line) for p in patterns)] == []


def _is_parameter(dotted: str) -> bool:
    model: Any = Parameters
    for name in dotted.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return True  # below here names are the user's
        if name not in model.model_fields:
            return False
        model = model.model_fields[name].annotation
    return True


def _spelt_out(path: str, beside: str) -> list[str]:
    """Return the paths that `a/{b,c}.x` stands for; a name without a folder is beside the first one of its row."""
    choice = re.search(r"\{(\w+(?:,\w+)+)\}", path)
    full = path if "/" in path else f"{beside.rpartition('/')[0]}/{path}"
    return [full.replace(choice[0], one) for one in choice[1].split(",")] if choice else [full]


def _logged(code: str) -> list[str]:
    """Return the format strings of a module's log calls, those with a name of their own included."""
    nodes = list(ast.walk(ast.parse(code)))
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")]
    values = {ast.unparse(node.targets[0]): node.value for node in nodes if isinstance(node, ast.Assign)}
    formats = [values.get(ast.unparse(call.args[0]), call.args[0]) for call in calls if call.args]
    return [str(text.value) for text in formats if isinstance(text, ast.Constant)]


class TestLinks:
    def test_relative_links_and_images_lead_somewhere(self):
        contributing = {"CONTRIBUTING.md": (REPOSITORY / "CONTRIBUTING.md").read_text()}
        broken = [
            f"{name}: {target}"
            for name, page in {**PAGES, **contributing}.items()
            for target in re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", prose(page))
            for target in filter(None, target)
            if not target.startswith(("http:", "https:")) and not self.is_there(name, target)
        ]
        assert broken == []

    def is_there(self, name: str, target: str) -> bool:
        path, _, anchor = unquote(target).partition("#")
        file = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        if not file.exists():
            return False
        if not anchor or anchor.startswith("skinbit."):  # of a function: mkdocs checks it
            return True
        headings = re.findall(r"^#+ (.*)$", prose(file.read_text()), re.MULTILINE)
        return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def test_every_page_is_in_the_navigation(self):
        navigation = (REPOSITORY / "mkdocs.yml").read_text().partition("\nnav:")[2].partition("\nplugins:")[0]
        pages = [name.removeprefix("docs/") for name in PAGES if name != "README.md"]
        assert [page for page in pages if not re.search(rf"[ ]{re.escape(page)}$", navigation, re.MULTILINE)] == []

    def test_every_module_of_the_science_is_on_a_page_of_functions(self):
        packages = {path.parent.name for path in (REPOSITORY / "src/skinbit").glob("*/__init__.py")}
        others = {"notebook", "pipelines", "review", "runtime"}
        assert [
            name for name in packages - others if f"::: skinbit.{name}\n" not in PAGES.get(f"docs/api/{name}.md", "")
        ] == []

    def test_the_site_loads_nothing_from_elsewhere(self):
        site = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), yaml.SafeLoader)
        assert site["theme"]["font"] is False
        assert not {"extra_javascript", "google_analytics"} & site.keys()
        assert "http" not in "".join(site["extra_css"]) + (REPOSITORY / "docs/stylesheets/skinbit.css").read_text()
