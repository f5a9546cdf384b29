"""The audited study: its tables, the checks on them, and the table and summary of findings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import pandas as pd

from skinbit.audit.copies import find_copies
from skinbit.audit.findings import Check, Finding, tabulate_findings
from skinbit.audit.metadata import check_agreement, check_patients, lesions_of_images
from skinbit.audit.similarities import Comparison, without_copies
from skinbit.audit.split import check_split, hash_split, places_of, read_split
from skinbit.audit.summary import AuditSummary, lesions_to_join, summarise_kinds
from skinbit.config import AuditParams


@dataclass(frozen=True)
class AuditedStudy:
    """The tables of an audited study.

    Attributes:
        metadata: ``image_id, lesion_id`` and other columns of the images used.
        rejected: ``image_id, lesion_id, reason`` of the images left out.
        hashes: ``image_id, sha256, pixels_sha256`` of the images used, for files and decoded photographs.
        split: From :func:`skinbit.audit.split.read_split`.
        lesion_of: Lesion of each image used, in ascending order of image ids.
    """

    metadata: pd.DataFrame
    rejected: pd.DataFrame
    hashes: pd.DataFrame
    split: pd.DataFrame
    lesion_of: Mapping[str, str]

    @classmethod
    def read(
        cls,
        metadata: pd.DataFrame,
        rejected: pd.DataFrame,
        image_index: pd.DataFrame,
        pixel_hashes: pd.DataFrame,
        split: pd.DataFrame,
    ) -> Self:
        """Return the study with these tables.

        Args:
            metadata: See the attribute.
            rejected: See the attribute.
            image_index: ``image_id, sha256`` of the images used.
            pixel_hashes: ``image_id, pixels_sha256`` of the images used.
            split: The split on disk, all text.

        Raises:
            InputError: If the split cannot be audited, or the tables have different images.
        """
        split = read_split(split)
        lesion_of = lesions_of_images(metadata, image_index)
        hashes = image_index[["image_id", "sha256"]].merge(pixel_hashes, on="image_id")
        return cls(metadata, rejected, hashes, split, dict(sorted(lesion_of.items())))

    def check_tables(self, audit: AuditParams) -> tuple[list[Finding], list[Check]]:
        """Return findings in split and metadata, and the checks that need no comparison of photographs."""
        patients, patients_check = check_patients(self.metadata, audit.patient_column, places_of(self.split))
        contradictions, agreement_check = check_agreement(self.metadata, audit.columns, audit.patient_column)
        copies = Check("copies", True, f"bytes and pixels of {len(self.lesion_of):,} images")
        on_disk = Check("the split on disk", True, f"{len(self.split):,} rows")
        findings = [*check_split(self.split, self.lesion_of), *patients, *contradictions]
        return findings, [copies, on_disk, patients_check, agreement_check]

    def conclude(self, compared: Comparison, audit: AuditParams, experiment: str) -> tuple[pd.DataFrame, AuditSummary]:
        """Return the table of all findings, and their summary.

        Args:
            compared: Comparison of these images from :func:`skinbit.audit.similarities.compare_images`.
            audit: Which problems are findings.
            experiment: The baseline whose embeddings were compared.
        """
        copies = find_copies(self.hashes, self.lesion_of)
        others, checks = self.check_tables(audit)
        findings = [*copies, *others, *without_copies(compared.findings, copies)]
        table = tabulate_findings(findings, places_of(self.split))
        summary = AuditSummary(
            kinds=summarise_kinds(table, compared.counts),
            checks=[*checks, *compared.checks(experiment), *check_left_out(self.rejected)],
            lesions_to_join=lesions_to_join(findings),
            experiment=experiment,
            n_images=len(self.lesion_of),
            n_lesions=len(set(self.lesion_of.values())),
            split_sha256=hash_split(self.split),
            alike_from=compared.alike_from,
            unlike_below=compared.unlike_below,
            min_points=audit.min_points,
        )
        return table, summary


def check_left_out(rejected: pd.DataFrame) -> list[Check]:
    """Return an unmade check of the images that a study leaves out, if there are any.

    Args:
        rejected: ``image_id, lesion_id, reason``.
    """
    if rejected.empty:
        return []
    note = (
        f"{len(rejected):,} images are not used by the study; a split with data.min_images_per_lesion=1 "
        "(and evaluation.distractors=0) uses more of them"
    )
    return [Check("images left out", False, note)]
