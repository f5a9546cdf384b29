"""Lesion-disjoint subsets and folds: every lesion is in exactly one of them (disjoint-set protocol)."""

import hashlib
import logging
import math
from itertools import zip_longest

import numpy as np
import pandas as pd

from skinbit.config import SplitParams
from skinbit.data.ids import is_unknown
from skinbit.errors import InputError

logger = logging.getLogger(__name__)

TRAIN, TEST = "train", "test"
TEST_FOLD = -1

_BLANK_STRATUM = "(blank)"
_MERGED_STRATUM = "(other)"


def split_lesions(images: pd.DataFrame, params: SplitParams, seed: int, is_draft: bool = False) -> pd.DataFrame:
    """Return the split of lesions into a test subset and folds.

    Args:
        images: One row per image with ``image_id``, ``lesion_id`` and the columns of ``params``, if any; the order of
            rows does not matter.
        params: Number of folds, test fraction, stratification, and the column of lesions that stay together.
        seed: Seed of the shuffling.
        is_draft: Whether the split is repeated later, so that nothing is logged yet.

    Returns:
        ``image_id, lesion_id, subset, fold`` in the order of ``images``; ``fold`` is -1 in the test subset.

    Raises:
        InputError: If there are too few lesions, or groups of lesions that stay together, for the folds, or a column is
            missing.
    """
    check_columns(images, params)
    lesions = np.array(sorted(images["lesion_id"].unique()), dtype=object)
    _check_enough(len(lesions), params)
    strata, merged = _strata(images, lesions, params)
    folds = np.full(len(lesions), TEST_FOLD)
    if params.keep_together is None:
        is_test = _choose_test(strata, params, seed)
        folds[~is_test] = _deal_folds(strata[~is_test], params.n_folds, seed)
    else:
        bundles = _bundles(images, lesions, params.keep_together)
        folds = _deal_bundles(bundles, strata, params, seed)
        if not is_draft:
            _log_bundles(bundles, params)
    if merged and not is_draft:
        logger.warning(
            "stratifying by %s: fewer than %d lesions each have the values %s; they are merged into one stratum",
            params.stratify_by,
            _smallest_stratum(params),
            ", ".join(merged),
        )
    fold_of = dict(zip(lesions, folds.tolist(), strict=True))
    fold = images["lesion_id"].map(fold_of).astype("int64")
    subset = pd.Series(np.where(fold == TEST_FOLD, TEST, TRAIN), index=images.index, dtype="str")
    return images[["image_id", "lesion_id"]].assign(subset=subset, fold=fold)


def check_columns(images: pd.DataFrame, params: SplitParams) -> None:
    """Check that the columns of ``params`` exist.

    Args:
        images: The metadata.
        params: Settings with the column names.

    Raises:
        InputError: If a column is missing.
    """
    for parameter in ("stratify_by", "keep_together"):
        column = getattr(params, parameter)
        if column is not None and column not in images.columns:
            raise InputError(
                f"split.{parameter} names the column {column!r}, which the metadata does not have; its columns are: "
                f"{', '.join(images.columns)}.\n  Remedy: name one of these, or set split.{parameter}=null."
            )


def check_pairs(split: pd.DataFrame) -> list[str]:
    """Return the subsets (``fold 0``, …, ``test``) without two images of the same lesion, in which F1 is undefined.

    Raises:
        InputError: If no fold has any.
    """
    has_pair = split["lesion_id"].duplicated().groupby(split["fold"]).any()
    if not has_pair[has_pair.index != TEST_FOLD].any():
        raise InputError(
            "No two images of the folds show the same lesion, so there is no pair to find.\n"
            "  Remedy: add photographs of the same lesions, or correct lesion_id."
        )
    return ["test" if fold == TEST_FOLD else f"fold {fold}" for fold in has_pair.index[~has_pair]]


def _n_test(n_lesions: int, params: SplitParams) -> int:
    return math.ceil(n_lesions * params.test_fraction) if params.use_train_test_split else 0


