"""Copies of a folder of photographs: what each change does to pixels, and what becomes of files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import photographs
from benchmarks.photographs import (
    CHANGES,
    IMAGES,
    METADATA,
    Pixels,
    clahe,
    lesion_crop,
    lesion_square,
    main,
    merit,
    recode,
    shades_of_grey,
    vignette,
)

SKIN, BROWN = (215, 170, 150), (110, 60, 50)
HEIGHT, WIDTH = 150, 200
ROWS = b"lesion_id,image_id\r\nL1,a\r\nL1,b\n"


def distances(x: float, y: float, scale: float = 1) -> np.ndarray:
    rows, columns = np.mgrid[: round(HEIGHT * scale), : round(WIDTH * scale)]
    return np.hypot(columns - x * scale, rows - y * scale) / scale


def with_disc(x: float = 100, y: float = 75, radius: float = 20, scale: float = 1) -> Pixels:
    """Draw a dark disc on light skin, with noise as photographs have it."""
    inside = (distances(x, y, scale) < radius)[..., None]
    noise = np.random.default_rng(0).normal(0, 3, (*inside.shape[:2], 3))
    return np.clip(np.where(inside, BROWN, SKIN) + noise, 0, 255).astype(np.uint8)


def with_circle(photograph: Pixels, radius: float = 95) -> Pixels:
    """Darken what a dermoscope does not see."""
    return np.where((distances(100, 75) < radius)[..., None], photograph, 5).astype(np.uint8)


def share_dark(photograph: Pixels) -> float:
    return float((photograph.mean(axis=2) < 120).mean())


class TestShadesOfGrey:
    @given(tint=st.tuples(*[st.floats(0.5, 1)] * 3))
    def test_a_tint_of_the_light_is_removed(self, tint):
        photograph = with_disc()
        tinted = np.rint(photograph * np.array(tint)).astype(np.uint8)
        plain, mended = (shades_of_grey(each).astype(float) for each in (photograph, tinted))
        scale = mended.mean() / plain.mean()  # a dimmer light stays dimmer
        assert np.abs(mended - scale * plain).max() < 3

    def test_the_light_becomes_grey_and_keeps_its_brightness(self):
        photograph = with_disc()
        before, after = (
            np.mean(each.astype(float) ** 6, axis=(0, 1)) ** (1 / 6)
            for each in (photograph, shades_of_grey(photograph))
        )
        np.testing.assert_allclose(after, np.sqrt(np.mean(before**2)), rtol=0.01)

    def test_the_dark_border_has_no_say(self):
        photograph = with_disc()
        inside = distances(100, 75) < 80
        reddish = with_circle(photograph)
        reddish[~(distances(100, 75) < 95)] = (60, 0, 0)
        np.testing.assert_allclose(
            shades_of_grey(reddish)[inside].astype(int), shades_of_grey(photograph)[inside], atol=1
        )

    @pytest.mark.parametrize("colour", [(0, 0, 0), (200, 0, 0), (255, 255, 255)])
    def test_plain_photographs_stay_finite(self, colour):
        photograph = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
        assert (shades_of_grey(photograph)[..., np.array(colour) == 0] == 0).all()


class TestVignette:
    def test_is_what_lies_outside_the_circle(self):
        outside = vignette(with_circle(with_disc()))
        assert outside[distances(100, 75) > 96].all()
        assert not outside[distances(100, 75) < 85].any()

    def test_a_dark_lesion_is_none(self):
        assert not vignette(with_disc(radius=60) // 3).all()
        dark = with_disc(radius=40)
        dark[distances(100, 75) < 40] = 10
        assert not vignette(dark).any()


class TestLesionCrop:
    @pytest.mark.parametrize("scale", [1, 3])
    @pytest.mark.parametrize(("x", "y"), [(100, 75), (80, 60), (130, 90)])
    def test_a_disc_is_found_with_its_margin(self, x, y, scale):
        square = lesion_square(with_disc(x, y, 20, scale))
        centre = np.array([square.left, square.top]) + square.side / 2
        np.testing.assert_allclose(centre / scale, (x, y), atol=3)
        assert square.side / scale == pytest.approx(1.3 * 40, abs=6)

    def test_a_disc_is_found_in_the_circle_of_a_dermoscope(self):
        assert lesion_square(with_circle(with_disc())).side == pytest.approx(1.3 * 40, abs=6)

    def test_two_zooms_of_a_disc_become_equally_large(self):
        near, far = with_disc(95, 70, 48), with_disc(110, 80, 16)
        assert share_dark(near) > 8 * share_dark(far)
        assert share_dark(lesion_crop(near)) == pytest.approx(share_dark(lesion_crop(far)), rel=0.2)

    @given(x=st.floats(0, WIDTH), y=st.floats(0, HEIGHT), radius=st.floats(1, 200))
    def test_the_square_lies_in_the_photograph_and_is_never_tiny(self, x, y, radius):
        square = lesion_square(with_disc(x, y, radius))
        assert HEIGHT / 4 <= square.side <= HEIGHT
        assert square.left >= 0
        assert square.top >= 0
        assert square.left + square.side <= WIDTH + 1e-9
        assert square.top + square.side <= HEIGHT + 1e-9

    @pytest.mark.parametrize(
        "implausible",
        [
            pytest.param(with_disc(radius=0), id="no lesion"),
            pytest.param(with_disc(radius=110), id="nearly all"),
            pytest.param(with_disc(-200, 75, 330), id="from border to border"),
            pytest.param(np.zeros((HEIGHT, WIDTH, 3), np.uint8), id="black"),
        ],
    )
    def test_without_a_plausible_lesion_the_middle_is_cropped(self, implausible):
        assert lesion_square(implausible) == photographs.Square(25, 0, 150)

    @pytest.mark.parametrize(
        ("part", "is_plausible"),
        [
            ((slice(60, 90), slice(80, 120)), True),
            ((slice(70, 80), slice(95, 105)), False),  # a speck
            ((slice(5, 145), slice(5, 195)), False),  # nearly all
            ((slice(0, 150), slice(90, 200)), False),  # most of the border
        ],
    )
    def test_an_outline_has_merit_by_its_size_and_place(self, part, is_plausible):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[part] = True
        lab = np.where(mask[..., None], 20, 70).repeat(3, axis=2).astype(np.float32)
        assert (merit(mask, lab, np.ones_like(mask)) > 0) == is_plausible

    @pytest.mark.parametrize("shape", [(150, 200), (200, 150), (450, 600), (1, 1), (10, 40)])
    def test_crops_have_the_side_of_the_longer_one(self, shape):
        assert lesion_crop(np.full((*shape, 3), 128, np.uint8)).shape == (max(shape), max(shape), 3)


def test_clahe_raises_contrast_and_keeps_grey_grey():
    grey = np.random.default_rng(0).normal(120, 5, (HEIGHT, WIDTH, 1)).repeat(3, axis=2).astype(np.uint8)
    equalised = clahe(grey)
    assert equalised.std() > 1.5 * grey.std()
    assert np.ptp(equalised.astype(int), axis=2).max() <= 2


def test_recoding_changes_no_pixel():
    photograph = with_disc()
    assert (recode(photograph) == photograph).all()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    (folder / IMAGES).mkdir(parents=True)
    (folder / METADATA).write_bytes(ROWS)
    for number, name in enumerate(("a.jpg", "b.JPG")):
        Image.fromarray(with_disc(radius=20 + 10 * number)).save(folder / IMAGES / name, "JPEG")
    return folder


@pytest.fixture
def one_process(monkeypatch):
    """Work in the process of the test: to start others takes longest."""

    class Pool:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, function, names, chunksize):
            return map(function, names)

    monkeypatch.setattr(photographs, "ProcessPoolExecutor", Pool)


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["photographs", *map(str, arguments)])
    main()


def refusal(monkeypatch, *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    return str(ended.value)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestCopy:
    def test_processes_write_every_photograph_under_its_name_and_the_metadata_as_it_is(
        self, monkeypatch, raw, tmp_path
    ):
        before, out = everything_in(raw), tmp_path / "new" / "out"
        run(monkeypatch, "--change", "recode", "--raw", raw, "--out", out)
        copied = everything_in(out)
        assert set(copied) == {METADATA, f"{IMAGES}/a.jpg", f"{IMAGES}/b.JPG"}
        assert copied[METADATA] == ROWS
        assert everything_in(raw) == before
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        for name in ("a.jpg", "b.JPG"):
            with Image.open(raw / IMAGES / name) as first, Image.open(out / IMAGES / name) as second:
                assert second.format == "JPEG"
                assert {layer[1:3] for layer in second.layer} == {(1, 1)}  # chroma is not subsampled
                difference = np.abs(np.asarray(first).astype(int) - np.asarray(second))
                assert difference.mean() < 2

    @pytest.mark.usefixtures("one_process")
    @pytest.mark.parametrize("change", CHANGES)
    def test_files_hold_what_the_change_makes_of_pixels(self, monkeypatch, raw, tmp_path, change):
        run(monkeypatch, "--change", change, "--raw", raw, "--out", tmp_path / "out")
        with Image.open(raw / IMAGES / "a.jpg") as before, Image.open(tmp_path / "out" / IMAGES / "a.jpg") as after:
            expected = CHANGES[change](np.asarray(before)).astype(int)
            assert np.abs(expected - np.asarray(after)).mean() < 2

    @pytest.mark.usefixtures("one_process")
    def test_an_empty_folder_is_filled(self, monkeypatch, raw, tmp_path):
        (tmp_path / "out").mkdir()
        run(monkeypatch, "--change", "recode", "--raw", raw, "--out", tmp_path / "out")
        assert (tmp_path / "out" / METADATA).exists()

    def test_a_folder_with_something_in_it_is_refused_and_left_alone(self, monkeypatch, raw, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "kept").write_text("kept")
        assert "no empty folder" in refusal(monkeypatch, "--change", "recode", "--raw", raw, "--out", tmp_path / "out")
        assert everything_in(tmp_path / "out") == {"kept": b"kept"}

    @pytest.mark.parametrize("place", [".", "images", "images/out"])
    def test_the_originals_get_no_company(self, monkeypatch, raw, place):
        before = everything_in(raw)
        assert "is inside" in refusal(monkeypatch, "--change", "recode", "--raw", raw, "--out", raw / place)
        assert everything_in(raw) == before

    @pytest.mark.usefixtures("one_process")
    def test_every_broken_photograph_is_named_and_nothing_is_left(self, monkeypatch, raw, tmp_path):
        (raw / IMAGES / "b.JPG").write_bytes(b"no photograph")
        (raw / IMAGES / "c.jpg").mkdir()
        told = refusal(monkeypatch, "--change", "recode", "--raw", raw, "--out", tmp_path / "out")
        assert "2 photographs that cannot be used" in told
        assert "b.JPG: not a JPEG or PNG image" in told
        assert "c.jpg" in told
        assert [path.name for path in tmp_path.iterdir()] == ["raw"]

    def test_missing_metadata_missing_photographs_and_other_formats_are_told(self, monkeypatch, raw, tmp_path):
        arguments = ("--change", "recode", "--raw", raw, "--out", tmp_path / "out")
        Image.fromarray(with_disc()).save(raw / IMAGES / "c.png")
        assert "c.png" in refusal(monkeypatch, *arguments)
        for path in (raw / IMAGES).iterdir():
            path.unlink()
        assert "no photographs" in refusal(monkeypatch, *arguments)
        (raw / METADATA).unlink()
        assert METADATA in refusal(monkeypatch, *arguments)
        assert not (tmp_path / "out").exists()
