"""The split on disk, from any source: the place of each image, and contradictions within it or with the metadata."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from skinbit.audit.findings import Finding, place_name
from skinbit.data.splits import TEST, TEST_FOLD, TRAIN
from skinbit.errors import InputError

SPLIT_COLUMNS = ["image_id", "lesion_id", "subset", "fold"]


def read_split(split: pd.DataFrame) -> pd.DataFrame:
    """Return the audited columns of a split.

    Args:
        split: The split on disk, all text.

    Returns:
        :data:`SPLIT_COLUMNS`; missing cells of short rows are blank.

    Raises:
        InputError: If a column is missing, or there are no rows.
    """
    missing = [column for column in SPLIT_COLUMNS if column not in split.columns]
    if missing or split.empty:
        what = f"no column {', '.join(missing)}" if missing else "no row"
        raise InputError(
            f"split.csv has {what}; it needs {', '.join(SPLIT_COLUMNS)}.\n"
            "  Remedy: make it again, kedro run --pipelines data_split."
        )
    return split[SPLIT_COLUMNS].fillna("")


def places_of(split: pd.DataFrame) -> dict[str, str]:
    """Return the place of each image in a split.

    Args:
        split: :data:`SPLIT_COLUMNS`, all text.

    Returns:
        ``test`` or ``fold 0``, ``fold 1``, … by image; for an image in several rows, the first one.
    """
    first = split.drop_duplicates("image_id")
    return dict(zip(first["image_id"], _places(first), strict=True))


def _places(split: pd.DataFrame) -> list[str]:
    return [
        TEST if subset == TEST else f"fold {fold}" if subset == TRAIN else f"{subset}, fold {fold}"
        for subset, fold in zip(split["subset"], split["fold"], strict=True)
    ]


def hash_split(split: pd.DataFrame) -> str:
    """Return the SHA-256 of a split, which does not depend on the order of its rows.

    Args:
        split: :data:`SPLIT_COLUMNS`; folds as numbers or text.
    """
    rows = sorted(zip(*(split[column].astype(str) for column in SPLIT_COLUMNS), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def check_split(split: pd.DataFrame, lesion_of: Mapping[str, str]) -> list[Finding]:
    """Return the problems of a split: ``lesion_across_folds`` and ``split_contradiction``.

    Args:
        split: :data:`SPLIT_COLUMNS`, all text.
        lesion_of: Lesion of each image used.
    """
    placed = split.assign(place=_places(split))
    # The metadata determine the lesion of an image they know, as the split may be wrong.
    placed["lesion"] = [
        lesion_of.get(image_id, named) for image_id, named in zip(placed["image_id"], placed["lesion_id"], strict=True)
    ]
    return [*_lesions_across_folds(placed), *_contradictions(placed, lesion_of)]


def _lesions_across_folds(placed: pd.DataFrame) -> Iterator[Finding]:
    n_places = placed.groupby("lesion")["place"].transform("nunique")
    for lesion, images in placed[n_places > 1].groupby("lesion"):
        ids, where = spread_over_places(images)
        yield Finding("lesion_across_folds", "error", ids, (str(lesion),) * 2, where)


def spread_over_places(images: pd.DataFrame, unit: str = "image") -> tuple[tuple[str, str], str]:
    """Return the first images of the first two places, and the number in each place in words; the test comes first.

    Args:
        images: ``image_id, place`` and, to count lesions, ``lesion``; at least two places.
        unit: What is counted, ``image`` or ``lesion``.
    """
    by_place = {str(place): rows for place, rows in images.sort_values("image_id").groupby("place")}
    places = sorted(by_place, key=lambda place: (place != TEST, place))
    counts = {place: by_place[place]["lesion" if unit == "lesion" else "image_id"].nunique() for place in places}
    said = ", ".join(f"{n} {unit}{'' if n == 1 else 's'} in {place_name(place)}" for place, n in counts.items())
    first, second = (str(by_place[place]["image_id"].iloc[0]) for place in places[:2])
    return (first, second), said


def _contradictions(placed: pd.DataFrame, lesion_of: Mapping[str, str]) -> Iterator[Finding]:
    n_rows = Counter(placed["image_id"])
    for row in placed.drop_duplicates("image_id").to_dict(orient="records"):
        image_id, lesion = str(row["image_id"]), str(row["lesion"])
        reasons = list(_reasons(row, n_rows[image_id], lesion_of))
        if reasons:
            yield Finding("split_contradiction", "error", (image_id,), (lesion,), "; ".join(reasons))
    for image_id in sorted(lesion_of.keys() - n_rows.keys()):
        lesion = lesion_of[image_id]
        yield Finding("split_contradiction", "error", (image_id,), (lesion,), "the image is missing in the split")


def _reasons(row: Mapping[Hashable, Any], n_rows: int, lesion_of: Mapping[str, str]) -> Iterator[str]:
    known, subset, fold = lesion_of.get(row["image_id"]), row["subset"], row["fold"]
    if n_rows > 1:
        yield f"the image is in {n_rows} rows of the split"
    if known is None:
        yield "the image is not among the images used"
    elif row["lesion_id"] != known:
        yield f"lesion {row['lesion_id']!r} in the split, {known!r} in the metadata"
    if subset not in (TRAIN, TEST):
        yield f"subset {subset!r} is neither {TRAIN} nor {TEST}"
    elif not fold.isdecimal() and fold != str(TEST_FOLD):
        yield f"fold {fold!r} is not a number"
    elif (fold == str(TEST_FOLD)) != (subset == TEST):
        yield f"subset {subset} and fold {fold}: fold {TEST_FOLD} is the test subset"
