"""Contracts of tables, which the catalog checks on load and save."""

import math

import numpy as np
import pandas as pd
import pandera.pandas as pa

from skinbit.audit.findings import KINDS as FINDINGS
from skinbit.audit.findings import SEVERITIES
from skinbit.data.problems import KINDS
from skinbit.data.splits import TEST, TEST_FOLD, TRAIN
from skinbit.matching.methods import METHODS

_INSIDE = r"(?!\.)[^/\x00]+(/(?!\.)[^/\x00]+)*"
"""A file in the image folder or its subfolders, never elsewhere."""

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

CorrectedLabels = pa.DataFrameSchema(
    {
        "row": pa.Column("int64", unique=True),
        "image_id": pa.Column(str),
        "lesion_id": pa.Column(str),
        "corrected_lesion_id": pa.Column(str),
    },
    strict=True,
    name="corrected_labels",
)

Distractors = pa.DataFrameSchema(
    {"image_id": pa.Column(str, unique=True), "lesion_id": pa.Column(str, unique=True)},
    name="distractors",
)

Reliability = pa.DataFrameSchema(
    {
        "low": pa.Column(float, pa.Check.in_range(0, 1)),
        "high": pa.Column(float, pa.Check.in_range(0, 1)),
        "n_pairs": pa.Column("int64", pa.Check.ge(0)),
        "expected": pa.Column(float, pa.Check.ge(0)),
        "found": pa.Column("int64", pa.Check.ge(0)),
    },
    strict=True,
    name="reliability",
)

Contexts = pa.DataFrameSchema(
    {
        "experiment": pa.Column(str),
        "column": pa.Column(str),
        "rows": pa.Column("int64", pa.Check.ge(0)),
    },
    strict=True,
    name="contexts",
)

ImageIndex = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, unique=True),
        "file": pa.Column(str, pa.Check.str_matches(rf"^{_INSIDE}\Z")),
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "width": pa.Column("int64", pa.Check.ge(1)),
        "height": pa.Column("int64", pa.Check.ge(1)),
    },
    strict=True,
    name="image_index",
)

CheckedImages = ImageIndex.add_columns({"row": pa.Column("int64", pa.Check.ge(1), unique=True)})

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
        "finding": pa.Column(str, pa.Check.isin(list(FINDINGS))),
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


def _number(low: float = -math.inf, high: float = math.inf, *, required: bool = True, regex: bool = False) -> pa.Column:
    """Return the contract of a column of finite numbers in a range; undefined metrics are empty."""

    def fits(values: "pd.Series[float]") -> "pd.Series[bool] | bool":
        if not pd.api.types.is_numeric_dtype(values):
            return values.empty
        return values.isna() | (np.isfinite(values) & values.between(low, high))

    return pa.Column(
        checks=pa.Check(fits, name="finite number in range"), nullable=True, required=required, regex=regex
    )


def _count() -> pa.Column:
    """Return the contract of a column of whole numbers from 0; a table without rows has no types to check."""

    def fits(values: "pd.Series[int]") -> "pd.Series[bool] | bool":
        return values.empty or (pd.api.types.is_integer_dtype(values) and values.ge(0))

    return pa.Column(checks=pa.Check(fits, name="whole numbers from 0"))


def _text(pattern: str = r"[\s\S]*", *, unique: bool = False, required: bool = True) -> pa.Column:
    """Return the contract of a column of texts that match a pattern; a table without rows has no types to check."""

    def fits(values: "pd.Series[str]") -> "pd.Series[bool] | bool":
        if not pd.api.types.is_string_dtype(values):
            return values.empty
        return values.str.fullmatch(pattern)

    return pa.Column(checks=pa.Check(fits, name=f"text like {pattern}"), unique=unique, required=required)


Metrics = pa.DataFrameSchema(
    {"metric": _text(unique=True, required=False), "value": _number(required=False)},
    checks=[pa.Check(lambda table: table.empty or {"metric", "value"} <= {*table.columns}, name="metric and value")],
    name="results",
)
"""Metrics of a fold or of the test subset; an empty table if there are none yet."""

