"""Nodes: synthetic photographs for the demo and for tests."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from skinbit.config import SampleParams
from skinbit.data.synthetic import (
    CAPTURES_OF_ARCHIVE,
    CAPTURES_PER_LESION,
    Photograph,
    count_photographs,
    make_photographs,
)
from skinbit.errors import ProblemList

_OWN_FILES = re.compile(r"(.*/)?(SIMG_\d+\.jpg|\..*|Thumbs\.db)")
"""Names of its photographs, and of hidden files from the desktop or from a killed save."""
_MANIFEST = "synthetic.json"


def make_sample(raw_folder: list[str], sample: SampleParams, seed: int) -> tuple[Any, ...]:
    """Make synthetic photographs and their metadata, unless the folder has other files.

    Args:
        raw_folder: Names of the files in the folder.
        sample: Number of lesions, and size of the photographs.
        seed: Seed of all random numbers.

    Returns:
        A manifest that marks the folder as synthetic; JPEG files by name; the metadata; and, if there are any, the JPEG
        files of further lesions that are in no metadata.

    Raises:
        InputError: If the folder has files that this node did not make.
    """
    _refuse_foreign(raw_folder)
    photographs = _draw(sample, sample.n_lesions, seed, CAPTURES_PER_LESION)
    columns = ["lesion_id", "image_id", "anatom_site_general", "dx"]
    metadata = pd.DataFrame([[getattr(photograph, name) for name in columns] for photograph in photographs])
    metadata.columns = pd.Index(columns)
    manifest = {"made_by": "skinbit sample_data", "seed": seed, "sample": sample.model_dump()}
    made = (manifest, _files(photographs), metadata)
    if not sample.n_unlabelled:
        return made
    # Another seed, so that these lesions are not among the labelled ones.
    return *made, _files(_draw(sample, sample.n_unlabelled, unlabelled_seed(seed), CAPTURES_OF_ARCHIVE))


def unlabelled_seed(seed: int) -> int:
    """Return the seed of the photographs without metadata."""
    return seed + 1


def _draw(sample: SampleParams, n_lesions: int, seed: int, captures: Mapping[int, float]) -> list[Photograph]:
    """Return synthetic photographs in the order of their image ids."""
    from skinbit.data.progress import Progress

    total = count_photographs(n_lesions, seed, captures)
    made = make_photographs(n_lesions, seed, sample.width, sample.height, captures)
    bar = Progress(made, total=total, unit="image", desc="synthetic photographs")
    return sorted(bar, key=lambda photograph: photograph.image_id)


def _files(photographs: Iterable[Photograph]) -> dict[str, bytes]:
    return {f"{photograph.image_id}.jpg": photograph.jpeg for photograph in photographs}


def _refuse_foreign(names: list[str]) -> None:
    is_ours = _MANIFEST in names
    problems = ProblemList()
    for name in names:
        is_own_table = is_ours and (name.endswith(".csv") or name == _MANIFEST)
        if not is_own_table and not _OWN_FILES.fullmatch(name):
            problems.add(
                "files that sample_data did not make",
                name,
                "synthetic photographs are never written beside yours: unset SKINBIT_RAW_DIR, or set "
                "study.sample_data=false to use this folder",
            )
    problems.raise_if_any("The folder for synthetic photographs")
