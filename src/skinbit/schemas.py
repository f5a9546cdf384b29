"""Contracts of the tables, which the catalog checks on load and save."""

import pandera.pandas as pa

from skinbit.data.problems import KINDS
from skinbit.data.splits import TEST, TEST_FOLD, TRAIN
from skinbit.matching.methods import CUTS, METHODS

Problems = pa.DataFrameSchema(
    {
        "kind": pa.Column(str, pa.Check.isin(list(KINDS))),
        "file": pa.Column(str),
        "row": pa.Column("int64", pa.Check.ge(1)),
        "image_id": pa.Column(str),
        "problem": pa.Column(str, pa.Check.str_length(min_value=1)),
        "remedy": pa.Column(str),
    },
    strict=True,
    name="problems",
)

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
