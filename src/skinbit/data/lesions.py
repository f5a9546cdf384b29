"""Which lesions take part in a study."""

from collections.abc import Mapping

import pandas as pd

from skinbit.data.metadata import ROW
from skinbit.data.problems import KINDS

NO_LESION = "no lesion_id"
FEW = "lesion has fewer than {minimum} images"
MANY = "lesion has more than {maximum} images"
FEW_LEFT = "lesion has fewer than {minimum} images without problems"


def lesion_fates(table: pd.DataFrame, kinds: Mapping[int, str], minimum: int, maximum: int) -> pd.Series:
    """Return for every row the reason why it is left out.

    A lesion's images are its rows without problems of their own; unusable photographs still count here, although only
    the usable ones are compared.

    Args:
        table: From :func:`skinbit.data.metadata.read_metadata`.
        kinds: Kind of the problem of each row that has one, by row number.
        minimum: Smallest number of images of a lesion that takes part.
        maximum: Largest number of images of a lesion that takes part.

    Returns:
        One text per row, empty if the image takes part, named ``reason``.
    """
    kind = pd.Series([kinds.get(row, "") for row in table[ROW].tolist()], index=table.index, dtype="str")
    lesion = table["lesion_id"]
    is_left = kind == ""
    has_row = is_left | kind.isin([name for name, one in KINDS.items() if one.is_of_image])
    n_images = lesion.map(lesion[has_row].value_counts()).fillna(0)
    n_left = lesion.map(lesion[is_left].value_counts()).fillna(0)
    n_listed = lesion.map(lesion.value_counts()).fillna(0)
    reason = pd.Series("", index=table.index, name="reason", dtype="str")
    reason[n_left < minimum] = FEW_LEFT.format(minimum=minimum)
    reason[n_listed < minimum] = FEW.format(minimum=minimum)
    reason[n_images > maximum] = MANY.format(maximum=maximum)
    reason[lesion == ""] = NO_LESION
    reason[~is_left] = kind[~is_left].map(lambda name: KINDS[name].reason)
    return reason
