"""Metadata: patients in several folds or subsets, and lesions with contradictory values."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from skinbit.audit.findings import Check, Finding
from skinbit.audit.split import SPLIT_COLUMNS, spread_over_places
from skinbit.data.ids import is_unknown
from skinbit.data.splits import TEST
from skinbit.errors import InputError


def lesions_of_images(metadata: pd.DataFrame, image_index: pd.DataFrame) -> dict[str, str]:
    """Return the lesion of each image used.

    Args:
        metadata: ``image_id, lesion_id`` of the images used.
        image_index: ``image_id`` of the same images.

    Raises:
        InputError: If the two tables have different images.
    """
    lesion_of = dict(zip(metadata["image_id"], metadata["lesion_id"], strict=True))
    differing = sorted(lesion_of.keys() ^ set(image_index["image_id"]))
    if differing:
        raise InputError(
            f"metadata.csv and image_index.csv have different images: {len(differing)} are in only one of them, the "
            f"first is {differing[0]}.\n"
            "  Remedy: they are from different runs; kedro run --pipelines data_split makes both."
        )
    return lesion_of


def check_patients(
    metadata: pd.DataFrame, column: str | None, places: Mapping[str, str]
) -> tuple[list[Finding], Check]:
    """Return patients with lesions in several places, numbered but never named, and the check.

    Args:
        metadata: ``image_id, lesion_id`` and other columns of the images used.
        column: Column of patients; a blank cell, or a word such as ``nan``, is an unknown patient.
        places: From :func:`skinbit.audit.split.places_of`.

    Returns:
        ``patient_across_subsets`` and ``patient_across_folds``, and the check.
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
    unknown = placed["patient"].map(is_unknown).astype(bool)
    known = placed[~unknown & placed["place"].notna()]
    # Ordered by the first image, not by the patient's identifier: a number must not reveal its rank.
    patients = sorted((rows for _, rows in known.groupby("patient")), key=lambda rows: str(rows["image_id"].min()))
    rest = f"; unknown for {unknown.sum():,} images" if unknown.any() else ""
    check = Check(title, True, f"column {column}; known patients: {len(patients):,}{rest}")
    return list(_spread_patients(patients)), check


def _spread_patients(patients: Sequence[pd.DataFrame]) -> Iterator[Finding]:
    for number, rows in enumerate(patients, 1):
        if rows["place"].nunique() == 1:
            continue
        images, where = spread_over_places(rows, "lesion")
        lesion_of = dict(zip(rows["image_id"], rows["lesion"], strict=True))
        lesions, detail = tuple(lesion_of[image] for image in images), f"patient {number}: {where}"
        if (rows["place"] == TEST).any():
            yield Finding("patient_across_subsets", "error", images, lesions, detail)
        else:
            yield Finding("patient_across_folds", "warning", images, lesions, detail)


def check_agreement(
    metadata: pd.DataFrame, columns: Sequence[str], patient_column: str | None
) -> tuple[list[Finding], Check]:
    """Return lesions with contradictory metadata, and the check; blank cells contradict nothing.

    Args:
        metadata: ``image_id, lesion_id`` and other columns of the images used.
        columns: Columns that should be constant within a lesion; missing ones are skipped.
        patient_column: Another such column, the values of which are never shown.

    Returns:
        ``metadata_contradiction``, and the check.
    """
    title = "metadata within lesions"
    named = [*dict.fromkeys([*columns, *([patient_column] if patient_column else [])])]
    present = [column for column in named if column in metadata.columns and column not in SPLIT_COLUMNS]
    if not present:
        return [], Check(title, False, f"the metadata have no column {', '.join(named)} (audit.columns)")
    ordered = metadata.sort_values("image_id")
    contradictions: dict[str, list[str]] = {}
    shown: dict[str, tuple[str, str]] = {}
    for column in present:
        filled = ordered[ordered[column] != ""]
        n_values = filled.groupby("lesion_id")[column].transform("nunique")
        for lesion, rows in filled[n_values > 1].groupby("lesion_id"):
            first = rows.drop_duplicates(column)
            values = f"{len(first)} patients" if column == patient_column else f"{column} {', '.join(first[column])}"
            contradictions.setdefault(str(lesion), []).append(values)
            shown.setdefault(str(lesion), (str(first["image_id"].iloc[0]), str(first["image_id"].iloc[1])))
    findings = [
        Finding("metadata_contradiction", "warning", shown[lesion], (lesion, lesion), "; ".join(found))
        for lesion, found in contradictions.items()
    ]
    return findings, Check(title, True, f"columns {', '.join(present)}")