def _check_enough(n_lesions: int, params: SplitParams) -> None:
    n_train = n_lesions - _n_test(n_lesions, params)
    if n_train < params.n_folds:
        raise InputError(
            f"{n_lesions} lesions are too few: {n_train} remain for training, but split.n_folds is "
            f"{params.n_folds}.\n  Remedy: add lesions with 2 or more images, lower split.n_folds, or set "
            "split.use_train_test_split=false."
        )


def _choose_test(strata: np.ndarray, params: SplitParams, seed: int) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    is_test = np.zeros(len(strata), dtype=bool)
    if params.use_train_test_split:
        stratify = strata if len(set(strata)) > 1 else None
        n_test = _n_test(len(strata), params)
        chosen = train_test_split(np.arange(len(strata)), test_size=n_test, random_state=seed, stratify=stratify)[1]
        is_test[chosen] = True
    return is_test


def _deal_folds(strata: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = StratifiedKFold if len(set(strata)) > 1 else KFold
    dealt = splitter(n_folds, shuffle=True, random_state=seed).split(strata, strata)
    folds = np.empty(len(strata), dtype=int)
    for fold, (_, held_out) in enumerate(dealt):
        folds[held_out] = fold
    return folds


def _strata(images: pd.DataFrame, lesions: np.ndarray, params: SplitParams) -> tuple[np.ndarray, list[str]]:
    """Return each lesion's stratum, and the values that were merged because they are too rare."""
    column = params.stratify_by
    if column is None:
        return np.zeros(len(lesions), dtype=object), []
    # Images of one lesion may disagree: the most frequent value counts.
    value_of = images.groupby("lesion_id")[column].agg(lambda values: values.mode().iloc[0]).replace("", _BLANK_STRATUM)
    return _merge_small(value_of.loc[lesions].to_numpy(dtype=object), _smallest_stratum(params))


def _smallest_stratum(params: SplitParams) -> int:
    """Return the smallest number of lesions of a stratum, so that each fold, and the test subset, can get one."""
    if not params.use_train_test_split:
        return params.n_folds
    return max(math.ceil(params.n_folds / (1 - params.test_fraction)) + 1, math.ceil(1 / params.test_fraction))


def _merge_small(strata: np.ndarray, needed: int) -> tuple[np.ndarray, list[str]]:
    counts = pd.Series(strata).value_counts()
    small = sorted(counts.index[counts < needed])
    if not small:
        return strata, []
    merged = strata.copy()
    merged[np.isin(strata.astype(str), small)] = _MERGED_STRATUM
    if (merged == _MERGED_STRATUM).sum() < needed:
        large = counts.index[counts >= needed]
        merged[merged == _MERGED_STRATUM] = large[0] if len(large) else _MERGED_STRATUM
    return merged, small


def _bundles(images: pd.DataFrame, lesions: np.ndarray, column: str) -> np.ndarray:
    """Return bundle numbers of lesions; shared values, except missing ones, join lesions to one bundle."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = images[~images[column].map(is_unknown).astype(bool)]
    values, value_of = np.unique(known[column].to_numpy(dtype=str), return_inverse=True)
    lesion_of = np.searchsorted(lesions, known["lesion_id"].to_numpy(dtype=object))
    n_nodes = len(lesions) + len(values)
    edges = (np.ones(len(known), dtype=np.int64), (lesion_of, len(lesions) + value_of))
    numbers: np.ndarray = connected_components(coo_array(edges, shape=(n_nodes, n_nodes)), directed=False)[1]
    return numbers[: len(lesions)]


def _deal_bundles(bundles: np.ndarray, strata: np.ndarray, params: SplitParams, seed: int) -> np.ndarray:
    """Assign bundles of lesions, largest first, each to the part that lacks most of its strata.

    Scikit-learn's group splitters have no test fraction, or do not balance sizes and strata at once.
    """
    parts = [*([TEST_FOLD] if params.use_train_test_split else []), *range(params.n_folds)]
    number_of = np.unique(bundles, return_inverse=True)[1]
    sizes = np.bincount(number_of)
    if len(sizes) < len(parts):
        raise InputError(
            f"split.keep_together={params.keep_together} leaves {len(sizes)} bundles of lesions, but folds and "
            f"test subset need {len(parts)}.\n"
            "  Remedy: add data, lower split.n_folds, or set split.keep_together=null."
        )
    held = np.zeros((len(sizes), len(set(strata))))
    np.add.at(held, (number_of, np.unique(strata.astype(str), return_inverse=True)[1]), 1)
    n_test = _n_test(len(strata), params)
    wanted = np.array([n_test if part == TEST_FOLD else (len(strata) - n_test) / params.n_folds for part in parts])
    lacking = np.outer(wanted / len(strata), held.sum(axis=0))
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    part_of = np.full(len(sizes), -1)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    for n_dealt, bundle in enumerate(order):
        is_empty = ~np.isin(np.arange(len(parts)), part_of)
        # Every part gets a bundle: from here on there are as many bundles left as empty parts.
        may_take = is_empty if is_empty.sum() == len(order) - n_dealt else np.ones(len(parts), dtype=bool)
        part_of[bundle] = np.argmax(np.where(may_take, lacking @ held[bundle], -np.inf))
        lacking[part_of[bundle]] -= held[bundle]
    dealt: np.ndarray = np.array(parts)[part_of[number_of]]
    return dealt


def _log_bundles(bundles: np.ndarray, params: SplitParams) -> None:
    sizes = np.unique(bundles, return_counts=True)[1]
    logger.info(
        "kept together by %s: %d lesions in %d bundles, the largest of %d; folds may differ in size because of it",
        params.keep_together,
        sizes.sum(),
        len(sizes),
        sizes.max(),
    )


def choose_lesions(split: pd.DataFrame, n_lesions: int, seed: int) -> set[str]:
    """Return a few lesions of a finished split, evenly from the test subset and the folds.

    A lesion's rank depends only on its id and the seed, so the choice does not change with the order of rows.

    Args:
        split: From :func:`split_lesions`.
        n_lesions: Number of lesions; all if there are fewer.
        seed: Seed of the choice.

    Returns:
        The chosen lesion ids.
    """
    fold_of = split.drop_duplicates("lesion_id").set_index("lesion_id")["fold"]
    ranked = _shuffled(fold_of.index.tolist(), seed)
    by_fold = [[lesion for lesion in ranked if fold_of[lesion] == fold] for fold in sorted(set(fold_of))]
    dealt = [lesion for round_ in zip_longest(*by_fold) for lesion in round_ if lesion is not None]
    return set(dealt[:n_lesions])


def choose_distractors(images: pd.DataFrame, n_distractors: int | None, seed: int) -> pd.DataFrame:
    """Return singleton lesions that serve as distractors for every fold.

    Args:
        images: One row per image of all lesions, with ``image_id`` and ``lesion_id``.
        n_distractors: Number of distractors; None: all.
        seed: Seed of the choice.

    Returns:
        ``image_id, lesion_id`` in the order of ``images``.

    Raises:
        InputError: If there are fewer; with their number.
    """
    is_single = (images["lesion_id"] != "") & ~images["lesion_id"].duplicated(keep=False)
    singles = images.loc[is_single, ["image_id", "lesion_id"]]
    wanted = len(singles) if n_distractors is None else n_distractors
    if not 0 < wanted <= len(singles):
        raise InputError(
            f"evaluation.distractors asks for {n_distractors or 'all'} singleton lesions; the metadata have "
            f"{len(singles)}.\n  Remedy: add lesions with a single image, or set "
            f"evaluation.distractors={len(singles)}."
        )
    chosen = _shuffled(singles["lesion_id"].tolist(), seed)[:wanted]
    return singles[singles["lesion_id"].isin(chosen)]


def _shuffled(lesion_ids: list[str], seed: int) -> list[str]:
    """Return lesions in random order; the relative order of any two depends only on their ids and the seed."""
    return sorted(lesion_ids, key=lambda lesion: hashlib.sha256(f"{seed}:{lesion}".encode()).digest())
