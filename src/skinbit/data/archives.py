"""The tables of public archives: their columns under our names, and why some of them cannot make a study."""

import difflib
import re
from typing import NamedTuple

from skinbit.data.ids import printable

NEEDED = ("lesion_id", "image_id")

ALIASES = {
    "image": "image_id",  # ISIC 2018 (lesion groupings) and 2019: challenge.isic-archive.com/data/
    "isic_id": "image_id",  # the ISIC archive's exports, of HIBA and MILK10k too: github.com/ImageMarkup/isic-cli
    "image_name": "image_id",  # ISIC 2020 (ground truth, v2): challenge.isic-archive.com/data/#2020
    "bcn_filename": "image_id",  # BCN20000, with suffixes: doi.org/10.6084/m9.figshare.24140028
    "img_id": "image_id",  # PAD-UFES-20, with suffixes: data.mendeley.com/datasets/zr7vgbcyr2/1
    "localization": "anatom_site_general",  # HAM10000: doi.org/10.7910/DVN/DBW86T
    "anatom_site_general_challenge": "anatom_site_general",  # ISIC 2020, as above
}
"""Column names of public archives and our names. If both are present, ours is used."""


class _Table(NamedTuple):
    """A published table that cannot make a study as it is."""

    name: str
    columns: frozenset[str]
    lacks: str
    remedy: str


def _table(name: str, columns: str, lacks: str, remedy: str) -> _Table:
    return _Table(name, frozenset(columns.split()), lacks, remedy)


_NO_LESION = "does not say which photographs show one lesion"
_ARCHIVE = "`uvx --from isic-cli isic metadata download --collections NUMBER --outfile data.csv` makes a table with it"
_GROUP = "its photographs can be grouped (docs/clustering.md), but no study can be made of them"

_TABLES = (
    _table(
        "the list of duplicates of ISIC 2020",  # challenge.isic-archive.com/data/#2020
        "image_name_1 image_name_2",
        "has two photographs per row, and no lesions",
        "take ISIC_2020_Training_GroundTruth_v2.csv from the same place, which has lesion_id",
    ),
    _table(
        "the first table of ISIC 2020 (ISIC_2020_Training_GroundTruth.csv, Kaggle's train.csv)",  # as above
        "image_name patient_id target",
        _NO_LESION,
        "take ISIC_2020_Training_GroundTruth_v2.csv from challenge.isic-archive.com/data/#2020, which has lesion_id",
    ),
    _table(
        "the test table of ISIC 2020",  # Kaggle's test.csv
        "image_name patient_id",
        _NO_LESION,
        f"take the training table, ISIC_2020_Training_GroundTruth_v2.csv; {_GROUP}",
    ),
    _table("the test table of ISIC 2020", "image patient", _NO_LESION, f"take the training table of v2; {_GROUP}"),
    _table(
        "the ground truth of ISIC 2018 (task 3)",  # challenge.isic-archive.com/data/#2018
        "image MEL NV AKIEC",
        _NO_LESION,
        "take ISIC2018_Task3_Training_LesionGroupings.csv from the same place, or HAM10000_metadata.csv",
    ),
    _table(
        "the ground truth of ISIC 2019",  # challenge.isic-archive.com/data/#2019
        "image MEL NV SCC UNK",
        _NO_LESION,
        "take ISIC_2019_Training_Metadata.csv from the same place, which has lesion_id",
    ),
    _table(
        "the test table of ISIC 2019",  # as above
        "image age_approx anatom_site_general sex",
        _NO_LESION,
        f"take ISIC_2019_Training_Metadata.csv; {_GROUP}",
    ),
    _table(
        "the ground truth of ISIC 2017",  # challenge.isic-archive.com/data/#2017
        "image_id melanoma seborrheic_keratosis",
        _NO_LESION,
        f"{_ARCHIVE} where the archive knows the lesions",
    ),
    _table(
        "the metadata of ISIC 2017",  # as above
        "image_id age_approximate sex",
        _NO_LESION,
        f"{_ARCHIVE} where the archive knows the lesions",
    ),
    _table(
        "the ground truth of MILK10k",  # challenge.isic-archive.com/data/#milk10k
        "lesion_id AKIEC SCCKA",
        "has one lesion per row, and no photographs",
        "take MILK10k_Training_Metadata.csv from the same place, which has lesion_id and isic_id",
    ),
    _table(
        "the table of Derm7pt",  # derm.cs.sfu.ca, github.com/jeremykawahara/derm7pt
        "case_num derm clinic",
        "has two photographs per row: a dermoscopic (derm) and a clinical one (clinic) of each case",
        "write one row for each photograph, with case_num as lesion_id and the file's name without suffix as image_id",
    ),
    _table(
        "the table of Fitzpatrick17k",  # github.com/mattgroh/fitzpatrick17k
        "md5hash fitzpatrick_scale",
        _NO_LESION,
        f"this was never published; {_GROUP}",
    ),
    _table(
        "a table of the ISIC archive",  # github.com/ImageMarkup/isic-cli; ISIC 2024: doi.org/10.34970/2024-slice-3d
        "isic_id",
        _NO_LESION,
        f"{_ARCHIVE} where the archive knows the lesions (of ISIC 2024, Kaggle's train-metadata.csv has it, too); else "
        + _GROUP,
    ),
)
"""The first table whose columns are all present is meant; the last one only if no other column can be the lesion."""

