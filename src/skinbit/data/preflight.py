"""One pass over all photographs that may take part, before anything expensive starts."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from skinbit.config import DataParams, SplitParams
from skinbit.data.images import Checked, ImageFolder, check_images
from skinbit.data.lesions import FEW_LEFT, lesion_fates
from skinbit.data.metadata import ROW
from skinbit.data.problems import Problem
from skinbit.data.splits import choose_lesions, split_lesions
from skinbit.errors import InputError

Outcome = Checked[tuple[int, int]] | Problem
"""Width and height, or what is wrong."""

Watch = Callable[[Iterable[Outcome], int], Iterable[Outcome]]
"""Gives outcomes on as they come, of so many, and shows how far they are."""


def check_photographs(
    table: pd.DataFrame,
    row_kinds: Mapping[int, str],
    folder: ImageFolder,
    data: DataParams,
    deal: tuple[SplitParams, int],
    watch: Watch,
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Read and decode every photograph that may take part, each once.

    Where ``data.max_lesions`` cuts the data, those of the chosen lesions only; if some of them cannot be used, and that
    is no error, those of the lesions that are chosen in their place.

    Args:
        table: From :func:`skinbit.data.metadata.read_metadata`.
        row_kinds: Of the problem of each row that has one, by its number.
        folder: Where the photographs are.
        data: Which lesions take part; limits of a photograph; which problems are errors.
        deal: How lesions are dealt, and the seed: what ``data.max_lesions`` chooses from.
        watch: Shows the progress.

    Returns:
        Records ``row, image_id, file, sha256, width, height``, and problems, both in the order of rows.

    Raises:
        InputError: If the folder holds no photograph.
    """
    if not folder.files:
        raise InputError(
            f"The image folder {folder.root} does not exist, or holds no photograph.\n"
            "  Remedy: put the photographs (.jpg, .jpeg or .png) into the folder images beside the CSV."
        )
    kinds = dict(row_kinds)
    records: dict[int, dict[str, Any]] = {}
    problems: dict[int, Problem] = {}
    while True:
        wanted = _choose_rows(table, kinds, data, deal)
        left = wanted[~wanted[ROW].isin(records.keys() | problems.keys())]
        if left.empty or any(getattr(data.policy, problem.kind) == "error" for problem in problems.values()):
            break
        found, wrong = check_rows_photographs(left, folder, data, watch)
        records |= {record[ROW]: record for record in found}
        problems |= {problem.row: problem for problem in wrong}
        kinds |= {row: problem.kind for row, problem in problems.items()}
    return [records[row] for row in sorted(records)], [problems[row] for row in sorted(problems)]


def check_rows_photographs(
    rows: pd.DataFrame, folder: ImageFolder, data: DataParams, watch: Watch
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Read and decode the photographs of some rows, each once.

    Args:
        rows: Of the metadata, with ids that can be used.
        folder: Where the photographs are.
        data: Limits of a photograph.
        watch: Shows the progress.

    Returns:
        Records ``row, image_id, file, sha256, width, height``, and problems, both in the order of rows.
    """
    records: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for outcome in watch(check_images(folder, rows, data, lambda image: image.size), len(rows)):
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            width, height = outcome.used
            records.append({ROW: outcome.row, **outcome.record, "width": width, "height": height})
    return records, problems


def _choose_rows(
    table: pd.DataFrame, kinds: Mapping[int, str], data: DataParams, deal: tuple[SplitParams, int]
) -> pd.DataFrame:
    """Give the rows of lesions that take part, or would if problems were mended."""
    fates = lesion_fates(table, kinds, data.min_images_per_lesion, data.max_images_per_lesion)
    if data.max_lesions is not None:
        params, seed = deal
        taking_part = table[fates == ""]
        try:
            chosen = choose_lesions(split_lesions(taking_part, params, seed), data.max_lesions, seed)
            return taking_part[taking_part["lesion_id"].isin(chosen)]
        except InputError:  # too few lesions for a split, which the split itself will say: check what there is
            pass
    return table[fates.isin(["", FEW_LEFT.format(minimum=data.min_images_per_lesion)])]
