"""What in photographs, metadata and split would falsify the F1, as far as tables and hashes tell it.

What similarities tell is in :mod:`skinbit.audit.similarities`; both give findings, which one table lists.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import pandas as pd

from skinbit.config import AuditParams
from skinbit.data.images import ImageFolder, decode_image
from skinbit.data.splits import TEST, TEST_FOLD, TRAIN
from skinbit.errors import InputError

Severity = Literal["error", "warning"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning")
"""Worst first."""

NOWHERE = "not dealt"
"""The subset of an image that the split does not name."""

COLUMNS = ["finding", "severity", "image_a", "image_b", "lesion_a", "lesion_b", "subset_a", "subset_b"]
COLUMNS += ["similarity", "detail"]
"""Of the table of findings."""

_SPLIT_COLUMNS = ["image_id", "lesion_id", "subset", "fold"]
_DECIMALS = 7


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        title: As a heading.
        meaning: What it says about the images.
        remedy: What a user does about it.
        is_label_error: It is a possible label error: a reason to look at labels, no proof.
        joins_lesions: Two lesions with such an error are one, or share skin.
    """

    title: str
    meaning: str
    remedy: str
    is_label_error: bool = False
    joins_lesions: bool = False


KINDS = {
    "identical_bytes": Kind(
        "Identical files",
        "One file under two image ids. Of one lesion it is a positive pair that any model finds, of two lesions one of "
        "the labels is wrong.",
        "remove one of the two rows; of two lesions, find out which label holds",
        joins_lesions=True,
    ),
    "identical_pixels": Kind(
        "Identical photographs in different files",
        "The files differ (metadata, format), the decoded photographs do not.",
        "remove one of the two rows; of two lesions, find out which label holds",
        joins_lesions=True,
    ),
    "near_duplicate": Kind(
        "Two lesions that show the same places",
        "Keypoints of two photographs agree on one turn, zoom and shift: the same skin under two lesion ids, mostly "
        "the same lesion, sometimes two lesions in one field of view.",
        "look at the pair; give both lesions one lesion_id, or keep them in one fold with split.keep_together",
        joins_lesions=True,
    ),
    "lesion_across_folds": Kind(
        "Lesions in several folds or subsets",
        "The split on disk deals images of one lesion to more than one place: a model is judged on what it has seen.",
        "make the split anew: kedro run --pipelines data_split",
    ),
    "split_contradiction": Kind(
        "Rows of the split that do not fit",
        "The split on disk contradicts itself or the metadata.",
        "make the split anew: kedro run --pipelines data_split",
    ),
    "patient_across_subsets": Kind(
        "Patients in the test subset and in training",
        "One patient's lesions are in the test subset and in training: skin, camera and clinic are known already.",
        "deal patients whole: split.keep_together names the column of patients",
    ),
    "patient_across_folds": Kind(
        "Patients in several folds",
        "One patient's lesions are in several folds.",
        "deal patients whole: split.keep_together names the column of patients",
    ),
    "look_alike": Kind(
        "Two lesions that look alike",
        "More alike than most photographs of one lesion are, though no places agree: two similar lesions, a mirrored "
        "copy, or one lesion under two ids.",
        "look at the pair, and whether both labels are right",
        is_label_error=True,
    ),
    "unlike_pair": Kind(
        "One lesion that looks like two",
        "Less alike than photographs of two lesions mostly are, and no places agree: another zoom, or two lesions "
        "under one id.",
        "look at the pair, and whether both labels are right",
        is_label_error=True,
    ),
    "foreign_neighbours": Kind(
        "Images among another lesion's",
        "The nearest images all belong to one other lesion.",
        "look at the pair, and whether both labels are right",
        is_label_error=True,
    ),
    "metadata_contradiction": Kind(
        "Lesions whose images say different things",
        "Columns that describe the lesion or the patient have several values within one lesion.",
        "look which row is wrong",
        is_label_error=True,
    ),
}
"""By name, in the order in which they are reported."""


