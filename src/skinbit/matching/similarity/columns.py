"""Metadata columns, read so that the values of two photographs can be compared."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from skinbit.config import ContextParams, EvidenceParams
from skinbit.data.ids import fold_case, is_unknown, quote
from skinbit.data.metadata import MISSHAPEN, ROW
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.matching.labels import LabelArray
from skinbit.matching.similarity.context import Context, Values

_EXACT = EvidenceParams()


def read_context(table: pd.DataFrame | None, image_ids: Sequence[str], params: ContextParams | None) -> Context | None:
    """Return the metadata columns that are used when the images of a study are compared.

    Args:
        table: ``image_id`` and text columns, no image twice; images may be missing. None: no metadata.
        image_ids: Ids of the ``n`` images.
        params: Names of the columns; None: no column is used.

    Returns:
        The columns, in the order of the images, from :func:`context_of_rows`.

    Raises:
        InputError: If a value is not a number or date although it must be one; lists the first.
    """
    if params is None or table is None:
        return None
    return context_of_rows(table.set_index("image_id").reindex(list(image_ids)), params.same, params.evidence)


def context_of_rows(
    rows: pd.DataFrame, same: Sequence[str], evidence: Mapping[str, EvidenceParams], source: str = "the metadata"
) -> Context:
    """Return the metadata columns that are used when images are compared.

    Args:
        rows: Columns of text, one row per image; may lack columns.
        same: Columns in which two images must agree.
        evidence: Columns that count as evidence, with the rules of agreement.
        source: Name of the file, for messages.

    Returns:
        The columns; a value is missing if the cell is blank or a word for a missing value.

    Raises:
        InputError: If a value is not a number or date although it must be one; lists the first.
    """
    of_same = [_read_column(rows, column, _EXACT, source) for column in same]
    of_evidence = [_read_column(rows, column, params, source) for column, params in evidence.items()]
    return Context(
        same=np.array(of_same).reshape(len(of_same), len(rows)),
        evidence=np.array(of_evidence).reshape(len(of_evidence), len(rows)),
        tolerances=np.array([params.tolerance for params in evidence.values()]),
    )


def columns_of(params: ContextParams | None, same: Sequence[str]) -> tuple[tuple[str, ...], dict[str, EvidenceParams]]:
    """Return the columns that a model uses, with the user's further columns that must agree.

    Args:
        params: Settings of the model; None: it uses no column.
        same: Further columns in which photographs must agree.

    Returns:
        Columns in which photographs must agree, and those that count as evidence.
    """
    of_model = () if params is None else params.same
    evidence = {} if params is None else dict(params.evidence)
    return tuple(dict.fromkeys((*of_model, *same))), evidence


def describe_rows(rows: pd.DataFrame, evidence: Iterable[str]) -> list[str]:
    """Return the values of each image in the columns of evidence, in words; blank if there are none.

    Columns that must agree are left out: they may name patients.
    """
    shown = [column for column in evidence if column in rows.columns]
    cells = rows[shown].fillna("").astype(str)
    return [
        " · ".join(f"{column}: {text}" for column, text in zip(shown, texts, strict=True) if not is_unknown(text))
        for texts in cells.to_numpy(dtype=object).reshape(len(rows), len(shown))
    ]


def describe_pairs(rows: pd.DataFrame, evidence: Iterable[str], pairs: LabelArray) -> list[str]:
    """Return in words what a table says of both images of pairs, ``(m, 2)`` rows, as :func:`describe_rows` does."""
    shown = [column for column in evidence if column in rows.columns]
    cells = rows[shown].fillna("").astype(str).to_numpy(dtype=object)
    return [
        " · ".join(
            f"{column}: {one} / {other}"
            for column, one, other in zip(shown, cells[first], cells[second], strict=True)
            if not (is_unknown(one) or is_unknown(other))
        )
        for first, second in pairs.tolist()
    ]


def check_context(table: pd.DataFrame, params: ContextParams, source: str) -> dict[str, int]:
    """Check that a table has the required columns with valid values, and count the values.

    Args:
        table: From :func:`skinbit.data.metadata.read_metadata`.
        params: Names of the columns.
        source: Name of the file.

    Returns:
        By column, the number of rows with a value.

    Raises:
        InputError: If a column is missing, a value is not a number or date although it must be one, or a lesion has two
            values in a column in which its photographs must agree.
    """
    require_columns(table, params.columns, source, "similarity.context")
    context = context_of_rows(table, params.same, params.evidence, source)
    for column, values in zip(params.same, context.same, strict=True):
        _check_one_value(table, column, values, source)
    n_known = np.isfinite(np.vstack([context.same, context.evidence])).sum(axis=1)
    return dict(zip(params.columns, n_known.tolist(), strict=True))


def require_columns(table: pd.DataFrame, columns: Sequence[str], source: str, parameter: str) -> None:
    """Check that a table has some columns.

    Args:
        table: From :func:`skinbit.data.metadata.read_metadata`.
        columns: Names of the columns.
        source: Name of the file.
        parameter: Parameter with these names.

    Raises:
        InputError: If a column is missing.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        named = ", ".join(column for column in table.columns if column not in (ROW, MISSHAPEN))
        raise InputError(
            f"{parameter} names the column {missing[0]!r}, which {source} does not have; its columns are: {named}.\n"
            f"  Remedy: add the column, or leave it out of {parameter}."
        )


