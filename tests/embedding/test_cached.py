"""Embeddings that earlier runs have computed are not computed again."""

import numpy as np
import pandas as pd
import pytest

from skinbit.config import DataParams
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.embedding.cached import embed_missing
from skinbit.embedding.tables import Features

DESCRIPTION = {"embedding": "of a model"}
NOTHING = Features((), np.empty((0, 1, 1), np.float32), (), {})


def photographs(*folders):
    """Make photographs whose bytes are their last letter."""
    return Photographs(
        tuple(
            ListedPhotographs(
                ImageFolder(None, "", {}),
                pd.DataFrame({"image_id": image_ids, "file": image_ids, "sha256": [each[-1] for each in image_ids]}),
                DataParams(),
            )
            for image_ids in folders
        )
    )


@pytest.fixture
def embed():
    """Return a function that embeds a photograph as the number of its letter, and remembers what it was asked for."""

    def embed(source):
        embed.asked.append(source.image_ids)
        return np.array([[[ord(image_id[-1])]] for image_id in source.image_ids], np.float32)

    embed.asked = []
    return embed


def letters(features):
    return [chr(int(value)) for value in features.values[:, 0, 0]]


def test_each_photograph_has_its_own_embedding_in_the_order_of_folders(embed):
    found = embed_missing(photographs(["1a", "2b"], ["3c"]), DESCRIPTION, NOTHING, embed)
    assert found.image_ids == ("1a", "2b", "3c")
    assert letters(found) == ["a", "b", "c"]
    assert embed.asked == [["1a", "2b"], ["3c"]]


def test_a_copy_is_embedded_once_even_in_another_folder(embed):
    found = embed_missing(photographs(["1a", "2b", "3a"], ["4b", "5c"]), DESCRIPTION, NOTHING, embed)
    assert letters(found) == ["a", "b", "a", "b", "c"]
    assert embed.asked == [["1a", "2b"], ["5c"]]


def test_what_is_stored_is_not_embedded_again(embed, caplog):
    stored = embed_missing(photographs(["1a", "2b"]), DESCRIPTION, NOTHING, embed)
    caplog.set_level("INFO")
    found = embed_missing(photographs(["2c", "1b", "0a"]), DESCRIPTION, stored, embed)
    assert letters(found) == ["c", "b", "a"]
    assert embed.asked[1:] == [["2c"]]
    assert "2 embeddings from the cache, 1 to compute" in caplog.text


def test_embeddings_of_another_model_are_not_used(embed):
    stored = embed_missing(photographs(["1a"]), {"embedding": "of another model"}, NOTHING, embed)
    embed_missing(photographs(["1a"]), DESCRIPTION, stored, embed)
    assert embed.asked == [["1a"], ["1a"]]


def test_no_photographs_have_no_embeddings(embed):
    assert embed_missing(photographs(), DESCRIPTION, NOTHING, embed).values.shape == (0, 1, 1)