_ID = re.compile(r"(ISIC|HAM|BCN|PAT|IL)_\d+")
_NEAR = 0.75
_SHOWN = 40
"""Number of columns that are listed, and of characters of each, if a needed column is missing."""


def explain_lacking(header: list[str], lacking: list[str]) -> str:
    """Return a message about a table without needed columns: what it probably is, and the remedy.

    Args:
        header: Names of its columns.
        lacking: Names of ``NEEDED`` that it lacks, aliases included.
    """
    said = f"has no column {' and no column '.join(lacking)}"
    found = f"its columns are: {', '.join(printable(name[:_SHOWN]) for name in header[:_SHOWN])}"
    nearest = {name: near for name in lacking if (near := _nearest(name, header))}
    known = next((table for table in _TABLES if table.columns <= set(header)), None)
    if known and not (nearest and known is _TABLES[-1]):
        return f"{said}: this is {known.name}, which {known.lacks}.\n  Remedy: {known.remedy}."
    if any(_ID.fullmatch(name) for name in header):  # such as the tables of ISIC 2016
        remedy = f"write a header with lesion_id and image_id above it; {_ARCHIVE}"
        return f"{said}: its first line is a row, not a header; {found}.\n  Remedy: {remedy}."
    if len(header) == 1:
        blanks = ", but by blanks" if len(header[0].split()) > 1 else ""
        return (
            f"{said}: its first line is not divided by comma, semicolon, tab or pipe{blanks}; {found}.\n"
            "  Remedy: save it with one of these between the cells, and with the columns lesion_id and image_id."
        )
    remedy = "; ".join(
        f"rename {printable(nearest[name])!r} to {name}, if it is that" if name in nearest else f"name a column {name}"
        for name in lacking
    )
    names = ", ".join(name for name, ours in ALIASES.items() if ours == "image_id")
    return f"{said}; {found}.\n  Remedy: {remedy} (the image column may also be {names})."


def _nearest(name: str, header: list[str]) -> str | None:
    """Return the column whose name is most similar to a needed name or one of its aliases."""
    plain = {_plain(column): column for column in reversed(header) if column not in (*NEEDED, *ALIASES)}
    wanted = [name, *(alias for alias, ours in ALIASES.items() if ours == name), name.removesuffix("_id")]
    found = (difflib.get_close_matches(_plain(one), plain, n=1, cutoff=_NEAR) for one in wanted)
    return next((plain[match[0]] for match in found if match), None)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
