"""Small copies of photographs."""

import base64
import io

import pytest
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.data.decoding import decode_image
from skinbit.errors import InputError
from skinbit.report.thumbnails import make_thumbnails, shrink, within_size

MAX_PIXELS = 10_000_000


def photograph(width, height, colour=(180, 120, 90), suffix="JPEG", **options):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format=suffix, **options)
    return buffer.getvalue()


def opened(address):
    assert address.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.fixture
def photographs(tmp_path):
    """Five photographs, 0.jpg to 4.jpg, each of a grey of its own."""
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(60, 40, (40 * number,) * 3))
    return list_photographs(tmp_path)


def thumbnail(content, side):
    return shrink(decode_image(content, MAX_PIXELS, side), side)


class TestOne:
    @pytest.mark.parametrize(
        ("size", "small"), [((900, 600), (224, 149)), ((300, 2000), (34, 224)), ((50, 40), (50, 40))]
    )
    def test_the_longer_side_shrinks_to_the_limit_and_small_ones_stay(self, size, small):
        assert opened(thumbnail(photograph(*size), 224)).size == small

    def test_it_is_upright_and_carries_no_metadata(self):
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "name of a patient"
        small = opened(thumbnail(photograph(400, 200, exif=exif), 100))
        assert small.size == (50, 100)
        assert not small.getexif()

    def test_equal_bytes_give_equal_text(self):
        content = photograph(300, 200, suffix="PNG")
        assert thumbnail(content, 64) == thumbnail(content, 64)


class TestMany:
    def test_each_id_gets_its_own_photograph_in_the_order_asked_for(self, photographs):
        made = list(make_thumbnails(photographs, ["3", "0", "4"], 32))
        assert [image_id for image_id, _ in made] == ["3", "0", "4"]
        assert [opened(address).getpixel((5, 5))[0] for _, address in made] == pytest.approx([120, 0, 160], abs=3)

    @pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no image")])
    def test_one_that_is_gone_or_damaged_is_named_with_a_remedy(self, photographs, tmp_path, spoil):
        spoil(tmp_path / "2.jpg")
        with pytest.raises(InputError, match=r"The photograph 2\.jpg can no longer .*\n.*Remedy.*data_split"):
            list(make_thumbnails(photographs, ["1", "2"], 32))


class TestWithinSize:
    def test_the_first_are_taken_as_long_as_they_fit(self):
        thumbnails = {"b": "x" * 400_000, "a": "x" * 600_000, "c": "x"}
        assert list(within_size(thumbnails, 1.0)) == ["b", "a"]
        assert list(within_size(thumbnails, 0.5)) == ["b"]
        assert within_size(thumbnails, 0.1) == {}
