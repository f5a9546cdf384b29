"""The ledger: what was answered stays, whatever happens, and nothing of a stranger's file is trusted."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinbit.data.ids import explain_name
from skinbit.decisions import ledger as ledgers
from skinbit.decisions.answers import Answer, Shown, new_id
from skinbit.decisions.ledger import Ledger, check_local, read_answers
from skinbit.errors import InputError

PHOTOGRAPHS = [f"{number:064x}" for number in range(8)]


def same(first: int = 0, second: int = 1, **more) -> Answer:
    return Answer(verdict="same lesion", parts=((PHOTOGRAPHS[first], PHOTOGRAPHS[second]),), **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions" / "decisions.sqlite"


@pytest.fixture
def ledger(path):
    with closing(Ledger(path)) as made:
        yield made


def append_many(path: Path, first: int, count: int) -> None:
    with closing(Ledger(path)) as ledger:
        for number in range(first, first + count):
            ledger.append(same(answer_id=f"{number:032x}"))


class TestAppending:
    def test_answers_come_back_in_order(self, ledger, path):
        given = [same(0, 1, reviewer="Ada"), same(2, 3, shown=Shown(model="m", probability=0.1, cut=0.3))]
        for answer in given:
            ledger.append(answer)
        assert ledger.answers() == tuple(given) == read_answers(path)

    def test_undo_is_a_row(self, ledger):
        answer = same()
        ledger.append(answer)
        undo = Answer(verdict="undo", undoes=answer.answer_id)
        ledger.append(undo)
        assert ledger.answers() == (answer, undo)

    def test_only_an_answer_is_undone(self, ledger):
        answer = same()
        ledger.append(answer)
        undo = Answer(verdict="undo", undoes=answer.answer_id)
        ledger.append(undo)
        for undoes in (new_id(), undo.answer_id):
            with pytest.raises(InputError, match="no answer to undo"):
                ledger.append(Answer(verdict="undo", undoes=undoes))

    def test_more_answers_than_a_ledger_may_hold_are_refused(self, ledger, monkeypatch):
        monkeypatch.setattr(ledgers, "_MAX_ANSWERS", 2)
        ledger._add([same(), same()], "test")
        with pytest.raises(InputError, match="nothing was added"):
            ledger.append(same())
        assert len(ledger.answers()) == 2

    def test_an_answer_that_is_sent_twice_is_one_row(self, ledger):
        answer = same(time="2026-01-01T00:00:00Z")
        ledger.append(answer)
        ledger.append(answer.model_copy(update={"time": "2026-01-01T00:00:05Z"}))
        assert ledger.answers() == (answer,)

    def test_two_answers_of_one_id_are_refused(self, ledger):
        answer = same(0, 1)
        ledger.append(answer)
        with pytest.raises(InputError, match="differ in the answer"):
            ledger.append(same(0, 2, answer_id=answer.answer_id))
        assert ledger.answers() == (answer,)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE answers SET verdict = 'different lesions'",
            "DELETE FROM answers",
            "REPLACE INTO answers SELECT number, answer_id, 'undo', '', '', '', '', '', 0, 0, '' FROM answers",
            "REPLACE INTO answers SELECT 7, answer_id, 'undo', '', '', '', '', '', 0, 0, '' FROM answers",
        ],
    )
    def test_the_database_itself_refuses_to_change_a_row(self, ledger, path, statement):
        answer = same()
        ledger.append(answer)
        with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            refused = contextlib.nullcontext() if "REPLACE" in statement else pytest.raises(sqlite3.IntegrityError)
            with refused:
                stranger.execute(statement)
        assert read_answers(path) == (answer,)

    def test_it_writes_ahead_and_waits_for_the_disk(self, ledger):
        pragmas = [ledgers._pragma(ledger._connection, name) for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]

    def test_processes_make_and_append_at_once(self, path):
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=append_many, args=(path, 100 * n, 25)) for n in range(1, 4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        found = [answer.answer_id for answer in read_answers(path)]
        assert sorted(found) == [f"{100 * n + step:032x}" for n in range(1, 4) for step in range(25)]
        assert [writer.exitcode for writer in writers] == [0, 0, 0]

    def test_a_process_that_is_killed_between_two_answers_loses_none(self, path):
        code = (
            "import sys; from skinbit.decisions.answers import Answer; from skinbit.decisions.ledger import Ledger\n"
            "ledger = Ledger(sys.argv[1])\n"
            "for number in range(10**6):\n"
            "    parts = ((f'{number:064x}', f'{number + 1:064x}'),)\n"
            "    ledger.append(Answer(answer_id=f'{number:032x}', verdict='same lesion', parts=parts))\n"
            "    print(number, flush=True)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            told = [int(writer.stdout.readline()) for _ in range(20)][-1]
            os.kill(writer.pid, signal.SIGKILL)
            told = max([told, *map(int, writer.stdout.read().split())])
        with closing(Ledger(path)) as ledger:
            n_answers = len(ledger.answers())
            assert told + 1 <= n_answers <= told + 2  # the last one may be written and not yet told
            ledger.append(same())
            assert len(read_answers(path)) == n_answers + 1


class TestMerging:
    def test_is_idempotent_and_commutative_as_a_set(self, tmp_path):
        common, first, second = same(0, 1), same(1, 2), same(2, 3)
        both = []
        for name, other, own in [("a", "b", (common, first)), ("b", "a", (common, second))]:
            with closing(Ledger(tmp_path / name)) as ledger:
                for answer in own:
                    ledger.append(answer)
            both.append((name, other))
        for name, other in both:
            merged = tmp_path / f"{name}{other}"
            shutil.copy(tmp_path / name, merged)
            with closing(Ledger(merged)) as ledger:
                assert ledger.merge(tmp_path / other) == 1
                assert ledger.merge(tmp_path / other) == 0
                assert set(map(str, ledger.answers())) == set(map(str, (common, first, second)))

    def test_nothing_is_added_where_two_ledgers_differ_in_an_answer(self, ledger, tmp_path):
        answer = same()
        ledger.append(answer)
        with closing(Ledger(tmp_path / "other")) as other:
            other.append(same(2, 3))
            other.append(answer.model_copy(update={"reviewer": "Eve"}))
        with pytest.raises(InputError, match=f"differ in the answer {answer.answer_id}"):
            ledger.merge(tmp_path / "other")
        assert ledger.answers() == (answer,)

    def test_the_other_ledger_must_exist(self, ledger, tmp_path):
        with pytest.raises(InputError, match="There is no ledger"):
            ledger.merge(tmp_path / "none")
        assert not (tmp_path / "none").exists()


texts = st.text("aé漢 \"',;|0.=", max_size=12).map(lambda text: "" if explain_name(text) else text)
photographs = st.lists(st.sampled_from(PHOTOGRAPHS), min_size=2, max_size=8, unique=True)


@st.composite
def answers(draw) -> Answer:
    chosen = tuple(draw(photographs))
    verdict = draw(st.sampled_from(["same lesion", "different lesions", "cannot tell", "undo"]))
    at = draw(st.integers(1, len(chosen) - 1))
    parts = {
        "same lesion": (chosen,),
        "different lesions": (chosen[:at], chosen[at:]),
        "cannot tell": ((chosen[0],), (chosen[1],)),
        "undo": (),
    }[verdict]
    shown = Shown(
        model=draw(texts),
        probability=draw(st.none() | st.floats(0, 1)),
        cut=draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    )
    undoes = new_id() if verdict == "undo" else None
    return Answer(verdict=verdict, parts=parts, undoes=undoes, reviewer=draw(texts), shown=shown, reason=draw(texts))


class TestCsv:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(answers(), max_size=5))
    def test_what_is_exported_and_imported_equals_the_ledger(self, given):
        with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder, "a"))) as first:
            first._add(given, "test")
            assert first.answers() == tuple(given)
            first.export_csv(Path(folder, "answers.csv"))
            with closing(Ledger(Path(folder, "b"))) as second:
                assert second.import_csv(Path(folder, "answers.csv")) == len(given)
                assert second.answers() == first.answers()
                assert second.import_csv(Path(folder, "answers.csv")) == 0

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("verdict", "judgement", "its columns are not"),
            ("same lesion", "maybe", "row 2: verdict"),
            ("0.5", "many", "row 2: could not convert"),
            ("0.5", "nan", "row 2: shown.probability"),
            (PHOTOGRAPHS[1], "../secret", "row 2: parts"),
            ("same lesion", "same\x00lesion", "row 2: verdict"),
            ("same lesion", '"same', "no table of answers"),
        ],
    )
    def test_a_table_that_is_wrong_is_one_message_and_nothing_is_added(self, ledger, tmp_path, old, new, said):
        ledger.append(same(shown=Shown(probability=0.5)))
        table = tmp_path / "answers.csv"
        ledger.export_csv(table)
        table.write_text(table.read_text().replace(old, new, 1))
        with closing(Ledger(tmp_path / "b")) as other:
            with pytest.raises(InputError, match="no table of answers") as refused:
                other.import_csv(table)
            assert said in refused.value.message
            assert other.answers() == ()

    def test_an_export_never_replaces_a_ledger(self, ledger, path, tmp_path):
        ledger.append(same())
        (tmp_path / "link.csv").symlink_to(path)
        for place in (path, tmp_path / "answers.csv.gz", tmp_path / "answers", tmp_path / "link.csv"):
            with pytest.raises(InputError, match=r"ends in \.csv"):
                ledger.export_csv(place)
        assert len(read_answers(path)) == 1

    def test_an_export_that_fails_leaves_the_table_that_was_there(self, ledger, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise OSError("disk full")

        table = tmp_path / "answers.csv"
        table.write_text("before")
        monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
        with pytest.raises(InputError, match="cannot be used"):
            ledger.export_csv(table)
        assert (table.read_text(), [*tmp_path.glob("*.csv")]) == ("before", [table])

    def test_a_table_that_is_not_there_is_one_message(self, ledger, tmp_path):
        with pytest.raises(InputError, match="cannot be used: no such file"):
            ledger.import_csv(tmp_path / "none.csv")


def sqlite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def inserted(**changed: str) -> str:
    values = {
        "number": "2",
        "answer_id": f"'{new_id()}'",
        "verdict": "'same lesion'",
        "parts": f"'{PHOTOGRAPHS[0]} {PHOTOGRAPHS[1]}'",
        "undoes": "NULL",
        "reviewer": "''",
        "time": "'2026-01-01T00:00:00Z'",
        "model": "''",
        "probability": "NULL",
        "cut": "NULL",
        "reason": "''",
    } | changed
    return f"INSERT INTO answers VALUES ({', '.join(values.values())})"


class TestStrangersFiles:
    @pytest.mark.parametrize(
        ("statement", "said"),
        [
            ("CREATE TABLE more (a)", "something was added"),
            ("CREATE VIEW more AS SELECT 1", "something was added"),
            ("CREATE INDEX more ON answers (verdict)", "something was added"),
            ("CREATE TRIGGER more AFTER INSERT ON answers BEGIN SELECT 1; END", "something was added"),
            ("DROP TRIGGER answers_stay", "something was added"),
            ("PRAGMA application_id=7", "no ledger"),
            ("PRAGMA user_version=2", "later version"),
            (inserted(verdict="'maybe'"), "answer 2: verdict"),
            (inserted(verdict="x'73616d65'"), "answer 2: verdict"),
            (inserted(parts="'../../secret /etc/passwd'"), "answer 2: parts"),
            (inserted(parts="7"), "answer 2: parts"),
            (inserted(undoes="'x'"), "answer 2: undoes"),
            (inserted(reviewer="'=cmd()'"), "answer 2: reviewer"),
            (inserted(reviewer="CAST(x'ff' AS TEXT)"), "cannot be opened"),
            (inserted(time="'yesterday'"), "answer 2: time"),
            (inserted(probability="'many'"), "answer 2: shown.probability"),
            (inserted(cut="9e999"), "answer 2: shown.cut"),
            (inserted(reason=f"'{'x' * 501}'"), "answer 2: reason"),
            (inserted(reason="printf('%.*c', 5000000, 'x')"), "too big"),
            (inserted(number="-5"), "not numbered"),
            (inserted(number="9223372036854775807"), "not numbered"),
        ],
    )
    def test_are_refused_whole_and_left_as_they_are(self, path, tmp_path, statement, said):
        append_many(path, 0, 1)
        sqlite(path, statement)
        before = path.read_bytes()
        with closing(Ledger(tmp_path / "mine")) as mine:
            for use in (Ledger, read_answers, mine.merge):
                with pytest.raises(InputError) as refused:
                    use(path)
                assert said in refused.value.message
                assert "Remedy" in refused.value.message
            assert mine.answers() == ()
        assert path.read_bytes() == before

    @pytest.mark.parametrize("kind", ["truncated", "damaged", "text", "other", "folder"])
    def test_a_file_that_is_no_sound_ledger_is_one_message(self, path, kind):
        append_many(path, 0, 200)
        content = path.read_bytes()
        if kind == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif kind == "damaged":
            path.write_bytes(content[:4096] + b"\xff" * 8192 + content[12288:])
        elif kind == "text":
            path.write_text("These are notes, not answers.\n" * 200)
        else:
            path.unlink()
            path.mkdir() if kind == "folder" else sqlite(path, "CREATE TABLE runs (a)")
        before = None if kind == "folder" else path.read_bytes()
        for use in (Ledger, read_answers):
            with pytest.raises(InputError, match="Remedy"):
                use(path)
        assert kind == "folder" or path.read_bytes() == before

    def test_a_locked_ledger_is_one_message(self, path, monkeypatch):
        monkeypatch.setattr(ledgers, "_WAIT_SECONDS", 0.05)
        append_many(path, 0, 1)
        with closing(Ledger(path)) as mine, closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(InputError, match="is in use"):
                mine.append(same())
            other.execute("ROLLBACK")
            mine.append(same())
            assert len(mine.answers()) == 2


class TestPlaces:
    MOUNTS = (
        "/dev/sda / ext4 rw 0 0\nserver:/a /mnt/share nfs4 rw 0 0\n//pc/a /mnt/my\\040share cifs rw 0 0\n"
        "overlay /mnt/share/local overlay rw 0 0\nme@pc: /mnt/ssh fuse.sshfs rw 0 0\n"
    )

    @pytest.mark.parametrize("place", ["/mnt/share/a", "/mnt/my share/b/a", "/mnt/ssh/a"])
    def test_a_network_drive_is_refused(self, place):
        with pytest.raises(InputError, match="network drive"):
            check_local(Path(place), self.MOUNTS)

    @pytest.mark.parametrize("place", ["/home/a", "/mnt/share/local/a", "/mnt/shared/a"])
    def test_a_disk_of_this_machine_will_do(self, place):
        assert check_local(Path(place), self.MOUNTS) is None

    @pytest.mark.parametrize("place", ["s3://bucket/decisions.sqlite", Path("s3://bucket/decisions.sqlite")])
    def test_an_address_is_refused(self, place):
        with pytest.raises(InputError, match="no file of this machine"):
            Ledger(place)
