"""Nodes: synthetic photographs for the demo and for tests."""

import re
from typing import Any

import pandas as pd

from skinbit.config import SampleParams
from skinbit.errors import ProblemList

_OWN_FILES = re.compile(r"(.*/)?(SIMG_\d+\.jpg|\..*|Thumbs\.db)")
"""Its photographs; and hidden files, of the desktop or of a save that was killed."""
_MANIFEST = "synthetic.json"


def make_sample(
    raw_folder: list[str], sample: SampleParams, seed: int
) -> tuple[dict[str, Any], dict[str, bytes], pd.DataFrame]:
    """Make synthetic photographs and their metadata, unless the folder holds files of someone else.

    Args:
        raw_folder: Names of the files that are there already.
        sample: How many lesions, how large the photographs.
        seed: Of everything drawn.

    Returns:
        A manifest that says that the folder is synthetic; JPEG files by name; and the metadata.

    Raises:
        InputError: If the folder holds files that this node did not make.
    """
    from tqdm import tqdm

    from skinbit.data.synthetic import count_photographs, make_photographs

    _refuse_foreign(raw_folder)
    total = count_photographs(sample.n_lesions, seed)
    made = make_photographs(sample.n_lesions, seed, sample.width, sample.height)
    bar = tqdm(made, total=total, unit="image", desc="synthetic photographs", disable=None)
    photographs = sorted(bar, key=lambda photograph: photograph.image_id)
    columns = ["lesion_id", "image_id", "anatom_site_general", "dx"]
    metadata = pd.DataFrame([[getattr(photograph, name) for name in columns] for photograph in photographs])
    metadata.columns = pd.Index(columns)
    manifest = {"made_by": "skinbit sample_data", "seed": seed, "sample": sample.model_dump()}
    return manifest, {f"{p.image_id}.jpg": p.jpeg for p in photographs}, metadata


def _refuse_foreign(names: list[str]) -> None:
    is_ours = _MANIFEST in names
    problems = ProblemList()
    for name in names:
        is_own_table = is_ours and (name.endswith(".csv") or name == _MANIFEST)
        if not is_own_table and not _OWN_FILES.fullmatch(name):
            problems.add(
                "files that sample_data did not make",
                name,
                "synthetic photographs never go beside yours: unset SKINBIT_RAW_DIR, or set study.sample_data=false to "
                "use this folder as it is",
            )
    problems.raise_if_any("The folder for synthetic photographs")