@dataclass(frozen=True)
class Finding:
    """Something that would falsify the F1, or may.

    Attributes:
        kind: One of :data:`KINDS`.
        severity: ``error``: it does; ``warning``: look at it.
        images: One or two image ids.
        lesions: Their lesion ids.
        detail: The evidence in words.
        similarity: Of the two images, in [-1, 1]; none: not compared.
        weight: Findings of a kind are ordered by it, highest first.
    """

    kind: str
    severity: Severity
    images: tuple[str, ...]
    lesions: tuple[str, ...]
    detail: str
    similarity: float | None = None
    weight: float = 0.0


@dataclass(frozen=True)
class Check:
    """Something that an audit looks at.

    Attributes:
        title: What.
        is_done: Whether it was looked at.
        note: On what it rests; or why it was not looked at.
    """

    title: str
    is_done: bool
    note: str


def lesions_of_images(metadata: pd.DataFrame, image_index: pd.DataFrame) -> dict[str, str]:
    """Tell the lesion of each image used.

    Args:
        metadata: ``image_id, lesion_id`` of the images used.
        image_index: ``image_id`` of the same images.

    Returns:
        Lesion by image.

    Raises:
        InputError: If the two tables are of different images.
    """
    lesion_of = dict(zip(metadata["image_id"], metadata["lesion_id"], strict=True))
    differing = sorted(lesion_of.keys() ^ set(image_index["image_id"]))
    if differing:
        raise InputError(
            f"metadata.csv and image_index.csv are of different images: {len(differing)} are in one of them only, the "
            f"first is {differing[0]}.\n"
            "  Remedy: they are of different runs; kedro run --pipelines data_split makes both."
        )
    return lesion_of


def check_left_out(rejected: pd.DataFrame) -> list[Check]:
    """Say that images which the study leaves out are not audited, where there are any.

    Args:
        rejected: ``image_id, lesion_id, reason``.

    Returns:
        At most one check.
    """
    if rejected.empty:
        return []
    note = (
        f"{len(rejected):,} images that take no part in the study; a split with data.min_images_per_lesion=1 "
        "(and evaluation.distractors=0) takes more in"
    )
    return [Check("images left out", False, note)]


def hash_pixels(folder: ImageFolder, image_ids: Sequence[str], max_pixels: int) -> Iterator[tuple[str, str]]:
    """Hash decoded photographs: equal for two files that show the same pixels, upright and in RGB.

    Args:
        folder: Where the photographs are.
        image_ids: Which photographs.
        max_pixels: See :func:`skinbit.data.images.decode_image`.

    Yields:
        Image id and SHA-256 of size and pixels of each, in order.

    Raises:
        InputError: If a photograph is missing or cannot be read; names the first.
    """

    def digest(image_id: str) -> str:
        try:
            if image_id not in folder.files:
                raise FileNotFoundError(f"there is no such file in {folder.root}")
            image = decode_image(folder.read(image_id), max_pixels)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The photograph {image_id} cannot be audited: {error}.\n"
                "  Remedy: the photographs have changed since they were checked; `kedro run --pipelines data_split` "
                "lists all that cannot be used."
            ) from error
        return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        yield from zip(image_ids, pool.map(digest, image_ids), strict=True)


def find_copies(hashes: pd.DataFrame, lesion_of: Mapping[str, str]) -> list[Finding]:
    """Find images that are one photograph under several ids.

    Args:
        hashes: ``image_id, sha256, pixels_sha256``, of files and of decoded photographs.
        lesion_of: Lesion by image.

    Returns:
        ``identical_bytes`` and ``identical_pixels``; of n copies n - 1 pairs, which link all of them.
    """
    by_lesion = hashes.assign(lesion=hashes["image_id"].map(lesion_of)).sort_values(["lesion", "image_id"])
    # Of identical files one stands for all: what is left are different files.
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


