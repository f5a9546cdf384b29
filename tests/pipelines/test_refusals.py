"""What the machine refuses is told by the system's number and by where it arises, in one message with a remedy."""

import errno
import fcntl
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from kedro.io import DatasetError

from skinbit.cli import cli
from skinbit.config import LoaderParams
from skinbit.embedding.loading import read_batches
from skinbit.errors import InputError
from skinbit.runtime.datasets.checkpoint import CheckpointDataset
from skinbit.runtime.failures import RESUME, explain_failure
from skinbit.runtime.locking import LOCK, hold
from skinbit.runtime.runners import check_runner
from skinbit.runtime.session import _mendable

OF_THE_SYSTEM = [
    (errno.ENOSPC, "The disk is full, or a quota or limit is reached", "free some space"),
    (errno.EDQUOT, "The disk is full, or a quota or limit is reached", "have the quota raised"),
    (errno.EFBIG, "The disk is full, or a quota or limit is reached", "larger disk"),
    (errno.EACCES, "Permission is denied", "give this user permission to read and write there"),
    (errno.EPERM, "Permission is denied", "give this user permission to read and write there"),
    (errno.EROFS, "The file system is read-only", "mount it for writing"),
    (errno.EMLINK, "The file system allows no more links or folders", "remove some"),
    (errno.ENAMETOOLONG, "A name is longer than the file system allows", "shorten the names"),
    (errno.ELOOP, "Links form a circle", "remove the link"),
    (errno.ENOTDIR, "A file is where a folder should be", "move it away"),
    (errno.EEXIST, "A file is where a folder should be", "move it away"),
    (errno.EISDIR, "A folder is where a file should be", "move it away"),
    (errno.EMFILE, "Too many files are open", "ulimit"),
    (errno.EIO, "The disk or network drive fails", "connected and healthy"),
    (errno.ESTALE, "The disk or network drive fails", "connected and healthy"),
]


def chained(error, *around):
    """Return an error as it arrives: others were raised from it."""
    for outer in around:
        outer.__cause__, error = error, outer
    return error


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def one_message(error, is_read=False):
    explained = explain_failure(error, is_read)
    assert isinstance(explained, InputError)
    assert explained.message.count("Remedy: ") == 1
    assert "Traceback" not in explained.message
    return explained.message


