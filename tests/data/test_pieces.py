"""Long work in pieces: nothing that is kept is made again, and every end has the same bytes."""

import errno
import pickle
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from skinbit.config import ComputeParams, DataParams, ExecutorParams, GeometryParams, LoaderParams, study_settings
from skinbit.data.executor import Execution
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import Wanted, complete, of_photographs
from skinbit.embedding.tables import Features
from skinbit.errors import InputError
from skinbit.matching.keypoints.sift import KeypointMaker
from skinbit.pipelines.cluster_images.nodes import photographs as nodes
from skinbit.runtime import hooks
from skinbit.runtime.context import active_parameters
from skinbit.runtime.datasets.executor import ExecutorDataset
from tests.kept import NOTHING, Kept, in_pieces, read


class Making:
    """Makes rows whose value is their key's hash and their place in their piece, and notes them; may break."""

    def __init__(self, keys, errors=()):
        self.keys, self.errors, self.made, self.pieces = keys, list(errors), [], []

    def __call__(self, pieces):
        for rows in pieces:
            self.pieces.append(rows.tolist())
            if self.errors and (error := self.errors.pop(0)) is not None:
                raise error
            keys = tuple(self.keys[row] for row in rows)
            self.made += keys
            values = np.array([[[len(rows), place]] for place, _ in enumerate(keys)], np.float32)
            yield Features(keys, values, keys, {})


def run(keys, store, errors=(), size=4, groups=()):
    making = Making(keys, errors)
    places = complete(Wanted("letters", "letter", keys, keys, groups), store, making, in_pieces(size))
    assert [table.keys[row] for table, row in places] == list(keys)
    return np.stack([table.values[row] for table, row in places]).tobytes(), making


def test_missing_rows_are_made_in_pieces_in_their_order():
    store = Kept(NOTHING)
    assert run("abcdefghij", store)[1].pieces == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(store.kept) == 3


def test_ten_new_rows_among_five_hundred_are_made_alone():
    keys = [f"{number}" for number in range(500)]
    _, first = run(keys, Kept(NOTHING), size=256)
    store = Kept(Features(tuple(keys), np.zeros((500, 1, 2), np.float32), tuple(keys), {}))
    new = [f"new {number}" for number in range(10)]
    _, second = run([*new[:4], *reversed(keys), *new[4:]], store, size=256)
    assert (len(first.made), second.made) == (500, new)
    assert run(keys[::-1], store)[1].made == []


def test_copies_are_made_once():
    assert run("abacab", Kept(NOTHING))[1].made == list("abc")


def test_no_piece_has_rows_of_two_groups():
    assert run("abcdefg", Kept(NOTHING), groups=[0, 0, 0, 0, 0, 1, 1])[1].pieces == [[0, 1, 2, 3], [4], [5, 6]]


@pytest.mark.parametrize("broken", range(3))
def test_a_step_that_breaks_is_continued_with_the_piece_that_broke(broken):
    whole, _ = run("abcdefghij", Kept(NOTHING))
    store = Kept(NOTHING)
    with pytest.raises(KeyboardInterrupt):
        run("abcdefghij", store, [None] * broken + [KeyboardInterrupt()])
    continued, making = run("abcdefghij", store)
    assert making.made == list("abcdefghij")[4 * broken :]
    assert continued == whole


@pytest.mark.parametrize("lost", range(3))
def test_a_lost_piece_is_made_again_alone(lost):
    store = Kept(NOTHING)
    whole, _ = run("abcdefghij", store)
    del store.kept[lost]
    again, making = run("abcdefghij", store)
    assert making.made == list("abcdefghij")[4 * lost : 4 * lost + 4]
    assert again == whole


def test_a_disk_that_fails_twice_costs_no_piece_that_was_made(caplog):
    failing = OSError(errno.EIO, "Input/output error")
    made, making = run("abcdefghij", Kept(NOTHING), [None, failing, failing])
    assert making.made == list("abcdefghij")
    assert made == run("abcdefghij", Kept(NOTHING))[0]
    assert caplog.text.count("a piece is tried again") == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), "input/output error"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "killed by signal"),
    ],
)
def test_a_piece_that_fails_three_times_names_its_photographs(error, words):
    store = Kept(NOTHING)
    with pytest.raises(InputError, match=rf"4 rows could not be made in 3 tries \(e, f, g, h\): .*{words}"):
        run("abcdefghij", store, [None, error, error, error])
    assert len(store.kept) == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), InputError("bad"), FileNotFoundError("gone")])
