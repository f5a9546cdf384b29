"""Tables and other inputs of all folds, as the nodes that join folds receive them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def by_fold_and_kind(named: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return inputs named ``fold_<k>_<kind>`` by fold and kind."""
    by_fold: dict[int, dict[str, Any]] = {}
    for name, value in named.items():
        fold, kind = name.removeprefix("fold_").split("_", 1)
        by_fold.setdefault(int(fold), {})[kind] = value
    return by_fold


def as_mapping(table: pd.DataFrame) -> dict[str, float]:
    """Return a table ``metric, value`` as a mapping."""
    return dict(zip(table["metric"], table["value"], strict=True))
