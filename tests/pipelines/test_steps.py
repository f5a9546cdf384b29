"""The table of steps at the end of a run, with every runner."""

import logging
import os

import pytest
from kedro.framework.hooks import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner, ThreadRunner

from skinbit.data.progress import _running, count
from skinbit.runtime import steps
from skinbit.runtime.steps import StepHooks, tabulate_steps


def double(number):
    count("image", made=number, found=1)
    return 2 * number


STEPS = pipeline([node(double, "a", "b", name="first"), node(double, "b", "c", name="second")])
WHOLE = {"only_missing_outputs": False}


def run_logged(runner, catalog, caplog):
    """Run two steps, and return the lines of the table."""
    hooks, manager = StepHooks(), _create_hook_manager()
    manager.register(hooks)
    hooks.before_pipeline_run(run_params=WHOLE, pipeline=STEPS)
    with caplog.at_level(logging.INFO, logger="skinbit"):
        runner.run(STEPS, catalog, manager)
        hooks.after_pipeline_run()
    return [record.getMessage() for record in caplog.records if record.name == steps.__name__]


@pytest.fixture
def catalog():
    return DataCatalog({"a": MemoryDataset(3)})


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_every_step_is_noted_with_what_it_made(runner, catalog, caplog, monkeypatch):
    monkeypatch.setattr(steps, "_LONG", 0.0)
    (table,) = run_logged(runner(), catalog, caplog)
    assert table.splitlines()[0] == "2 steps in 0 s"
    cells = sorted(line.split() for line in table.splitlines()[2:])
    assert cells == [
        ["first", "0", "s", "3", "images", "1", "images"],
        ["second", "0", "s", "6", "images", "1", "images"],
    ]
    assert _running == []


def test_a_short_run_has_no_table(catalog, caplog):
    assert run_logged(SequentialRunner(), catalog, caplog) == []


def test_forked_workers_note_their_steps_for_the_run_that_forked_them():
    hooks = StepHooks()
    hooks.before_pipeline_run(run_params=WHOLE, pipeline=STEPS)
    for step in STEPS.nodes:
        if not (worker := os.fork()):
            hooks.before_node_run(node=step)
            count("image", made=2, found=0)
            hooks.after_dataset_saved(dataset_name=step.outputs[0], node=step)
            os._exit(0)
        os.waitpid(worker, 0)
    assert [(name, counts) for name, _, counts in hooks._read()] == [
        ("first", {"image": [2, 0]}),
        ("second", {"image": [2, 0]}),
    ]
    hooks.on_pipeline_error()
    assert _running == []


class TestTable:
    def test_the_longest_steps_are_named_and_the_others_added_up(self):
        made = [(f"step {n}", float(n), {"image": (n, 0)}) for n in range(1, 20)]
        lines = tabulate_steps(made, 190.0).splitlines()
        assert [line.split()[1] for line in lines[2:17]] == [str(n) for n in range(19, 4, -1)]
        assert lines[17].split() == ["4", "others", "10", "s", "10", "images"]

    def test_steps_that_noted_nothing_are_not_invented(self):
        assert tabulate_steps([], 60.0) == "the run took 60 s, in processes that could not note the time of steps"
