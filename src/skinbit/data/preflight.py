"""One check of all photographs that may take part, before anything expensive starts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skinbit.config import DataParams, SplitParams
from skinbit.data.file_names import READ_SUFFIXES
from skinbit.data.images import Checked, ImageFolder, check_images, log_found_otherwise, refuse_doubled
from skinbit.data.lesions import FEW_LEFT, lesion_fates
from skinbit.data.metadata import ROW
from skinbit.data.passed_over import explain_nothing
from skinbit.data.problems import Problem
from skinbit.data.splits import choose_lesions, split_lesions
from skinbit.errors import InputError

Outcome = Checked[tuple[int, int]] | Problem
"""Width and height, or the problem."""

Watch = Callable[[Iterable[Outcome], int], Iterable[Outcome]]
"""Shows the progress of an iterable: (iterable, total) -> iterable."""


@dataclass(frozen=True)
class Preflight:
    """Reads and decodes photographs, each once.

    Attributes:
        folder: Folder of the photographs.
        data: Limits of a photograph, and which problems are errors.
        watch: Shows the progress.
    """

    folder: ImageFolder
    data: DataParams
    watch: Watch

    def check(
        self, choose: Callable[[Mapping[int, Problem]], pd.DataFrame]
    ) -> tuple[list[dict[str, Any]], list[Problem]]:
        """Check the photographs of chosen rows, and of rows that replace unusable ones.

        Args:
            choose: Returns rows of the metadata, given the problems so far by row number; called until there is nothing
                new to check or a problem is an error.

        Returns:
            Records ``row, image_id, file, sha256, width, height``, and problems, both in the order of rows.

        Raises:
            InputError: If the folder has no photograph.
        """
        folder = self.folder.choose(self.data.subfolders)
        if not folder.files:
            put = f"put the photographs ({READ_SUFFIXES}) into the folder images beside the CSV"
            raise InputError(explain_nothing(folder, put))
        owners: dict[str, int] = {}
        records: dict[int, dict[str, Any]] = {}
        problems: dict[int, Problem] = {}
        while not any(getattr(self.data.policy, problem.kind) == "error" for problem in problems.values()):
            wanted = choose(problems)
            left = wanted[~wanted[ROW].isin(records.keys() | problems.keys())]
            if left.empty:
                break
            outcomes = refuse_doubled(check_images(folder, left, self.data, lambda image: image.size), owners)
            for outcome in self.watch(outcomes, len(left)):
                if isinstance(outcome, Problem):
                    problems[outcome.row] = outcome
                else:
                    width, height = outcome.used
                    records[outcome.row] = {ROW: outcome.row, **outcome.record, "width": width, "height": height}
        log_found_otherwise(records.values())
        return [records[row] for row in sorted(records)], [problems[row] for row in sorted(problems)]


def check_photographs(
    preflight: Preflight, table: pd.DataFrame, row_kinds: Mapping[int, str], split: SplitParams, seed: int
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Check every photograph that may take part.

    With ``data.max_lesions``, only photographs of the chosen lesions are checked, and of those that replace lesions
    with skipped problems.

    Args:
        preflight: Reads the photographs.
        table: From :func:`skinbit.data.metadata.read_metadata`.
        row_kinds: Kind of the problem of each row that has one, by row number.
        split: Rules of the split, from which ``data.max_lesions`` chooses.
        seed: Seed of the split.

    Returns:
        Like :meth:`Preflight.check`.
    """

    def choose(problems: Mapping[int, Problem]) -> pd.DataFrame:
        kinds = {**row_kinds, **{row: problem.kind for row, problem in problems.items()}}
        return _choose_rows(table, kinds, preflight.data, (split, seed))

    return preflight.check(choose)


def _choose_rows(
    table: pd.DataFrame, kinds: Mapping[int, str], data: DataParams, deal: tuple[SplitParams, int]
) -> pd.DataFrame:
    """Return the rows of lesions that take part, or would do so without the problems."""
    fates = lesion_fates(table, kinds, data.min_images_per_lesion, data.max_images_per_lesion)
    if data.max_lesions is not None:
        params, seed = deal
        taking_part = table[fates == ""]
        try:
            chosen = choose_lesions(split_lesions(taking_part, params, seed, is_draft=True), data.max_lesions, seed)
            return taking_part[taking_part["lesion_id"].isin(chosen)]
        except InputError:  # too few lesions for a split, which the split itself will report: check what there is
            pass
    return table[fates.isin(["", FEW_LEFT.format(minimum=data.min_images_per_lesion)])]