FoldMetrics = pa.DataFrameSchema(
    {
        "metric": _text(unique=True),
        r"^(fold_\d+|mean|std|test)$": _number(required=False, regex=True),
    },
    checks=[pa.Check(lambda table: {"mean", "std"} <= {*table.columns}, name="mean and std")],
    name="results",
)

Pools = pa.DataFrameSchema(
    {
        "pool": _text("lesions|distractors"),
        "method": _text("|".join(METHODS)),
        "share": _number(0, 1),
        "rule": _text("own|fixed|corrected|informed"),
        "n_images": _number(0),
        "f1": _number(0, 1),
        "std": _number(0),
    },
    strict=True,
    name="pools",
)

History = pa.DataFrameSchema(
    {
        "epoch": pa.Column("int64", pa.Check.ge(1), unique=True),
        "loss": _number(),
        "f1": _number(0, 1),
        "recall_at_1": _number(0, 1),
        "learning_rate": _number(0),
    },
    name="history",
)

Strata = pa.DataFrameSchema(
    {
        "column": _text(),
        "method": _text("|".join(METHODS)),
        "stratum": _text(),
        **{name: _number(0) for name in ("n_lesions", "n_positive_pairs", "tp", "fp")},
        **{name: _number(0, 1) for name in ("precision", "recall", "f1", "low", "high")},
    },
    name="strata",
)

ResampledF1 = pa.DataFrameSchema(
    {f"^({'|'.join(METHODS)})$": _number(0, 1, regex=True)}, strict=True, name="resampled_f1"
)

Photographs = pa.DataFrameSchema(
    {
        "image_id": _text(unique=True),
        "file": _text(_INSIDE),
        "sha256": _text("[0-9a-f]{64}"),
        "lesion_id": _text(r"[\s\S]+", required=False),
    },
    strict=True,
    name="photographs",
)

ClusterColumns = pa.DataFrameSchema({"image_id": _text()}, name="cluster_columns")

RowPairs = pa.DataFrameSchema(
    {name: _count() for name in ("row_a", "row_b", "inliers")} | {"zoom": _number(1.0, 4.001)},
    strict=True,
    name="cluster_shortlist",
)

Candidates = pa.DataFrameSchema(
    {name: _count() for name in ("row_a", "row_b")} | {"probability": _number(0.0, 1.0), "inliers": _number(-1)},
    strict=True,
    name="cluster_candidates",
)

ClusteredImages = pa.DataFrameSchema(
    {
        "image_id": _text(unique=True),
        "cluster_id": _count(),
        "similarity_to_nearest": _number(-1.01, 1.01),
        "probability_of_nearest": _number(0.0, 1.0),
        "lesion_id": _text(required=False),
    },
    strict=True,
    name="clustered_images",
)

ClusterMatches = pa.DataFrameSchema(
    {
        "image_id": _text(),
        "partner": _text(),
        "rank": _count(),
        "similarity": _number(-1.01, 1.01),
        "probability": _number(0.0, 1.0),
        "inliers": _number(0),
        "evidence": _text(),
        "same_group": _text("yes|no"),
        "lesion_id": _text(required=False),
    },
    strict=True,
    name="cluster_matches",
)

Unreadable = pa.DataFrameSchema({"file": _text(), "reason": _text()}, strict=True, name="unreadable")

Shortlist = pa.DataFrameSchema(
    {
        "image_a": pa.Column(str),
        "image_b": pa.Column(str),
        "inliers": pa.Column("int64", pa.Check.ge(0)),
        "zoom": _number(1.0, 4.001),
    },
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

# The tables of an experiment, by the names under which the catalog looks up their contracts.
results = judgement = fold_judgement = cross_validation = FoldMetrics
pools = fold_pools = Pools
resampled_f1 = ResampledF1
