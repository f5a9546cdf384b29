"""What the synthetic photographs promise: reproducible, independent, consistent, hard for raw pixels."""

import itertools
import re
from collections import Counter
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from skinbit.data.synthetic import (
    CAPTURES_OF_ARCHIVE,
    CAPTURES_PER_LESION,
    Photograph,
    count_photographs,
    draw_capture,
    draw_identity,
    make_photographs,
    render,
)
from skinbit.data.synthetic.capture import MAX_OFFSET, MAX_PULL, MAX_ZOOM

N_LESIONS = 40
SIDE = 16


@pytest.fixture(scope="module")
def photographs() -> list[Photograph]:
    return list(make_photographs(N_LESIONS, seed=0))


def test_same_seed_gives_same_bytes() -> None:
    assert list(make_photographs(2, seed=3)) == list(make_photographs(2, seed=3))


def test_other_seed_gives_other_bytes() -> None:
    first, second = ({p.jpeg for p in make_photographs(2, seed=seed)} for seed in (3, 4))
    assert not first & second


def test_global_seed_has_no_influence() -> None:
    np.random.seed(0)
    first = list(make_photographs(2, seed=3))
    np.random.seed(1)
    assert list(make_photographs(2, seed=3)) == first


def test_every_lesion_has_two_to_four_photographs(photographs: list[Photograph]) -> None:
    n_captures = Counter(p.lesion_id for p in photographs)
    assert len(n_captures) == N_LESIONS
    assert set(n_captures.values()) == {2, 3, 4}


def test_an_archive_has_fewer_photographs_of_a_lesion() -> None:
    few, many = (count_photographs(1000, 0, captures) for captures in (CAPTURES_OF_ARCHIVE, CAPTURES_PER_LESION))
    assert 1650 < few < 1850
    assert many > 2400


@pytest.mark.parametrize("captures", [CAPTURES_PER_LESION, CAPTURES_OF_ARCHIVE])
def test_count_agrees_with_what_is_made(captures: dict[int, float]) -> None:
    made = make_photographs(8, 0, SIDE, SIDE, captures)
    assert count_photographs(8, 0, captures) == len(list(made))


def test_metadata_is_constant_within_a_lesion(photographs: list[Photograph]) -> None:
    rows = {(p.lesion_id, p.anatom_site_general, p.dx) for p in photographs}
    assert len(rows) == N_LESIONS


def test_image_ids_are_unique_and_opaque(photographs: list[Photograph]) -> None:
    by_id = sorted(photographs, key=lambda p: p.image_id)
    assert len({p.image_id for p in photographs}) == len(photographs)
    assert all(re.fullmatch(r"SIMG_\d{7}", p.image_id) for p in photographs)
    n_neighbours = sum(a.lesion_id == b.lesion_id for a, b in itertools.pairwise(by_id))
    assert n_neighbours < 0.05 * len(photographs)


def test_jpegs_decode_to_the_size_asked_for() -> None:
    for p in make_photographs(2, seed=0, width=64, height=48):
        image = Image.open(BytesIO(p.jpeg))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))


def test_lesion_does_not_depend_on_the_number_of_captures() -> None:
    def first_captures(n_captures: int) -> list[tuple[str, bytes]]:
        made = list(make_photographs(2, seed=0, captures={n_captures: 1.0}))
        return [(p.dx, p.jpeg) for p in made[::n_captures]]

    assert first_captures(2) == first_captures(4)


def test_same_lesion_and_capture_render_the_same() -> None:
    identities = [draw_identity(np.random.default_rng(1)) for _ in range(2)]
    captures = [draw_capture(np.random.default_rng(2)) for _ in range(2)]
    first, second = map(render, identities, captures)
    assert identities[0] == identities[1]
    assert captures[0] == captures[1]
    assert first.tobytes() == second.tobytes()
    assert (first.mode, first.size) == ("RGB", (200, 150))


@pytest.mark.parametrize("rotation", np.linspace(0, np.pi, 5))
def test_no_capture_sees_past_the_map(rotation: float) -> None:
    capture = draw_capture(np.random.default_rng(0))
    widest = replace(
        capture, zoom=1.0, rotation=rotation, offset=(MAX_OFFSET, MAX_OFFSET), pull=(MAX_PULL, MAX_PULL), vignette=2.0
    )
    pixels = np.asarray(render(draw_identity(np.random.default_rng(0)), widest))
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1]].max(axis=-1).min() > 50


def test_captures_span_the_zoom_and_are_mostly_held_upright() -> None:
    captures = [draw_capture(np.random.default_rng(seed)) for seed in range(400)]
    zooms, rotations = (np.array([getattr(capture, name) for capture in captures]) for name in ("zoom", "rotation"))
    assert zooms.min() >= 1
    assert 0.85 * MAX_ZOOM < zooms.max() <= MAX_ZOOM
    assert 0.7 < (np.abs(rotations) < np.pi / 6).mean() < 0.95


def test_light_from_the_other_side_inverts_creases_only() -> None:
    identity = replace(draw_identity(np.random.default_rng(1)), texture=0.1)
    capture = replace(draw_capture(np.random.default_rng(2)), noise=0.0, blur=0.0)
    flat, left, right = (
        np.asarray(render(identity, replace(capture, relief=relief)), dtype=float) for relief in (0.0, 0.4, -0.4)
    )
    raised, lowered = left - flat, right - flat
    assert np.abs(raised).mean() > 2
    assert np.corrcoef(raised.ravel(), lowered.ravel())[0, 1] < -0.9


def test_hairs_of_the_skin_are_in_every_photograph() -> None:
    identity, bare = (replace(draw_identity(np.random.default_rng(1)), n_hairs=n) for n in (60, 0))
    for seed in range(3):
        capture = replace(draw_capture(np.random.default_rng(seed)), noise=0.0)
        with_hairs, without = (np.asarray(render(each, capture), dtype=float) for each in (identity, bare))
        assert (without - with_hairs).max() > 30


@pytest.mark.parametrize("is_centred", [False, True])
def test_raw_pixels_do_not_match_lesions(photographs: list[Photograph], is_centred: bool) -> None:
    pixels = np.stack([_thumbnail(p) for p in photographs])
    pixels -= is_centred * pixels.mean(axis=1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    lesion_ids = np.array([p.lesion_id for p in photographs])
    assert 0 < _best_pairwise_f1(pixels @ pixels.T, lesion_ids) < 0.3


def test_best_pairwise_f1_by_hand() -> None:
    similarity = np.array([[1, 0.9, 0.5], [0.9, 1, 0.7], [0.5, 0.7, 1]])
    assert _best_pairwise_f1(similarity, np.array(["a", "a", "b"])) == 1
    # Pairs from the most similar: wrong, right, wrong; the best threshold takes two: F1 = 2 * 1 / (2 + 1).
    assert _best_pairwise_f1(similarity, np.array(["b", "a", "a"])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_lesions": 0}, "n_lesions is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"width": 15}, "width is 15"),
        ({"height": 15}, "height is 15"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_photographs(**{"n_lesions": 1, "seed": 0, **arguments})


def _thumbnail(p: Photograph) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(p.jpeg)).resize((SIDE, SIDE)), dtype=np.float64).ravel()


def _best_pairwise_f1(similarity: np.ndarray, lesion_ids: np.ndarray) -> float:
    i, j = np.triu_indices(len(similarity), k=1)
    is_positive = (lesion_ids[i] == lesion_ids[j])[np.argsort(-similarity[i, j])]
    n_predicted = np.arange(1, len(is_positive) + 1)
    return float((2 * np.cumsum(is_positive) / (n_predicted + is_positive.sum())).max())
