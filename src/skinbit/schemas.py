"""Contracts of the tables: what the catalog checks on load and save, and what a raw metadata file must hold."""

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from skinbit.data.audit import KINDS, SEVERITIES
from skinbit.data.metadata import ROW
from skinbit.data.splits import TEST, TEST_FOLD, TRAIN
from skinbit.errors import ProblemList
from skinbit.matching.methods import CUTS, METHODS

# Letters, digits and a few signs in any script; no path separators, drive letters or leading dots.
_SAFE_ID = r"^(?!\.)[^/\\:\x00-\x1f\x7f]{1,200}$"

_BLANK, _UNSAFE, _DOUBLED = "blank", "unsafe", "doubled"
_REMEDIES = {
    _BLANK: ("rows without an image_id", "fill them in, or remove the rows"),
    _UNSAFE: (
        "ids that cannot be used",
        "an id is a plain name without / \\ : or a leading dot, at most 200 characters; it never is a path",
    ),
    _DOUBLED: (
        "rows with an image_id that another row has",
        "keep one row per image; an image shows one lesion",
    ),
}

_RAW = pa.DataFrameSchema(
    {
        "image_id": pa.Column(
            str,
            [
                pa.Check(lambda ids: ids != "", name=_BLANK),
                pa.Check(lambda ids: (ids == "") | ids.str.match(_SAFE_ID), name=_UNSAFE),
                pa.Check(lambda ids: (ids == "") | ~ids.duplicated(keep=False), name=_DOUBLED),
            ],
        ),
        "lesion_id": pa.Column(str, pa.Check(lambda ids: (ids == "") | ids.str.match(_SAFE_ID), name=_UNSAFE)),
    }
)


def check_raw_metadata(table: pd.DataFrame) -> None:
    """Check the ids of a metadata table, all rows at once.

    Args:
        table: From :func:`skinbit.data.metadata.read_metadata`.

    Raises:
        InputError: If an image id is blank or doubled, or an id could be a path; lists rows and remedies.
    """
    try:
        _RAW.validate(table, lazy=True)
    except SchemaErrors as failures:
        problems = ProblemList()
        for case in failures.failure_cases.sort_values("index", kind="stable").itertuples():
            kind, remedy = _REMEDIES[str(case.check)]
            row = table.loc[case.index, ROW]
            problems.add(kind, f"row {row}: {case.column} {str(case.failure_case)!r}", remedy)
        problems.raise_if_any(str(table.attrs.get("source", "The metadata")))


Metadata = pa.DataFrameSchema(
    {
        "lesion_id": pa.Column(str, pa.Check.str_length(min_value=1)),
        "image_id": pa.Column(str, pa.Check.str_length(min_value=1), unique=True),
    },
    name="metadata",
)

Split = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, unique=True),
        "lesion_id": pa.Column(str),
        "subset": pa.Column(str, pa.Check.isin([TRAIN, TEST])),
        "fold": pa.Column("int64", pa.Check.ge(TEST_FOLD)),
    },
    checks=[
        pa.Check(
            lambda split: split.groupby("lesion_id")["fold"].nunique().max() == 1,
            name="each lesion is in one fold or the test subset",
        ),
        pa.Check(
            lambda split: ((split["fold"] == TEST_FOLD) == (split["subset"] == TEST)).all(),
            name="fold -1 is the test subset",
        ),
    ],
    strict=True,
    name="split",
)

Rejected = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str),
        "lesion_id": pa.Column(str),
        "reason": pa.Column(str, pa.Check.str_length(min_value=1)),
    },
    strict=True,
    name="rejected",
)

ImageIndex = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, unique=True),
        "file": pa.Column(str),
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "width": pa.Column("int64", pa.Check.ge(1)),
        "height": pa.Column("int64", pa.Check.ge(1)),
    },
    strict=True,
    name="image_index",
)

PixelHashes = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, unique=True),
        "pixels_sha256": pa.Column(str, pa.Check.str_length(64, 64)),
    },
    strict=True,
    name="pixel_hashes",
)

AuditFindings = pa.DataFrameSchema(
    {
        "finding": pa.Column(str, pa.Check.isin(list(KINDS))),
        "severity": pa.Column(str, pa.Check.isin(SEVERITIES)),
        **{f"{what}_{side}": pa.Column(str) for what in ("image", "lesion", "subset") for side in "ab"},
        "similarity": pa.Column(float, pa.Check.in_range(-1, 1), nullable=True),
        "detail": pa.Column(str, pa.Check.str_length(min_value=1)),
    },
    strict=True,
    name="audit",
)

Sweep = pa.DataFrameSchema(
    {
        "method": pa.Column(str, pa.Check.isin(list(METHODS))),
        "cut": pa.Column(float, pa.Check.in_range(-1, 2)),
        "tp": pa.Column("int64", pa.Check.ge(0)),
        "fp": pa.Column("int64", pa.Check.ge(0)),
        "f1": pa.Column(float, pa.Check.in_range(0, 1), nullable=True),
    },
    strict=True,
    name="sweep",
)

OperatingPoints = pa.DataFrameSchema(
    {
        "method": pa.Column(str, pa.Check.isin(list(CUTS))),
        "cut": pa.Column(float, pa.Check.in_range(-1, 2)),
        "tp": pa.Column("int64", pa.Check.ge(0)),
        "fp": pa.Column("int64", pa.Check.ge(0)),
    },
    strict=True,
    name="operating_points",
)

Shortlist = pa.DataFrameSchema(
    {"image_a": pa.Column(str), "image_b": pa.Column(str), "inliers": pa.Column("int64", pa.Check.ge(0))},
    strict=True,
    name="shortlist",
)

Clusters = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, unique=True),
        "lesion_id": pa.Column(str),
        "cluster_id": pa.Column("int64", pa.Check.ge(0)),
    },
    strict=True,
    name="clustered_images",
)
