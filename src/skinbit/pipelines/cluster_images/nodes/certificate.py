"""Nodes: what answers about drawn pairs say of the groups before these answers."""

import logging
from typing import Any

import pandas as pd

from skinbit.config import ClusterParams, MemoryParams
from skinbit.decisions.answers import Answer
from skinbit.decisions.certified import CertifiedGroups, Frozen, Sample, last_sample, obeyed_answers
from skinbit.decisions.verdicts import weigh_answers
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.tables import Features
from skinbit.matching.clustering.constraints import Constraints, unconstrained
from skinbit.matching.cuts.grouping_cut import read_cut
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.expected.candidates import find_candidates
from skinbit.matching.expected.documents import settle_cut
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.grouping import group_images
from skinbit.pipelines.cluster_images.nodes.decisions import Ledgers
from skinbit.pipelines.cluster_images.nodes.groups import pool_of_photographs

logger = logging.getLogger(__name__)


def certify_groups(
    checkpoint: Checkpoint,
    features: Features,
    compared: pd.DataFrame,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    columns: pd.DataFrame,
    known_cuts: KnownCuts,
    decision_files: Ledgers,
    cluster: ClusterParams,
    is_corrected: bool,
    memory: MemoryParams,
) -> dict[str, Any]:
    """Certify the groups from which pairs were drawn last, by the answers about these pairs.

    Those groups are made anew: they obey what the ledger held when the pairs were drawn, and nothing that came after.

    Args:
        checkpoint: The model, with its similarity and its odds.
        features: Embeddings of new, then of known photographs.
        compared: From :func:`compare_photographs`.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: Likewise, and ``lesion_id``; there is no certificate where there are any.
        columns: ``image_id, …`` of new, then of known photographs.
        known_cuts: What the user and the folds of the model say.
        decision_files: Looks ledgers up.
        cluster: The method, and what the user wants.
        is_corrected: Whether the number of photographs counts where the folds' cut is taken.
        memory: How many pairs are held at once.

    Returns:
        ``certificate``, of :class:`skinbit.decisions.certified.CertifiedGroups`; None where no answer is of a sample,
        or groups are others since.
    """
    answers = decision_files(cluster.decisions)
    named, hashes = last_sample(answers), new_photographs["sha256"].tolist()
    if named is None or len(known_photographs) or not _are_here(answers, named[0], hashes):
        return {"certificate": None}
    reason, n_obeyed = named
    logger.info("the groups of which pairs were drawn for the certificate, made anew:")
    pool, shortlist = pool_of_photographs(checkpoint, features, compared, columns, cluster, memory)
    verdicts = weigh_answers(obeyed_answers(answers, n_obeyed), hashes)
    constraints = Constraints(unconstrained(len(pool)).known, *verdicts.as_arrays())
    settled = settle_cut(pool, constraints, checkpoint.matching.odds, known_cuts, cluster, is_corrected)
    found = None
    if settled["log_odds"] is not None:
        log_odds = LogOdds(**settled["log_odds"])
        groups = group_images(pool, (), read_cut(settled), cluster.max_group_size, constraints).cluster_ids
        prior = PoolPrior(log_odds, settled["expected"]["n_positive_pairs"], tuple(checkpoint.matching.odds))
        frozen = Frozen(groups, find_candidates(pool, shortlist, log_odds), hashes, prior, n_obeyed)
        sample = Sample(frozen, answers)
        found = sample.certify(answers) if sample.reason == reason else None
    _log(found)
    return {"certificate": None if found is None else found.model_dump(mode="json")}


def _are_here(answers: tuple[Answer, ...], reason: str, hashes: list[str]) -> bool:
    """Return whether all photographs of a sample are at hand."""
    sampled = {each for answer in answers if answer.reason == reason for part in answer.parts for each in part}
    return sampled <= set(hashes)


def _log(found: CertifiedGroups | None) -> None:
    if found is None:
        logger.info("no certificate: photographs, model or cut are others than when its pairs were drawn")
        return
    told = (("precision", found.precision), ("recall", found.recall), ("F1", found.f1))
    logger.info(
        "certified by %d answers about pairs drawn from these groups: %s",
        found.n_sampled,
        ", ".join(f"{name} {of.value:.3f} [{of.low:.3f}, {of.high:.3f}]" for name, of in told),
    )
