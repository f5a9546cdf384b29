"""Metadata columns of photographs that are not part of a study."""

import logging
from collections.abc import Sequence

import pandas as pd

from skinbit.data.ids import quote
from skinbit.data.images import ImageFolder
from skinbit.data.metadata import MISSHAPEN, ROW
from skinbit.errors import InputError

logger = logging.getLogger(__name__)


def find_columns(
    listed: pd.DataFrame, folder: ImageFolder, table: pd.DataFrame, columns: Sequence[str], source: str
) -> pd.DataFrame:
    """Return the metadata columns of photographs.

    Args:
        listed: The photographs, with the column ``file``.
        folder: Folder of the photographs, in which image ids of the table are looked up.
        table: From :func:`skinbit.data.metadata.read_metadata`.
        columns: Wanted columns; the table may lack some.
        source: Name of the table's file.

    Returns:
        The columns as text, in the order of the photographs; blank where the table has no value.

    Raises:
        InputError: If a row has a wrong number of cells, a photograph has two rows, or no row has a photograph.
    """
    misshapen = table[table[MISSHAPEN] != ""]
    if len(misshapen):
        raise InputError(
            f"{source}: row {misshapen[ROW].iloc[0]}: {misshapen[MISSHAPEN].iloc[0]}.\n  Remedy: correct the row."
        )
    is_listed, row_of, unmatched = set(listed["file"]), dict[str, int](), 0
    for place, image_id in enumerate(table["image_id"]):
        files = [file for file in folder.find(image_id) if file in is_listed]
        unmatched += not files
        for file in files:
            if file in row_of:
                rows = f"{table[ROW].iloc[row_of[file]]} and {table[ROW].iloc[place]}"
                raise InputError(
                    f"{source}: rows {rows} have the same photograph, {quote(file)}.\n  Remedy: keep one of them."
                )
            row_of[file] = place
    if not row_of:
        raise InputError(
            f"{source}: none of its {len(table)} rows has a photograph in the folder.\n"
            "  Remedy: use the table of these photographs; image_id is the file name, with or without suffix."
        )
    logger.info(
        "%s: %d of %d photographs have a row; %d rows have no photograph",
        *(source, len(row_of), len(listed), unmatched),
    )
    places = listed["file"].map(row_of).fillna(-1).astype("int64")
    blank = pd.DataFrame({column: [""] for column in columns})
    known = table.reindex(columns=list(columns), fill_value="")
    return pd.concat([known, blank], ignore_index=True).iloc[places].reset_index(drop=True)
