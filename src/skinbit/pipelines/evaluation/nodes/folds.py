"""Tables and other inputs of all folds, for nodes that combine folds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skinbit.config import MemoryParams, SimilarityParams
from skinbit.embedding.tables import Embeddings
from skinbit.matching.assembly import pool_of
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.pairs.pool import Pool, limits_of
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.matching.similarity.columns import read_context


def by_fold_and_kind(named: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return inputs with names ``fold_<k>_<kind>`` by fold and kind."""
    by_fold: dict[int, dict[str, Any]] = {}
    for name, value in named.items():
        fold, kind = name.removeprefix("fold_").split("_", 1)
        by_fold.setdefault(int(fold), {})[kind] = value
    return by_fold


def as_mapping(table: pd.DataFrame) -> dict[str, float]:
    """Return a table ``metric, value`` as a mapping."""
    return dict(zip(table["metric"], table["value"], strict=True))


def with_distractors(metadata: pd.DataFrame | None, distractors: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the metadata of folds and distractors as one table; None if no column is used."""
    return None if metadata is None else pd.concat([metadata, distractors], ignore_index=True)


def odds_of_others(folds: Mapping[int, Mapping[str, Any]], fold: int) -> list[PairOdds]:
    """Return the odds of all folds but one; for a single fold, its own."""
    others = [found["odds"] for other, found in folds.items() if other != fold] or [folds[fold]["odds"]]
    return [odds for subset in others for odds in subset]


@dataclass(frozen=True)
class Matcher:
    """Everything needed to compute similarities from the embeddings of folds.

    Attributes:
        similarity: Settings of the similarity.
        memory: Limit on the pairs held at once.
        calibration: Result of :func:`calibrate_similarities`, if similarities are calibrated.
        metadata: Metadata of the images, if columns are used.
    """

    similarity: SimilarityParams
    memory: MemoryParams
    calibration: Calibrations | None
    metadata: pd.DataFrame | None

    def pool(self, fold: int, embeddings: Embeddings, shortlist: pd.DataFrame | None) -> Pool:
        """Return images with the similarities of a fold's model, with the calibration fitted on other folds."""
        fitted = None if self.calibration is None else self.calibration[str(fold)]
        listed = read_shortlist(shortlist, embeddings.image_ids)
        context = read_context(self.metadata, embeddings.image_ids, self.similarity.context)
        return pool_of(embeddings.vectors, self.similarity, listed, fitted, context, limits_of(self.memory))