def read_split(split: pd.DataFrame) -> pd.DataFrame:
    """Take from a split what can be audited, if it can be audited at all.

    Args:
        split: As it is on disk, all text.

    Returns:
        ``image_id, lesion_id, subset, fold``; a cell that a short row lacks is blank.

    Raises:
        InputError: If a column is missing, or there is no row.
    """
    missing = [column for column in _SPLIT_COLUMNS if column not in split.columns]
    if missing or split.empty:
        what = f"no column {', '.join(missing)}" if missing else "no row"
        raise InputError(
            f"split.csv has {what}; it needs {', '.join(_SPLIT_COLUMNS)}.\n"
            "  Remedy: make it anew, kedro run --pipelines data_split."
        )
    return split[_SPLIT_COLUMNS].fillna("")


def places_of(split: pd.DataFrame) -> dict[str, str]:
    """Tell where each image is dealt.

    Args:
        split: ``image_id, lesion_id, subset, fold``, all text.

    Returns:
        ``test`` or ``fold 0``, ``fold 1``, … by image; of an image with several rows the first.
    """
    first = split.drop_duplicates("image_id")
    return dict(zip(first["image_id"], _places(first), strict=True))


def _places(split: pd.DataFrame) -> list[str]:
    return [
        TEST if subset == TEST else f"fold {fold}" if subset == TRAIN else f"{subset}, fold {fold}"
        for subset, fold in zip(split["subset"], split["fold"], strict=True)
    ]


