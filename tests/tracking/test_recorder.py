"""Which runs begin, what they gain, how they end; told by a tracker that only remembers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.messages import (
    STUDY,
    Artifact,
    Content,
    End,
    Metric,
    Note,
    Plan,
    PlannedRun,
    Tags,
    pack_message,
    unpack_message,
)
from skinbit.runtime.tracking.recorder import Recorder

RUNS = {
    STUDY: PlannedRun(title="study"),
    "a": PlannedRun(title="a", expected={"a.results", "a.fold_0.results", "a.fold_1.results"}),
    "a.fold_0": PlannedRun(title="a.fold_0", expected={"a.fold_0.results"}),
    "a.fold_1": PlannedRun(title="a.fold_1", expected={"a.fold_1.results"}),
    "b": PlannedRun(title="b", expected={"b.results"}),
}


class Memory:
    """Writes runs into dictionaries, and refuses what a server would refuse."""

    def __init__(self, previous=None):
        self.previous = previous
        self.runs, self.contents, self.ended = {}, {}, {}

    def find(self, outputs):
        return self.previous

    def start(self, run, planned, time):
        assert run not in self.runs
        assert run == STUDY or run.rpartition(".")[0] in self.runs
        self.runs[run], self.contents[run] = planned, Content()

    def log(self, run, content, time):
        self.contents[run] = self.contents[run].joined(content)

    def finish(self, run, failed, time):
        assert run in self.runs
        assert run not in self.ended
        self.ended[run] = failed


def record(*messages, resumes=False, previous=None, **tags):
    memory = Memory(previous)
    plan = Plan(tracking=TrackingParams(), runs=RUNS, outputs="folder", resumes=resumes)
    recorder = Recorder(memory, plan, tags)
    for message in messages:
        recorder.add([message])
    return memory, recorder


def tags_of(memory, run):
    return memory.runs[run].tags | memory.contents[run].tags


def note(dataset, value=0.5):
    run = dataset.rpartition(".")[0]
    return Note(dataset=dataset, contents={run: Content(metrics=(Metric("f1", value),))})


class TestRuns:
    def test_begin_with_the_first_note_after_those_they_are_nested_in(self):
        memory, _ = record(note("a.fold_0.results"))
        assert list(memory.runs) == [STUDY, "a", "a.fold_0"]

    def test_end_when_all_that_completes_them_is_noted(self):
        notes = [note("a.fold_0.results"), note("a.fold_1.results")]
        memory, recorder = record(*notes)
        assert memory.ended == {"a.fold_0": False, "a.fold_1": False}
        recorder.add([note("a.results")])
        assert memory.ended["a"] is False
        recorder.end(failed=False, time=0)
        assert memory.ended == {"a.fold_0": False, "a.fold_1": False, "a": False, STUDY: False}

    def test_that_are_incomplete_fail_with_the_study_and_complete_ones_do_not(self):
        memory, recorder = record(note("a.fold_0.results"), Note(contents={"a.fold_1": Content()}))
        recorder.end(failed=True, time=0)
        assert memory.ended == {"a.fold_0": False, "a.fold_1": True, "a": True, STUDY: True}

    def test_gain_a_dataset_once_however_often_it_is_told(self):
        memory, _ = record(note("b.results"), note("b.results", 0.9))
        assert memory.contents["b"].metrics == (Metric("f1", 0.5),)

    def test_gain_what_comes_after_their_end(self):
        memory, _ = record(
            note("a.fold_0.results"), Note(contents={"a.fold_0": Content(metrics=(Metric("late", 1.0),))})
        )
        assert [metric.name for metric in memory.contents["a.fold_0"].metrics] == ["f1", "late"]

    def test_that_were_not_planned_are_left_out(self):
        memory, _ = record(note("c.fold_0.results"))
        assert list(memory.runs) == [STUDY]

    def test_are_the_same_whether_messages_come_one_by_one_or_together(self):
        messages = [
            note("a.fold_1.results"),
            Tags(tags={"split_hash": "1"}),
            note("a.fold_0.results"),
            note("b.results"),
        ]
        one_by_one, _ = record(*messages)
        together = Memory()
        Recorder(together, Plan(tracking=TrackingParams(), runs=RUNS, outputs="folder", resumes=False), {}).add(
            messages
        )
        assert together.runs.keys() == one_by_one.runs.keys()
        assert together.ended == one_by_one.ended
        for run in together.runs:
            assert together.contents[run].metrics == one_by_one.contents[run].metrics
            assert tags_of(together, run) == tags_of(one_by_one, run)
            assert tags_of(together, run)["split_hash"] == "1"


class TestTags:
    def test_of_every_run_reach_those_that_have_begun_and_those_that_will(self):
        memory, _ = record(note("b.results"), Tags(tags={"split_hash": "1"}), note("a.results"), environment="demo")
        assert memory.runs["a"].tags == {"environment": "demo", "split_hash": "1"}
        assert memory.contents[STUDY].tags == {"split_hash": "1"}
        assert all(planned.tags["environment"] == "demo" for planned in memory.runs.values())

    def test_a_resumed_run_says_what_it_continues(self):
        assert record(resumes=True, previous="id")[0].runs[STUDY].tags["continues"] == "id"
        assert "continues" not in record(resumes=True)[0].runs[STUDY].tags
        assert "continues" not in record(resumes=False, previous="id")[0].runs[STUDY].tags


NAMES = st.text(min_size=1, max_size=20)
CONTENTS = st.builds(
    Content,
    parameters=st.dictionaries(NAMES, st.text()),
    tags=st.dictionaries(NAMES, st.text()),
    metrics=st.lists(
        st.builds(Metric, NAMES, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 10**6))
    ).map(tuple),
    artifacts=st.lists(st.builds(Artifact, NAMES, NAMES)).map(tuple),
)


class TestMessages:
    @given(
        st.one_of(
            st.builds(Note, time=st.integers(0), contents=st.dictionaries(NAMES, CONTENTS), dataset=st.none() | NAMES),
            st.builds(Tags, time=st.integers(0), tags=st.dictionaries(NAMES, st.text())),
            st.builds(End, time=st.integers(0), failed=st.booleans()),
        )
    )
    def test_survive_the_wire_in_one_line(self, message):
        line = pack_message(message)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert unpack_message(line) == message

    def test_that_are_cut_short_are_refused(self):
        line = pack_message(note("a.results"))
        for length in (0, 1, len(line) - 2):
            with pytest.raises(ValueError, match="validation error"):
                unpack_message(line[:length])