def test_what_will_not_pass_is_not_tried_again(error):
    with pytest.raises(type(error)):
        run("abcdefghij", Kept(NOTHING), [error])


def test_pieces_have_whole_batches():
    assert of_photographs(Execution(ExecutorParams(photographs=256)), 100).size == 300
    assert of_photographs(Execution(ExecutorParams(photographs=256)), 32).size == 256


@dataclass(frozen=True)
class LettersAsEmbeddings:
    """Stands for the maker of embeddings: the embedding of a photograph is the last letter of its id."""

    checkpoint: object
    photographs: Photographs
    loader: object
    compute: object
    keys: tuple
    description: dict

    def __call__(self, pieces):
        for rows in pieces:
            ids = tuple(self.photographs.places[row][1] for row in rows)
            values = np.array([[[ord(each[-1])]] for each in ids], np.float32)
            yield Features(ids, values, tuple(self.keys[row] for row in rows), self.description)


def folder(*image_ids):
    """List photographs whose bytes are their last letter."""
    columns = {"image_id": image_ids, "file": image_ids, "sha256": [each[-1] for each in image_ids]}
    return ListedPhotographs(ImageFolder(None, "", {}), pd.DataFrame(columns, dtype=str), DataParams())


class TestNewPhotographs:
    @pytest.fixture
    def embed(self, monkeypatch):
        """Return a function that runs the node for photographs of some folders."""
        monkeypatch.setattr("skinbit.embedding.makers.EmbeddingMaker", LettersAsEmbeddings)
        monkeypatch.setattr("skinbit.embedding.inference.embedding_key", lambda checkpoint, *_: checkpoint)

        def embed(store, *folders, model="a model"):
            monkeypatch.setattr(nodes, "open_listed", lambda *_: Photographs(folders))
            settings = dict.fromkeys(("folders", "new_photographs", "known_photographs", "cluster", "data"))
            gathered = nodes.embed_new(
                checkpoint=model,
                feature_cache=lambda name, file: store,
                loader=LoaderParams(batch_size=3),
                compute=ComputeParams(device="cpu", threads=1),
                executor=Execution(ExecutorParams(photographs=3)),
                **settings,
            )
            found = read(gathered)
            return found, "".join(chr(int(value)) for value in found.values[:, 0, 0])

        return embed

    def test_have_their_own_embedding_in_the_order_of_folders(self, embed):
        store = Kept(NOTHING)
        found, letters = embed(store, folder("1a", "2b"), folder("3c"))
        assert (found.image_ids, letters) == (("1a", "2b", "3c"), "abc")
        assert [piece.image_ids for piece in store.kept] == [("1a", "2b"), ("3c",)]

    def test_that_are_copies_are_embedded_once_even_in_another_folder(self, embed):
        store = Kept(NOTHING)
        assert embed(store, folder("1a", "2b", "3a"), folder("4b", "5c"))[1] == "ababc"
        assert [piece.image_ids for piece in store.kept] == [("1a", "2b"), ("5c",)]

    def test_of_which_nine_in_ten_were_seen_embed_only_the_others(self, embed, caplog):
        seen, _ = embed(Kept(NOTHING), folder(*(f"{letter}" for letter in "abcdefghi")))
        store = Kept(seen)
        caplog.set_level("INFO")
        assert embed(store, folder(*"ixhgfedcba"))[1] == "ixhgfedcba"
        assert [piece.image_ids for piece in store.kept] == [("x",)]
        assert "embeddings of 10 photographs: 9 from the cache, 1 to compute" in caplog.text

    def test_of_another_model_are_embedded_again(self, embed):
        store = Kept(embed(Kept(NOTHING), folder("1a"))[0])
        embed(store, folder("1a"), model="another model")
        assert len(store.kept) == 1

    def test_may_be_none(self, embed):
        assert embed(Kept(NOTHING))[0].values.shape == (0, 1, 1)


def test_settings_of_the_executor_change_no_fingerprint(monkeypatch):
    found = []
    for photographs in (16, 256):
        parameters = active_parameters().model_copy(update={"executor": ExecutorParams(photographs=photographs)})
        monkeypatch.setattr(hooks, "active_parameters", lambda chosen=parameters: chosen)
        found.append((hooks._fingerprint(None, "parameters"), study_settings(parameters)))
    assert found[0] == found[1]
    assert not hooks._counts({"executor": ExecutorDataset()}, "executor")


def test_what_makes_pieces_reaches_other_processes():
    maker = KeypointMaker(Photographs((folder("1a"),)), GeometryParams(), 1, ("a",), {})
    assert pickle.loads(pickle.dumps(maker)).keys == ("a",)
