"""Nodes: the model for grouping, and its cut."""

import logging
import math
from collections.abc import Callable

import pandas as pd

from skinbit.config import BackboneParams, ClusterParams, ContextParams
from skinbit.data.metadata import source_of
from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, with_backbone
from skinbit.embedding.combination import members_of
from skinbit.errors import InputError
from skinbit.matching.assembly import FITTED_ON_SYNTHETIC
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.similarity.columns import columns_of, context_of_rows, require_columns
from skinbit.pipelines.cluster_images.nodes.decisions import Ledgers

logger = logging.getLogger(__name__)


def open_checkpoint(checkpoint_files: Callable[[str], Checkpoint], cluster: ClusterParams) -> Checkpoint:
    """Load the checkpoint that a user names.

    Raises:
        InputError: If no model is named, the file does not exist, is not a model, or needs a frozen backbone.
    """
    if cluster.checkpoint is None:
        raise InputError(
            "cluster_images needs a model. Remedy: --params "
            '"cluster.images=FOLDER,cluster.experiment=NAME" (or cluster.checkpoint=FILE).'
        )
    checkpoint = checkpoint_files(cluster.checkpoint)
    if not getattr(checkpoint.header, "holds_backbone", True):
        raise InputError(
            f"{cluster.checkpoint} has a fold's head without its frozen backbone.\n"
            "  Remedy: use the final model's checkpoint, or set cluster.experiment and cluster.fold instead."
        )
    try:
        for member in members_of(checkpoint):
            rebuild_model(member)
    except InputError as error:
        raise InputError(f"{cluster.checkpoint} cannot be used. {error.message}") from error
    return checkpoint


def complete_checkpoint(checkpoint: Checkpoint, backbone: BackboneParams, seed: int) -> Checkpoint:
    """Return a fold's checkpoint with its frozen backbone.

    Args:
        checkpoint: Checkpoint of the fold.
        backbone: Settings of the backbone.
        seed: Seed of the backbone's weights if they are not pretrained.
    """
    return with_backbone(checkpoint, backbone, seed)


def check_cuts(
    checkpoint: Checkpoint,
    column_files: Callable[[str], pd.DataFrame],
    decision_files: Ledgers,
    cluster: ClusterParams,
) -> KnownCuts:
    """Return the cuts of the user and of the model's folds, before any photograph is read.

    Raises:
        InputError: If no folder is named, there is no cut, a table of columns lacks one or cannot be read, or a ledger
            of answers cannot be used.
    """
    if cluster.images is None:
        raise InputError('cluster_images needs a folder. Remedy: --params "cluster.images=FOLDER,…".')
    decision_files(cluster.decisions)
    _check_columns(checkpoint.matching.similarity.context, column_files, cluster)
    if checkpoint.matching.is_synthetic:
        logger.info("the model was fitted on %s", FITTED_ON_SYNTHETIC)
    points, name = checkpoint.matching.operating_points, CUTS.get(cluster.method, "")
    value = getattr(checkpoint.header, name) if name else None
    value = None if value is None or math.isnan(value) else value
    if name and cluster.given_cut is None and value is None:
        raise InputError(
            f"The model has no {name}: its training had no two images of the same lesion.\n"
            f"  Remedy: set one, cluster.{METHODS[cluster.method].word}=…"
        )
    return KnownCuts(
        method=cluster.method, given=cluster.given_cut, value=value, operating_points=points.get(cluster.method, ())
    )


def _check_columns(
    params: ContextParams | None, column_files: Callable[[str], pd.DataFrame], cluster: ClusterParams
) -> None:
    """Check the table of columns, or log which columns are missing without one."""
    same, evidence = columns_of(params, cluster.same)
    columns = (*same, *evidence)
    if cluster.metadata is None:
        if columns:
            logger.warning("without cluster.metadata there is no %s, which the model uses", ", ".join(columns))
        return
    if not columns:
        raise InputError(
            f"The model uses no column, so {cluster.metadata} would change nothing.\n"
            "  Remedy: use the model of an experiment with similarity.context, name columns that must agree in "
            "cluster.same, or do not set cluster.metadata."
        )
    table = column_files(cluster.metadata)
    source = source_of(table)
    require_columns(table, cluster.same, source, "cluster.same")
    missing = [column for column in columns if column not in table.columns]
    if len(missing) == len(columns):
        raise InputError(
            f"{source} has none of the columns that the model uses: {', '.join(columns)}.\n"
            "  Remedy: name its columns as in the study's metadata, or do not set cluster.metadata."
        )
    if missing:
        logger.warning("%s has no column %s, which the model uses: its values are unknown", source, ", ".join(missing))
    context_of_rows(table, same, evidence, source)