class TestRefusal:
    @pytest.mark.parametrize(("number", "what", "remedy"), OF_THE_SYSTEM)
    def test_of_the_system_is_told_by_its_number_whatever_the_class_and_the_words(self, number, what, remedy):
        message = one_message(chained(OSError(number, "Wörter", "/data/a.csv"), DatasetError("x"), RuntimeError("y")))
        assert message.startswith(what)
        assert f"at /data/a.csv ({errno.errorcode[number]})" in message
        assert remedy in message.partition("Remedy: ")[2]

    @pytest.mark.parametrize(("number", "what", "remedy"), OF_THE_SYSTEM)
    def test_of_a_folder_of_outputs_is_told_in_the_same_words(self, tmp_path, monkeypatch, number, what, remedy):
        def refuse(*_, **__):
            raise OSError(number, "Wörter", "somewhere")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(InputError) as raised, hold(tmp_path, "run"):
            pass
        monkeypatch.undo()
        assert f"Nothing can be written to {tmp_path}: {what[0].lower()}{what[1:]}" in raised.value.message
        assert remedy in raised.value.message

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
    def test_of_a_lock_by_a_network_drive_is_told_from_that_of_writing(self, tmp_path, monkeypatch, number):
        def refuse(*_):
            raise OSError(number, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(InputError, match=r"has no locks, so two runs could write") as raised, hold(tmp_path, "run"):
            pass
        assert "local_lock=all" in raised.value.message

    def test_of_a_folder_inside_that_is_not_of_skinbit_does_not_end_a_run(self, tmp_path, monkeypatch):
        (tmp_path / "lost+found").mkdir()
        stat = os.stat

        def refuse(path, *arguments, **options):
            if "lost+found/" in str(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return stat(path, *arguments, **options)

        monkeypatch.setattr(os, "stat", refuse)
        with hold(tmp_path, "run") as token:
            assert token.pid == os.getpid()

    def test_of_a_folder_in_place_of_a_model_names_the_file_itself(self, tmp_path):
        with pytest.raises(DatasetError) as raised:
            CheckpointDataset(filepath=str(tmp_path)).load()
        message = _mendable(raised.value).message
        assert message.startswith(f"A folder is where a file should be at {tmp_path} (EISDIR).")
        assert message.endswith(f"Remedy: name the file itself, not its folder. {RESUME}")

    @pytest.mark.parametrize("name", ["a.csv", "08_reporting"])
    def test_of_a_comparison_is_one_message(self, tmp_path, monkeypatch, name):
        for folder in ("one", "two"):
            (tmp_path / folder / "08_reporting").mkdir(parents=True)
            (tmp_path / folder / "a.csv").write_text("x")
        refused = OSError(errno.EACCES, "Permission denied", name)
        monkeypatch.setattr(*((Path, "open") if name == "a.csv" else (os, "scandir")), raising(refused))
        ended = CliRunner().invoke(cli, ["compare", str(tmp_path / "one"), str(tmp_path / "two")])
        assert ended.exit_code == 1
        assert (
            f"{name} cannot be read: permission denied.\n  Remedy: give this user permission to read it."
            in ended.output
        )

    def test_of_another_process_is_told_by_the_number_in_its_text(self):
        lost = pickle.loads(pickle.dumps(DatasetError("Failed while saving\n[Errno 30] Read-only: '/data/a.csv'")))
        assert one_message(lost).startswith("The file system is read-only at /data/a.csv (EROFS)")

    def test_of_reading_gives_no_advice_about_the_folder_of_outputs(self):
        message = one_message(OSError(errno.EACCES, "Permission denied", "/raw/a.csv"), is_read=True)
        assert "Remedy: give this user permission to read it. " in message
        assert "globals.yml" not in message

    def test_that_arose_while_kedro_loaded_is_one_of_reading(self):
        error = chained(OSError(errno.EACCES, "Permission denied", "/raw/a.csv"), DatasetError("Failed while loading"))
        assert "give this user permission to read it" in _mendable(error).message

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOENT, "No such file", "/a"),
            ValueError("wrong"),
            RuntimeError("shape mismatch"),
            OSError("?"),
        ],
    )
    def test_others_are_left_alone(self, error):
        assert explain_failure(error) is None

    def test_is_not_read_out_of_another_processs_traceback(self):
        assert explain_failure(chained(_RemoteTraceback("can't allocate memory"), KeyError("a"))) is None

    @pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "x"), OSError(errno.EROFS, "x")])
    def test_ends_a_run_wherever_it_arises(self, project, user_data, monkeypatch, error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr("skinbit.runtime.datasets.stock.CSVDataset.save", fail)
        with pytest.raises(InputError, match=r"Memory does not|The disk is full|The file system is read-only"):
            project.run(pipelines=("data_split",), study={"sample_data": False})
        assert not project.outputs("data")

    def test_of_a_save_names_the_file_and_not_the_temporary_one(self, project, user_data, monkeypatch):
        def fail(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        (project.root / "data/demo" / LOCK).parent.mkdir(parents=True)  # else the folder could not be made
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(InputError, match=r"The disk is full.* at \S+\.(csv|json) \(ENOSPC\)") as raised:
            project.run(pipelines=("data_split",), study={"sample_data": False})
        assert ".tmp" not in raised.value.message


class TestMemory:
    @pytest.mark.parametrize(
        ("error", "said", "remedy"),
        [
            (MemoryError(), "Memory does not suffice", "lower loader.batch_size"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Memory does not suffice", "loader.workers"),
            (BrokenProcessPool("terminated abruptly"), "A worker process was killed, most often", "lower"),
            (
                RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
                "A worker process was k",
                "lower",
            ),
            (
                RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
                "A worker process was killed",
                "lower",
            ),
            (
                RuntimeError("DataLoader worker (pid 7) is killed by signal: Segmentation fault. "),
                "A worker process has crashed (signal: Segmentation fault)",
                "loader.workers=0",
            ),
        ],
    )
    def test_that_does_not_suffice_is_told_from_a_crash(self, error, said, remedy):
        message = one_message(chained(error, RuntimeError("around it")))
        assert message.startswith(said)
        assert remedy in message

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"),
            RuntimeError("unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)"),
            RuntimeError("unable to write to file </torch_7_1_0>: No space left on device (28)"),
            RuntimeError("unable to mmap 602112 bytes from file </torch_7_1_0>: Cannot allocate memory (12)"),
            OSError(errno.ENOSPC, "No space left on device", "/dev/shm/psm_1"),
        ],
    )
    def test_that_processes_share_is_called_so_with_both_remedies(self, error):
        message = one_message(error)
        assert message.startswith("Shared memory")
        assert "--params loader.workers=0" in message
        assert "--shm-size" in message
        assert "globals.yml" not in message


class Photographs:
    def __init__(self, error):
        self.error = error

    def __call__(self, index):
        if index == 2 and self.error is not None:
            raise self.error
        return torch.full((2,), index)


class TestWorker:
    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize(
        "error",
        [OSError(errno.EIO, "Input/output error", "/raw/a.jpg"), InputError("a.jpg has changed"), KeyError("a")],
        ids=["system", "input", "key"],
    )
    def test_hands_over_what_went_wrong_as_it_is(self, workers, error):
        with pytest.raises(type(error)) as raised:
            list(read_batches(Photographs(error), [[0, 1], [2]], LoaderParams(batch_size=2, workers=workers)))
        assert str(raised.value) == str(error)
        assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_loads_batches_in_order(self, workers):
        batches = list(read_batches(Photographs(None), [[0, 1], [2]], LoaderParams(batch_size=2, workers=workers)))
        assert [batch[:, 0].tolist() for batch in batches] == [[0, 1], [2]]

    def test_hands_over_that_shared_memory_does_not_suffice(self, monkeypatch):
        def fail(_):
            raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left (28)")

        monkeypatch.setattr("skinbit.embedding.loading.default_collate", fail)
        workers = 1 if multiprocessing.get_start_method() == "fork" else 0
        with pytest.raises(RuntimeError) as raised:
            list(read_batches(Photographs(None), [[0, 1], [2]], LoaderParams(batch_size=2, workers=workers)))
        assert one_message(raised.value).startswith("Shared memory")


class TestRunner:
    @pytest.mark.parametrize(
        "name",
        ["nosuch", "SequentialRuner", "no.such.Runner", "skinbit.errors.InputError", "os.path", "kedro.runner", "."],
    )
    def test_that_does_not_exist_is_named(self, name):
        with pytest.raises(InputError, match="There is no runner") as raised:
            check_runner(name, {})
        assert "SequentialRunner, ThreadRunner, ParallelRunner" in raised.value.message

    def test_that_is_misspelt_is_suggested(self):
        with pytest.raises(InputError, match=r"no runner 'SequentialRuner'\. Did you mean SequentialRunner\?"):
            check_runner("SequentialRuner", {})

    @pytest.mark.parametrize("params", [{"workers": 2}, {"max_workers": 0}, {"max_workers": "two"}])
    def test_that_does_not_take_its_parameters_is_named(self, params):
        with pytest.raises(InputError, match="ThreadRunner does not accept these --runner-params"):
            check_runner("ThreadRunner", params)

    def test_whose_module_lacks_a_package_is_not_called_missing(self, tmp_path, monkeypatch):
        (tmp_path / "own_runners.py").write_text("import a_package_that_is_not_installed\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(InputError, match=r"own_runners\.Mine cannot be imported: No module named 'a_package_that"):
            check_runner("own_runners.Mine", {})

    @pytest.mark.parametrize("name", [None, "ThreadRunner", "kedro.runner.SequentialRunner"])
    def test_that_exists_is_accepted(self, name):
        check_runner(name, {"is_async": False})

    @pytest.mark.long
    def test_that_does_not_exist_ends_the_command_with_one_message(self, project):
        command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--runner", "nosuch"]
        ended = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert "There is no runner 'nosuch'" in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
