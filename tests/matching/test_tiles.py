"""Tiles show every pair once, whatever their size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.pairs.tiles import look_at, side_of, similarity_tiles
from tests.matching.samples import limited, pools

some_bytes = st.integers(1, 24 * 35**2)


@given(pools(), some_bytes)
def test_every_pair_is_shown_once_and_bit_for_bit(pool, tile_bytes):
    pool = limited(pool[0], tile_bytes=tile_bytes)
    shown = np.zeros((len(pool), len(pool)), dtype=int)
    matrix = similarity_matrix(pool)
    for tile in similarity_tiles(pool):
        wanted = matrix[np.ix_(tile.rows, tile.columns)]
        if tile.is_diagonal:
            np.fill_diagonal(wanted, -np.inf)
        assert np.array_equal(tile.similarities, wanted)
        assert tile.similarities.size <= max(1, tile_bytes // 24)
        pairs, similarities = tile.pairs_where(np.ones(tile.similarities.shape, dtype=bool))
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert np.array_equal(similarities, matrix[tuple(pairs.T)])
        assert np.array_equal(tile.pairs(), similarities)
        shown[tuple(pairs.T)] += 1
    assert np.array_equal(shown, np.triu(np.ones_like(shown), 1))


@given(pools(), some_bytes)
def test_the_sides_of_all_tiles_show_every_image_with_every_other_one_once(pool, tile_bytes):
    pool = limited(pool[0], tile_bytes=tile_bytes)
    shown = np.full((len(pool), len(pool)), np.nan, dtype=np.float32)
    for tile in similarity_tiles(pool):
        for row, column, similarities in tile.sides():
            part = shown[row : row + similarities.shape[0], column : column + similarities.shape[1]]
            assert np.isnan(part).all()
            part[:] = similarities
    wanted = similarity_matrix(pool)
    np.fill_diagonal(wanted, -np.inf)
    assert np.array_equal(shown, wanted)


@given(pools(), some_bytes, st.integers(0, 99))
def test_of_chosen_places_only_pairs_are_given(pool, tile_bytes, seed):
    rng = np.random.default_rng(seed)
    for tile in similarity_tiles(limited(pool[0], tile_bytes=tile_bytes)):
        is_chosen = rng.random(tile.similarities.shape) < 0.5
        places = [
            [a, b] for i, a in enumerate(tile.rows) for j, b in enumerate(tile.columns) if is_chosen[i, j] and a < b
        ]
        assert tile.pairs_where(is_chosen)[0].tolist() == places


@pytest.mark.parametrize(("tile_bytes", "side"), [(1, 1), (24, 1), (24 * 9, 3), (2**26, 1672)])
def test_a_tile_takes_no_more_memory_than_it_may(tile_bytes, side):
    assert side_of(tile_bytes) == side


def test_every_observer_sees_every_tile():
    class Counting:
        n_pairs = 0

        def add(self, tile):
            self.n_pairs += len(tile.pairs())

    observers = [Counting(), Counting()]
    look_at(limited(Pool(np.eye(7, dtype=np.float32)), tile_bytes=100), iter(observers))
    assert [observer.n_pairs for observer in observers] == [21, 21]
