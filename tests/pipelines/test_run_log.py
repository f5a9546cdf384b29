"""What a run tells a person who watches it: decisions about data, chosen cuts, the best experiments, the files."""

import logging
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest

SMALL = {"split": {"n_folds": 2}, "loader": {"workers": 0}, "compute": {"threads": 1}}
STUDY = {"sample_data": False, "experiments": "resnet_baseline+vit_baseline", "folds": "0+1"}


def lines_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("skinbit")]


@pytest.fixture(scope="module")
def watched(make_project, photographs):
    """A finished study with what it logged."""
    project, messages = make_project(photographs), []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("skinbit").addHandler(handler)
    project.run(study=STUDY, **SMALL)
    logging.getLogger("skinbit").removeHandler(handler)
    return project, messages


class TestStudy:
    def test_data_decisions_come_before_anything_takes_time(self, watched):
        _, messages = watched
        using = next(n for n, line in enumerate(messages) if line.startswith("using "))
        computing = next(n for n, line in enumerate(messages) if "to compute" in line)
        assert using < computing
        pairs = next(line for line in messages if line.startswith("positive pairs:"))
        assert pairs.count(" of ") == 3  # two folds and the test subset

    def test_every_experiment_names_its_cuts_once(self, watched):
        project, messages = watched
        for experiment in ("resnet_baseline", "vit_baseline"):
            results = pd.read_csv(project.root / f"data/demo/08_reporting/{experiment}/results.csv").set_index("metric")
            mean = results["mean"]
            named = [line for line in messages if line.startswith(f"{experiment}: threshold")]
            assert len(named) == 1
            assert f"threshold {mean['cosine_threshold']:.4f}" in named[0]
            assert f"eps {mean['dbscan_eps']:.4f}" in named[0]

    def test_the_last_word_is_the_best_experiments_and_the_files(self, watched):
        project, messages = watched
        lines = [line.strip() for line in messages[-1].splitlines()]
        best = pd.read_csv(project.root / "data/demo/08_reporting/leaderboard.csv").iloc[0]
        assert " finds images of the same lesion best: pairwise F1 0." in lines[0]
        assert lines[2].startswith(f"1  {best['experiment']}")
        assert f"{best['cosine_f1_transfer_mean']:.3f} ± {best['cosine_f1_transfer_std']:.3f}" in lines[2]
        files = ["data/demo/08_reporting/leaderboard.csv", "data/demo/08_reporting/report.html"]
        assert lines[-3:-1] == files
        assert all((project.root / path).is_file() for path in files)
        assert lines[-1].startswith("next, photographs of your own: uv run kedro group FOLDER --env demo --experiment ")

    def test_no_line_stands_twice(self, watched):
        _, messages = watched
        assert [line for line, times in Counter(messages).items() if times > 1] == []


class TestPart:
    def test_an_experiment_of_its_own_shows_its_figures_and_their_file(self, project, user_data, caplog):
        with caplog.at_level(logging.INFO, logger="skinbit"):
            project.run(pipelines=("vit_baseline",), study={**STUDY, "folds": "0"}, **SMALL)
        last = lines_of(caplog)[-1]
        assert "F1, own threshold" in last
        assert last.endswith("data/demo/08_reporting/vit_baseline/results.csv")

    def test_a_run_without_results_ends_without_a_table(self, project, user_data, caplog):
        with caplog.at_level(logging.INFO, logger="skinbit"):
            project.run(pipelines=("data_split",), study=STUDY, **SMALL)
        assert [line.split()[0] for line in lines_of(caplog)] == ["using", "no", "positive"]

    @pytest.mark.long
    def test_a_run_from_a_folder_inside_the_project_logs_the_same(self, project, user_data):
        (project.root / "notebooks/mine").mkdir(parents=True)
        command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--pipelines", "data_split"]
        params = ["--params", "study.sample_data=false,split.n_folds=2,study.folds=0+1"]
        shown = [
            subprocess.run([*command, *params], cwd=folder, capture_output=True, text=True, check=True).stderr
            for folder in (project.root, project.root / "notebooks/mine")
        ]
        lines = [[line.split(maxsplit=2)[2] for line in text.splitlines() if " INFO " in line] for text in shown]
        decisions = [[line for line in found if line.startswith(("using", "no image", "positive"))] for found in lines]
        assert len(decisions[0]) == 3
        assert decisions[0] == decisions[1]
