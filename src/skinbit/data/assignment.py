"""The subset and fold of each metadata row, or the reason why it is left out."""

import logging
from collections.abc import Mapping

import pandas as pd

from skinbit.config import DataParams, SplitParams
from skinbit.data.ids import printable
from skinbit.data.lesions import lesion_fates
from skinbit.data.metadata import MISSHAPEN, ROW
from skinbit.data.splits import check_pairs, choose_lesions, split_lesions
from skinbit.errors import InputError

logger = logging.getLogger(__name__)


def assign_rows(
    table: pd.DataFrame,
    kinds: Mapping[int, str],
    usable: pd.Series,
    data: DataParams,
    deal: tuple[SplitParams, int],
) -> pd.DataFrame:
    """Return the rows of the metadata with ``subset``, ``fold`` and ``reason``; one of subset and reason is empty.

    Args:
        table: From :func:`skinbit.data.metadata.read_metadata`.
        kinds: Kind of the problem of each row that has one, by row number.
        usable: Numbers of rows with usable photographs.
        data: Rules for the lesions that take part.
        deal: Rules of the split, and the seed.

    Raises:
        InputError: If there are too few lesions, or no two images of the same lesion.
    """
    params, seed = deal
    reason = lesion_fates(table, kinds, data.min_images_per_lesion, data.max_images_per_lesion)
    assigned = table.drop(columns=MISSHAPEN).assign(reason=reason, subset="", fold=None)
    dealt = _deal(table, reason, params, seed)
    if data.max_lesions is not None:
        is_usable = assigned.loc[dealt.index, ROW].isin(usable)
        chosen = choose_lesions(dealt[is_usable], data.max_lesions, seed)
        assigned.loc[(reason == "") & ~assigned["lesion_id"].isin(chosen), "reason"] = (
            f"outside the subset of {data.max_lesions} lesions"
        )
        dealt = dealt[dealt["lesion_id"].isin(chosen)]
    if without_pair := check_pairs(dealt):
        logger.warning("no two images of the same lesion, so no F1, in %s", ", ".join(without_pair))
    assigned.loc[dealt.index, ["subset", "fold"]] = dealt[["subset", "fold"]]
    has_problem, ids = assigned[ROW].isin(kinds), ["image_id", "lesion_id"]
    assigned.loc[has_problem, ids] = assigned.loc[has_problem, ids].map(printable)
    return assigned.astype({"fold": "Int64"})


def _deal(table: pd.DataFrame, reason: pd.Series, params: SplitParams, seed: int) -> pd.DataFrame:
    taking_part = table.loc[reason == ""].drop(columns=[ROW, MISSHAPEN])
    try:
        return split_lesions(taking_part, params, seed)
    except InputError as error:
        counts = [f"\n  Left out: {n} images, {why}." for why, n in reason[reason != ""].value_counts().items()]
        raise InputError("".join([error.message, *counts])) from error