def _check_one_value(table: pd.DataFrame, column: str, values: Values, source: str) -> None:
    """Check that no lesion has two values in a column in which its photographs must agree."""
    known = table.assign(value=values)[np.isfinite(values) & (table["lesion_id"] != "")]
    first = known.groupby("lesion_id").head(1).set_index("lesion_id")
    other = known[known["value"].to_numpy() != first["value"].loc[known["lesion_id"]].to_numpy()]
    if len(other):
        row, lesion = other[ROW].iloc[0], other["lesion_id"].iloc[0]
        raise InputError(
            f"{source}: photographs of one lesion must agree in {column!r} (similarity.context.same), but rows "
            f"{first[ROW].loc[lesion]} and {row} of lesion {quote(lesion)} do not; so do {len(other)} rows in all.\n"
            "  Remedy: correct the table, or count the column as evidence instead (similarity.context.evidence)."
        )


def _read_column(table: pd.DataFrame, column: str, params: EvidenceParams, source: str) -> Values:
    """Return a number for each row of a table, NaN where nothing is known."""
    values = np.full(len(table), np.nan)
    if column not in table.columns:
        return values
    cells = table[column].fillna("").astype(str)
    known = np.flatnonzero(~cells.map(is_unknown).to_numpy(dtype=bool))
    if params.kind == "exact":
        values[known] = pd.factorize(cells.iloc[known].map(fold_case))[0]
        return values
    unreadable = []
    for place in known.tolist():
        try:
            values[place] = _READERS[params.kind](cells.iloc[place].strip())
        except (ValueError, OverflowError):
            unreadable.append(place)
    if unreadable:
        raise InputError(_explain_unreadable(table, column, params.kind, unreadable, source))
    return values


def _read_number(text: str) -> float:
    number = float(text.replace(",", "."))
    if not np.isfinite(number):
        raise ValueError(text)
    return number


def _read_date(text: str) -> float:
    """Return the days since 1970 of a date, with or without time; of one with a time zone, those of UTC."""
    date = datetime.fromisoformat(text)
    utc = date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)
    return (utc - datetime(1970, 1, 1)) / timedelta(days=1)


_READERS: Mapping[str, Callable[[str], float]] = {"number": _read_number, "date": _read_date}


def _explain_unreadable(table: pd.DataFrame, column: str, kind: str, places: list[int], source: str) -> str:
    shown = []
    for place in places[:SHOWN_PER_KIND]:
        where = f"row {table[ROW].iloc[place]}" if ROW in table.columns else f"image {table.index[place]}"
        shown.append(f"  - {where}: {quote(str(table[column].iloc[place]))}")
    more = [f"  - and {len(places) - SHOWN_PER_KIND} more"] if len(places) > SHOWN_PER_KIND else []
    written = "as 2026-11-28" if kind == "date" else "as 55"
    heading = f"{source}: {len(places)} cells of the column {column!r} are not a {kind}:"
    remedy = f"  Remedy: write them {written}, leave them blank, or set the kind of {column} to exact."
    return "\n".join([heading, *shown, *more, remedy])
