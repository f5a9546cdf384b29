"""`kedro review`: what it reads of a run, what it says where that is missing, and 60 questions in a real browser."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from skinbit.cli import cli
from skinbit.decisions.answers import Answer
from skinbit.decisions.certified import SAMPLED
from skinbit.decisions.ledger import Ledger, read_answers
from skinbit.decisions.queue import CONTRADICTION, IMPROBABLE, REPEAT
from skinbit.errors import InputError
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.report.thumbnails import shrink
from skinbit.review.reviewing import copy_answers, open_groups, open_ledger, serve
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.session import StudySession
from tests.pipelines.conftest import Project
from tests.review.samples import NOTED, outputs, write_photographs


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """A project with the outputs of a run."""
    project = Project(tmp_path_factory.mktemp("project"))
    write_outputs(project, 120, "photographs")
    return project


@pytest.fixture(autouse=True)
def in_project(reviewed, monkeypatch):
    monkeypatch.chdir(reviewed.root)
    bootstrap_project(reviewed.root)


def write_outputs(project: Project, n_photographs: int, name: str) -> None:
    """Write what ``cluster_images`` would write."""
    from skinbit.data.decoding import decode_image

    folder = project.root / name
    listed = write_photographs(folder, n_photographs)
    contents = zip(listed["image_id"], listed["file"], strict=True)
    thumbnails = {each: shrink(decode_image((folder / file).read_bytes(), 10**6), 32) for each, file in contents}
    files = outputs(listed) | {
        "new_photographs": listed,
        "new_thumbnails": thumbnails,
        "known_thumbnails": {},
        "clusters_keypoints": NO_TABLE,
        "cluster_review": NOTED | {"images": name},
    }
    bootstrap_project(project.root)
    with StudySession.create(project_path=project.root) as session:
        catalog = session.load_context().catalog
        for dataset, content in files.items():
            catalog.save(dataset, content)


class TestOpening:
    def test_reads_what_the_run_made(self, reviewed):
        grouped, pictures = open_groups(None, {})
        assert len(grouped.lesions) == 120
        assert grouped.sizes == [3] * 40
        assert grouped.said[0] == "site: back"
        assert pictures.thumbnail(44).startswith(b"\xff\xd8")
        assert pictures.alignment(0, 1) is None

    def test_says_which_command_makes_groups_where_there_are_none(self, reviewed):
        with pytest.raises(InputError, match="There are no groups to review") as refused:
            open_groups("demo", {})
        assert "`kedro group FOLDER --env demo`, then run `kedro review --env demo`" in refused.value.message

    def test_names_photographs_that_are_gone(self, reviewed):
        file = reviewed.root / "photographs" / "p007.png"
        content = file.read_bytes()
        file.unlink()
        try:
            with pytest.raises(InputError, match=r"1 of the 120 photographs .* no longer in .*p007\.png\.\n  Remedy"):
                open_groups(None, {})
        finally:
            file.write_bytes(content)

    def test_files_of_two_runs_are_one_message(self, reviewed, monkeypatch):
        groups = outputs(write_photographs(reviewed.root / "others", 6))["cluster_groups"]
        load = StudyCatalog.load
        monkeypatch.setattr(
            StudyCatalog, "load", lambda catalog, name: groups if name == "cluster_groups" else load(catalog, name)
        )
        with pytest.raises(InputError, match=r"did not finish\.\n  Remedy"):
            open_groups(None, {})

    def test_the_ledger_is_in_the_folder_of_outputs_if_none_is_named(self, reviewed, tmp_path):
        with closing(open_ledger(None, {}, None)) as ledger:
            assert ledger.path == (reviewed.root / "data/09_decisions/decisions.sqlite").resolve()
        with closing(open_ledger(None, {}, tmp_path / "mine")) as ledger:
            assert ledger.path == (tmp_path / "mine").resolve()

    def test_a_port_that_is_taken_is_one_message(self, reviewed):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(InputError, match=r"cannot be used: address already in use\.\n  Remedy"):
                serve(None, None, None, taken.getsockname()[1], print)


class TestCommand:
    def test_a_name_that_a_table_cannot_hold_is_refused(self, tmp_path):
        result = CliRunner().invoke(cli, ["review", "--ledger", str(tmp_path / "l"), "--reviewer", "=cmd()"])
        assert (result.exit_code, result.output.count("Remedy")) == (1, 1)

    def test_a_user_without_a_name_is_asked_for_one(self, tmp_path, monkeypatch):
        def fail():
            raise KeyError("getpwuid(): uid not found: 54321")

        monkeypatch.setattr("skinbit.cli.getuser", fail)
        result = CliRunner().invoke(cli, ["review", "--ledger", str(tmp_path / "l")])
        assert (result.exit_code, "--reviewer" in result.output) == (1, True)
        exported = ["--export", str(tmp_path / "answers.csv")]
        assert CliRunner().invoke(cli, ["review", "--ledger", str(tmp_path / "l"), *exported]).exit_code == 0

    def test_a_file_that_is_no_ledger_is_one_message(self, tmp_path):
        (tmp_path / "notes.txt").write_text("notes " * 200)
        result = CliRunner().invoke(cli, ["review", "--ledger", str(tmp_path / "notes.txt")])
        assert (result.exit_code, result.output.count("Remedy")) == (1, 1)

    def test_answers_are_added_and_exported(self, tmp_path):
        answer = Answer(verdict="same lesion", parts=(("a" * 64, "b" * 64),))
        with closing(Ledger(tmp_path / "other.sqlite")) as other:
            other.append(answer)
        told: list[str] = []
        with closing(Ledger(tmp_path / "mine.sqlite")) as mine:
            copy_answers(mine, tmp_path / "other.sqlite", tmp_path / "answers.csv", told.append)
            copy_answers(mine, tmp_path / "answers.csv", None, told.append)
            assert mine.answers() == (answer,)
        assert [text.split(" answers ")[0] for text in told] == ["1 new", "1", "0 new"]

    def test_confirmed_groups_are_written_as_metadata(self, reviewed, tmp_path):
        ledger, place = tmp_path / "mine.sqlite", tmp_path / "lesions.csv"
        grouped, _ = open_groups(None, {})
        with closing(Ledger(ledger)) as mine:
            mine.append(Answer(verdict="same lesion", parts=(tuple(grouped.hashes[:3]),)))
            mine.append(Answer(verdict="same lesion", parts=(tuple(grouped.hashes[3:5]),)))  # of three: not confirmed
        result = CliRunner().invoke(cli, ["review", "--ledger", str(ledger), "--lesions", str(place)])
        assert (result.exit_code, result.output.split(" in ")[0]) == (0, "3 photographs of 1 confirmed lesions")
        header, *rows = place.read_text().splitlines()
        assert header == "image_id,lesion_id"
        assert [row.split(",")[0] for row in rows] == grouped.names[:3]


@contextmanager
def served(reviewed: Project, ledger: Path):
    """Yield a process of `kedro review`, and the address that it prints."""
    command = [sys.executable, "-m", "kedro", "review", "--port", "0", "--ledger", str(ledger), "--reviewer", "Ada"]
    with subprocess.Popen(command, cwd=reviewed.root, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            yield process, next(found[1] for line in lines if (found := re.match(r"page +(http\S+)", line)))
        finally:
            process.kill()


@pytest.mark.long
class TestInABrowser:
    KEYS = ("d", "s", "d", "c", "d")

    @pytest.fixture
    def look(self, chromium):
        def wait(condition: str):
            return WebDriverWait(chromium, 20, 0.02).until(lambda window: window.execute_script(f"return {condition}"))

        return wait

    def press(self, chromium, look, key: str) -> None:
        """Press a key once the question can be answered, and wait for the answer to be on disk."""
        look("document.body.dataset.pair")
        before = int(chromium.execute_script("return document.body.dataset.seen"))
        chromium.find_element(By.TAG_NAME, "body").send_keys(key)
        look(f"document.body.dataset.seen == {before + 1}")

    def test_sixty_questions_lose_and_double_no_answer(self, reviewed, chromium, look, tmp_path):
        ledger, pressed = tmp_path / "decisions.sqlite", []
        with served(reviewed, ledger) as (process, address):
            chromium.get(address)
            for number in range(24):
                key = "u" if number % 8 == 7 else self.KEYS[number % 5]
                self.press(chromium, look, key)
                pressed.append(key)
            chromium.refresh()
            look("document.body.dataset.pair")
            self.press(chromium, look, "d")
            pressed.append("d")
            pressed += self.in_two_tabs(chromium, look, address)
            look("document.body.dataset.pair")
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            chromium.find_element(By.TAG_NAME, "body").send_keys("d")  # kept in the page, not on disk
            look("!document.getElementById('message').hidden")
            assert "does not answer" in chromium.find_element(By.ID, "message").text
        assert len(read_answers(ledger)) == len(pressed)
        with served(reviewed, ledger) as (_, address):
            chromium.execute_script("removeEventListener('beforeunload', warn)")
            chromium.get(address)
            for number in range(60 - len(pressed)):
                key = self.KEYS[number % 5]
                self.press(chromium, look, key)
                pressed.append(key)
        answers = read_answers(ledger)
        names = {"s": "same lesion", "d": "different lesions", "c": "cannot tell", "u": "undo"}
        assert [answer.verdict for answer in answers] == [names[key] for key in pressed]
        undone = {answer.undoes for answer in answers}
        once = [
            answer
            for answer in answers
            if answer.answer_id not in undone and answer.reason not in (REPEAT, CONTRADICTION, IMPROBABLE)
        ]
        parts = [answer.parts for answer in once if answer.parts]
        assert len(pressed) == 60
        assert len({frozenset(photograph for part in each for photograph in part) for each in parts}) == len(parts)
        assert not [entry for entry in chromium.get_log("browser") if "Content Security" in entry["message"]]

    def test_drawn_questions_are_asked_and_certify_the_groups(self, reviewed, chromium, look, tmp_path):
        ledger = tmp_path / "decisions.sqlite"
        with served(reviewed, ledger) as (_, address):
            chromium.get(address)
            self.press(chromium, look, "d")
            chromium.find_element(By.TAG_NAME, "body").send_keys("f")
            look("state.view === 'sample'")
            for key in ("d", "s", "c", "u"):
                self.press(chromium, look, key)
            look("document.body.dataset.certified === document.body.dataset.seen")
            progress = chromium.find_element(By.ID, "progress").text
            assert re.search(r"[12] of 159 sampled answers\s+F1 [01]\.\d+ \[", progress)
            assert "probability" not in chromium.find_element(By.ID, "why").text
            assert "in group" not in chromium.find_element(By.ID, "caption-a").text
            chromium.find_element(By.TAG_NAME, "body").send_keys("f")
            look("state.view === 'queue' && document.body.dataset.pair")
            assert "probability" in chromium.find_element(By.ID, "why").text
        reasons = [answer.reason.startswith(SAMPLED) for answer in read_answers(ledger)]
        assert reasons == [False, True, True, True, False]
        assert not [entry for entry in chromium.get_log("browser") if entry["source"] == "javascript"]

    def test_ticks_follow_groups_and_no_act_replaces_an_answer_that_was_not_sent(
        self, reviewed, chromium, look, tmp_path
    ):
        def run(script: str):
            return chromium.execute_script(f"return {script}")

        with served(reviewed, tmp_path / "decisions.sqlite") as (_, address):
            chromium.get(address)
            look("document.body.dataset.pair")
            run("(window.reached = window.fetch, window.fetch = () => Promise.reject(new Error('gone')))")
            body = chromium.find_element(By.TAG_NAME, "body")
            body.send_keys("d")
            look("!document.getElementById('message').hidden && !isBusy")
            body.send_keys("su")
            assert run("unsent.sent.verdict") == "different lesions"
            assert run("document.querySelectorAll('#message button').length") == 1
            run("(window.fetch = window.reached)")
            chromium.find_element(By.CSS_SELECTOR, "#message button").click()
            look("document.body.dataset.seen == 1")
            run("undo()")
            look("document.body.dataset.seen == 2")

            run("show('groups')")
            run("turnTo({ which: 'shared', page: 1 })")
            look("shelf.told?.seen == 2 && shelf.told.page == 1")
            first, second, third = run("shelf.told.groups.at(-1).rows")
            other = run("shelf.told.groups[0].number")
            title = f"document.querySelector('[data-here=\"{other}\"]').title"
            self.tick(chromium, first)
            assert run(title).endswith("all others of their group another")
            chromium.find_element(By.ID, "split").click()
            look(f"document.body.dataset.groups == 3 && groupNumbered({second})")
            self.tick(chromium, second)
            self.tick(chromium, third)
            assert run(title).endswith("show one lesion")
            body.send_keys("u")
            look(f"document.body.dataset.groups == 4 && groupNumbered({first})")
            assert run("[...shelf.ticked]") == [[second, first], [third, first]]
            ticked = run("[...document.querySelectorAll('.tile input:checked')].map(({ value }) => Number(value))")
            assert ticked == [second, third]
            chromium.find_element(By.ID, "split").click()
            look(f"document.body.dataset.groups == 5 && groupNumbered({second})")
            assert run("shelf.ticked.size") == 0

            run("(state.most = 2)")
            self.click(chromium, f"[data-confirm='{other}']")
            look("document.body.dataset.groups == 7")
        answers = read_answers(tmp_path / "decisions.sqlite")
        told = ["different lesions", "undo"] * 2 + ["different lesions"] + ["same lesion"] * 2
        assert [answer.verdict for answer in answers] == told
        assert [len(part) for answer in answers[4:] for part in answer.parts] == [2, 1, 2, 2]

    def tick(self, chromium, row: int) -> None:
        self.click(chromium, f".tile input[value='{row}']")

    def click(self, chromium, selector: str) -> None:
        chromium.execute_script("arguments[0].click()", chromium.find_element(By.CSS_SELECTOR, selector))

    def in_two_tabs(self, chromium, look, address) -> list[str]:
        """Answer one question in two tabs: the second answer is not written; then go on in both."""
        first = chromium.current_window_handle
        chromium.switch_to.new_window("tab")
        second = chromium.current_window_handle
        chromium.get(address)
        look("document.body.dataset.pair")
        stop = "(event) => event.stopImmediatePropagation()"  # a tab that comes to the front would ask anew
        chromium.execute_script(f"document.addEventListener('visibilitychange', {stop}, true)")
        question = chromium.execute_script("return document.body.dataset.pair")
        chromium.switch_to.window(first)
        self.press(chromium, look, "d")
        chromium.switch_to.window(second)
        assert chromium.execute_script("return document.body.dataset.pair") == question
        chromium.find_element(By.TAG_NAME, "body").send_keys("s")
        look("document.getElementById('message').textContent.includes('answered meanwhile')")
        look(f"document.body.dataset.pair && document.body.dataset.pair !== '{question}'")
        self.press(chromium, look, "d")
        chromium.close()
        chromium.switch_to.window(first)
        look("document.body.dataset.seen == 27")
        self.press(chromium, look, "d")
        return ["d"] * 3
