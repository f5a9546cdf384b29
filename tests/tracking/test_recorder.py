"""Which runs begin, what they gain, how they end; told by a tracker that only remembers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.process import Recorder
from skinbit.runtime.tracking.runs import STUDY, PlannedRun
from skinbit.runtime.tracking.wire import Event, Plan

RUNS = {
    STUDY: PlannedRun(title="study", parameters={"seed": "1"}),
    "a": PlannedRun(title="a", expected={"a.results", "a.fold_0.results", "a.fold_1.results"}),
    "a.fold_0": PlannedRun(title="a.fold_0", expected={"a.fold_0.results"}),
    "a.fold_1": PlannedRun(title="a.fold_1", expected={"a.fold_1.results"}),
    "b": PlannedRun(title="b", expected={"b.results"}),
}
FOLD, EXPERIMENT = "metric,value\nf1,0.5\n", "metric,mean,std\nf1,0.5,0.1\n"
FILES = {
    **{f"{run}.results": FOLD for run in ("a.fold_0", "a.fold_1", "c.fold_0")},
    **{f"{run}.results": EXPERIMENT for run in ("a", "b")},
    "split": "image_id,subset\n1,test\n",
}


class Memory:
    """Writes runs into dictionaries, and refuses what a server would refuse."""

    def __init__(self, previous=None):
        self.previous = previous
        self.tags, self.parameters, self.metrics, self.artifacts, self.ended = {}, {}, {}, {}, {}

    def find(self, outputs):
        return self.previous

    def start(self, run, title, tags, time):
        assert run not in self.tags
        assert run == STUDY or run.rpartition(".")[0] in self.tags
        self.tags[run], self.parameters[run], self.metrics[run], self.artifacts[run] = tags, {}, [], []

    def log(self, run, content, time):
        self.tags[run] = self.tags[run] | content.tags
        self.parameters[run] |= content.parameters
        self.metrics[run] += [metric.name for metric in content.metrics]
        self.artifacts[run] += content.artifacts

    def finish(self, run, failed, time):
        assert run in self.tags
        assert run not in self.ended
        self.ended[run] = failed


@pytest.fixture
def record(tmp_path):
    """Record events of the runs above."""
    for name, content in FILES.items():
        (tmp_path / f"{name}.csv").write_text(content)

    def make(*events, resumes=False, previous=None, **tags):
        memory = Memory(previous)
        files = {name: str(tmp_path / f"{name}.csv") for name in FILES}
        plan = Plan(tracking=TrackingParams(), runs=RUNS, files=files, outputs="folder", resumes=resumes)
        recorder = Recorder(memory, plan, tags)
        for event in events:
            recorder.add(event)
        return memory, recorder

    return make


def saved(*datasets):
    return [Event(dataset=dataset) for dataset in datasets]


class TestRuns:
    def test_begin_with_the_first_event_after_those_they_are_nested_in(self, record):
        memory, _ = record(*saved("a.fold_0.results"))
        assert list(memory.tags) == [STUDY, "a", "a.fold_0"]
        memory, _ = record(Event(node="a.fold_1.train_model"), Event(node="data_split.check_images"))
        assert list(memory.tags) == [STUDY, "a", "a.fold_1"]

    def test_that_have_parameters_from_the_beginning_begin_with_them(self, record):
        assert record()[0].parameters == {STUDY: {"seed": "1"}}

    def test_end_when_all_that_completes_them_is_there(self, record):
        memory, recorder = record(*saved("a.fold_0.results", "a.fold_1.results"))
        assert memory.ended == {"a.fold_0": False, "a.fold_1": False}
        recorder.add(Event(dataset="a.results"))
        assert memory.ended["a"] is False
        assert not recorder.is_over
        recorder.add(Event(failed=False))
        assert memory.ended == {"a.fold_0": False, "a.fold_1": False, "a": False, STUDY: False}
        assert recorder.is_over

    def test_that_are_incomplete_fail_with_the_study_and_complete_ones_do_not(self, record):
        node = Event(node="a.fold_1.train_model")
        memory, _ = record(*saved("a.fold_0.results"), node, Event(failed=True))
        assert memory.ended == {"a.fold_0": False, "a.fold_1": True, "a": True, STUDY: True}

    def test_gain_a_dataset_once_however_often_it_is_told(self, record):
        memory, _ = record(*saved("b.results", "b.results"))
        assert memory.metrics["b"] == ["f1_mean", "f1_std"]
        assert [artifact.path.rpartition("/")[2] for artifact in memory.artifacts["b"]] == ["b.results.csv"]

    def test_gain_what_comes_after_their_end(self, record):
        memory, _ = record(*saved("a.fold_0.results"), Event(node="a.fold_0.judge", seconds=1.0))
        assert memory.metrics["a.fold_0"] == ["f1", "seconds/judge"]

    def test_that_were_not_planned_are_left_out(self, record):
        memory, _ = record(*saved("c.fold_0.results"))
        assert list(memory.tags) == [STUDY]

    def test_gain_the_durations_of_their_nodes_and_the_study_those_of_all_others_but_drawings(self, record):
        names = ("a.final.train_model", "data_split.check_images", "report.list_software")
        memory, _ = record(*(Event(node=name, seconds=1.0) for name in names))
        assert memory.metrics == {STUDY: ["seconds/data_split.check_images"], "a": ["seconds/final.train_model"]}


class TestTags:
    def test_of_every_run_reach_those_that_have_begun_and_those_that_will(self, record):
        memory, _ = record(*saved("b.results", "split", "a.results"), environment="demo")
        assert memory.tags.keys() == {STUDY, "a", "b"}
        assert all(tags["environment"] == "demo" for tags in memory.tags.values())
        assert len({tags["split_hash"] for tags in memory.tags.values()}) == 1

    def test_a_resumed_run_says_what_it_continues(self, record):
        assert record(resumes=True, previous="id")[0].tags[STUDY]["continues"] == "id"
        assert "continues" not in record(resumes=True)[0].tags[STUDY]
        assert "continues" not in record(resumes=False, previous="id")[0].tags[STUDY]


class TestEvents:
    @given(
        st.builds(
            Event,
            time=st.integers(0),
            node=st.none() | st.text(),
            seconds=st.none() | st.floats(0, allow_infinity=False),
            dataset=st.none() | st.text(),
            failed=st.none() | st.booleans(),
        )
    )
    def test_survive_the_wire_in_one_line(self, event):
        line = event.to_line()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert Event.model_validate_json(line) == event

    def test_that_are_cut_short_are_refused(self):
        line = Event(dataset="a.results").to_line()
        for length in (0, 1, len(line) - 2):
            with pytest.raises(ValueError, match="validation error"):
                Event.model_validate_json(line[:length])