def hash_split(split: pd.DataFrame) -> str:
    """Hash what a split says, whatever the order of its rows.

    Args:
        split: ``image_id, lesion_id, subset, fold``; folds as numbers or text.

    Returns:
        SHA-256.
    """
    rows = sorted(zip(*(split[column].astype(str) for column in _SPLIT_COLUMNS), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def check_split(split: pd.DataFrame, lesion_of: Mapping[str, str]) -> list[Finding]:
    """Check a split as it is on disk, whoever made it.

    Args:
        split: ``image_id, lesion_id, subset, fold``, all text.
        lesion_of: Lesion by image, of the images used.

    Returns:
        ``lesion_across_folds`` and ``split_contradiction``.
    """
    placed = split.assign(place=_places(split))
    # Where the metadata know an image, theirs is its lesion: the split may be what is wrong.
    placed["lesion"] = [
        lesion_of.get(image_id, named) for image_id, named in zip(placed["image_id"], placed["lesion_id"], strict=True)
    ]
    return [*_lesions_across_folds(placed), *_contradictions(placed, lesion_of)]


def _lesions_across_folds(placed: pd.DataFrame) -> Iterator[Finding]:
    n_places = placed.groupby("lesion")["place"].transform("nunique")
    for lesion, images in placed[n_places > 1].groupby("lesion"):
        ids, where = _spread(images)
        yield Finding("lesion_across_folds", "error", ids, (str(lesion),) * 2, where)


def _spread(images: pd.DataFrame, unit: str = "image") -> tuple[tuple[str, str], str]:
    """Give the first image of each of the first two places, and how many of what are where; the test comes first."""
    by_place = {str(place): rows for place, rows in images.sort_values("image_id").groupby("place")}
    places = sorted(by_place, key=lambda place: (place != TEST, place))
    counts = {place: by_place[place]["lesion" if unit == "lesion" else "image_id"].nunique() for place in places}
    said = ", ".join(f"{n} {unit}{'' if n == 1 else 's'} in {_spoken(place)}" for place, n in counts.items())
    first, second = (str(by_place[place]["image_id"].iloc[0]) for place in places[:2])
    return (first, second), said


def _spoken(place: str) -> str:
    return "the test subset" if place == TEST else place


def _contradictions(placed: pd.DataFrame, lesion_of: Mapping[str, str]) -> Iterator[Finding]:
    n_rows = Counter(placed["image_id"])
    for row in placed.drop_duplicates("image_id").to_dict(orient="records"):
        image_id, lesion = str(row["image_id"]), str(row["lesion"])
        reasons = list(_reasons(row, n_rows[image_id], lesion_of))
        if reasons:
            yield Finding("split_contradiction", "error", (image_id,), (lesion,), "; ".join(reasons))
    for image_id in sorted(lesion_of.keys() - n_rows.keys()):
        lesion = lesion_of[image_id]
        yield Finding("split_contradiction", "error", (image_id,), (lesion,), "the split does not name this image")


def _reasons(row: Mapping[Hashable, Any], n_rows: int, lesion_of: Mapping[str, str]) -> Iterator[str]:
    known, subset, fold = lesion_of.get(row["image_id"]), row["subset"], row["fold"]
    if n_rows > 1:
        yield f"{n_rows} rows of the split name this image"
    if known is None:
        yield "the metadata of the images used do not name this image"
    elif row["lesion_id"] != known:
        yield f"the split says lesion {row['lesion_id']!r}, the metadata {known!r}"
    if subset not in (TRAIN, TEST):
        yield f"subset {subset!r} is neither {TRAIN} nor {TEST}"
    elif not fold.isdecimal() and fold != str(TEST_FOLD):
        yield f"fold {fold!r} is no number"
    elif (fold == str(TEST_FOLD)) != (subset == TEST):
        yield f"subset {subset} and fold {fold}: fold {TEST_FOLD} is the test subset"


def check_tables(
    metadata: pd.DataFrame, split: pd.DataFrame, lesion_of: Mapping[str, str], audit: AuditParams
) -> tuple[list[Finding], list[Check]]:
    """Check split and metadata, which takes no photograph.

    Args:
        metadata: ``image_id, lesion_id`` and more, of the images used.
        split: From :func:`read_split`.
        lesion_of: From :func:`lesions_of_images`.
        audit: Which columns say what.

    Returns:
        Findings, and what was looked at, the photographs' copies included.
    """
    patients, patients_check = check_patients(metadata, audit.patient_column, places_of(split))
    contradictions, agreement_check = check_agreement(metadata, audit.columns, audit.patient_column)
    copies = Check("copies", True, f"bytes and pixels of {len(lesion_of):,} images")
    on_disk = Check("the split on disk", True, f"{len(split):,} rows")
    findings = [*check_split(split, lesion_of), *patients, *contradictions]
    return findings, [copies, on_disk, patients_check, agreement_check]


def check_patients(
    metadata: pd.DataFrame, column: str | None, places: Mapping[str, str]
) -> tuple[list[Finding], Check]:
    """Find patients whose lesions are in several places; the findings number them and never name them.

    Args:
        metadata: ``image_id, lesion_id`` and more, of the images used.
        column: Of patients; a blank cell is an unknown patient.
        places: From :func:`places_of`.

    Returns:
        ``patient_across_subsets`` and ``patient_across_folds``, and what was looked at.
    """
    title = "patients across subsets and folds"
    if column is None:
        return [], Check(title, False, "audit.patient_column names no column")
    if column not in metadata.columns:
        return [], Check(title, False, f"the metadata have no column {column} (audit.patient_column)")
    placed = pd.DataFrame(
        {
            "patient": metadata[column],
            "image_id": metadata["image_id"],
            "lesion": metadata["lesion_id"],
            "place": metadata["image_id"].map(places),
        }
    )
    known = placed[(placed["patient"] != "") & placed["place"].notna()]
    findings = []
    # By the first image, not by the patient's own identifier: a number must not tell its place in that order.
    patients = sorted((rows for _, rows in known.groupby("patient")), key=lambda rows: str(rows["image_id"].min()))
    for number, rows in enumerate(patients, 1):
        if rows["place"].nunique() > 1:
            (first, second), where = _spread(rows, "lesion")
            is_tested = (rows["place"] == TEST).any()
            lesion_of = dict(zip(rows["image_id"], rows["lesion"], strict=True))
            findings.append(
                Finding(
                    "patient_across_subsets" if is_tested else "patient_across_folds",
                    "error" if is_tested else "warning",
                    (first, second),
                    (lesion_of[first], lesion_of[second]),
                    f"patient {number}: {where}",
                )
            )
    n_blank = int((metadata[column] == "").sum())
    blank = f"; of {n_blank:,} images it is blank" if n_blank else ""
    return findings, Check(title, True, f"column {column}; known patients: {len(patients):,}{blank}")


def check_agreement(
    metadata: pd.DataFrame, columns: Sequence[str], patient_column: str | None
) -> tuple[list[Finding], Check]:
    """Find lesions whose images contradict each other in the metadata; a blank cell contradicts nothing.

    Args:
        metadata: ``image_id, lesion_id`` and more, of the images used.
        columns: That should say the same of every image of a lesion; those that do not exist are passed over.
        patient_column: Likewise; its values are not told.

    Returns:
        ``metadata_contradiction``, and what was looked at.
    """
    title = "metadata within lesions"
    named = [*dict.fromkeys([*columns, *([patient_column] if patient_column else [])])]
    present = [column for column in named if column in metadata.columns and column not in _SPLIT_COLUMNS]
    if not present:
        return [], Check(title, False, f"the metadata have no column {', '.join(named)} (audit.columns)")
    ordered = metadata.sort_values("image_id")
    said: dict[str, list[str]] = {}
    shown: dict[str, tuple[str, str]] = {}
    for column in present:
        filled = ordered[ordered[column] != ""]
        n_values = filled.groupby("lesion_id")[column].transform("nunique")
        for lesion, rows in filled[n_values > 1].groupby("lesion_id"):
            first = rows.drop_duplicates(column)
            values = f"{len(first)} patients" if column == patient_column else f"{column} {', '.join(first[column])}"
            said.setdefault(str(lesion), []).append(values)
            shown.setdefault(str(lesion), (str(first["image_id"].iloc[0]), str(first["image_id"].iloc[1])))
    findings = [
        Finding("metadata_contradiction", "warning", shown[lesion], (lesion, lesion), "; ".join(contradictions))
        for lesion, contradictions in said.items()
    ]
    return findings, Check(title, True, f"columns {', '.join(present)}")


def tabulate_findings(findings: Iterable[Finding], places: Mapping[str, str]) -> pd.DataFrame:
    """List findings, errors first.

    Args:
        findings: In any order.
        places: Where each image is dealt, from :func:`places_of`.

    Returns:
        :data:`COLUMNS`; blank where a finding has no second image, similarity NaN where images were not compared.
        Where one photograph, or one skin, is in two places, the detail says so.
    """
    ranked = sorted(findings, key=_rank)
    types = dict.fromkeys(COLUMNS, "str") | {"similarity": "float64"}  # also where there is no row
    return pd.DataFrame([_row(finding, places) for finding in ranked], columns=COLUMNS).astype(types)


def _rank(finding: Finding) -> tuple[Any, ...]:
    order = (SEVERITIES.index(finding.severity), list(KINDS).index(finding.kind), -finding.weight)
    return (*order, finding.images, finding.lesions, finding.detail)


def _row(finding: Finding, places: Mapping[str, str]) -> tuple[Any, ...]:
    images, lesions = ((*pair, "", "")[:2] for pair in (finding.images, finding.lesions))
    subsets = [places.get(image, NOWHERE) if image else "" for image in images]
    detail = finding.detail
    if is_leak(finding.kind, finding.severity, subsets[0], subsets[1]):
        detail += f"; a leak between {_spoken(subsets[0])} and {_spoken(subsets[1])}"
    similarity = None if finding.similarity is None else round(float(finding.similarity), _DECIMALS)
    return (finding.kind, finding.severity, *images, *lesions, *subsets, similarity, detail)


def is_leak(kind: str, severity: str, subset_a: str, subset_b: str) -> bool:
    """Tell whether one photograph, or one skin, is in two places of the split."""
    is_apart = subset_a != subset_b and NOWHERE not in (subset_a, subset_b)
    return KINDS[kind].joins_lesions and severity == "error" and is_apart
