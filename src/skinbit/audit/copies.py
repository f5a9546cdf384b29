"""Copies: the same photograph under several image ids, as equal files or as equal pixels."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import pairwise

import pandas as pd

from skinbit.audit.findings import Finding
from skinbit.data.listed import ListedPhotographs
from skinbit.data.threads import map_in_order


def hash_pixels(photographs: ListedPhotographs) -> Iterator[tuple[str, str]]:
    """Yield the hashes of decoded photographs, which are equal for files with the same upright RGB pixels.

    Args:
        photographs: Photographs to hash.

    Yields:
        Image id, and SHA-256 of size and pixels, in order.

    Raises:
        InputError: If a photograph has changed since it was listed; names the first.
    """

    def digest(image_id: str) -> tuple[str, str]:
        image = photographs.decode(image_id)
        return image_id, hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()

    return map_in_order(digest, photographs.image_ids)


def find_copies(hashes: pd.DataFrame, lesion_of: Mapping[str, str]) -> list[Finding]:
    """Return the images that are the same photograph under several ids.

    Args:
        hashes: ``image_id, sha256, pixels_sha256``, for files and decoded photographs.
        lesion_of: Lesion of each image.

    Returns:
        ``identical_bytes`` and ``identical_pixels``; n copies are n - 1 pairs, which link all of them.
    """
    by_lesion = hashes.assign(lesion=hashes["image_id"].map(lesion_of)).sort_values(["lesion", "image_id"])
    # One of identical files represents all: the others are different files.
    different = by_lesion.drop_duplicates("sha256")
    return [
        *_link_copies(by_lesion, "sha256", "identical_bytes"),
        *_link_copies(different, "pixels_sha256", "identical_pixels"),
    ]


def _link_copies(by_lesion: pd.DataFrame, column: str, kind: str) -> Iterator[Finding]:
    doubled = by_lesion[by_lesion[column].duplicated(keep=False)]
    for _, copies in doubled.groupby(column):
        members = list(zip(copies["image_id"], copies["lesion"], strict=True))
        for (image_a, lesion_a), (image_b, lesion_b) in pairwise(members):
            of_one = lesion_a == lesion_b
            whose = "one lesion" if of_one else "two lesions"
            among = f", of {len(members)} copies" if len(members) > 2 else ""
            yield Finding(
                kind, "warning" if of_one else "error", (image_a, image_b), (lesion_a, lesion_b), f"{whose}{among}"
            )
