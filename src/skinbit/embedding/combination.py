"""Experiments that combine others: their embeddings in one vector, their models in one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from skinbit.config import MEMBERS
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.headers import CombinationHeader
from skinbit.embedding.tables import Embeddings
from skinbit.errors import InputError
from skinbit.matching.assembly import Matching
from skinbit.matching.labels import FloatArray, unit_vectors

if TYPE_CHECKING:
    import torch


def combine_vectors(members: Sequence[FloatArray], shares: Sequence[float]) -> FloatArray:
    """Return concatenated embeddings of the same images; their cosines are the mean of the members' cosines.

    Args:
        members: ``(n_images, embedding_dim)`` of each member, unit length; dimensions may differ. At least one.
        shares: Weight of each member's cosine in the mean; positive, any sum.

    Returns:
        ``(n_images, sum of the dimensions)`` float32, unit length; each part is scaled by the root of its relative
        share.
    """
    scaled = [vectors * np.sqrt(share) for vectors, share in zip(members, shares, strict=True)]
    return unit_vectors(np.concatenate(scaled, axis=1))


def combine_embeddings(members: Sequence[Embeddings], shares: Sequence[float]) -> Embeddings:
    """Return the combined embeddings of several experiments.

    Args:
        members: Embeddings of the same images in the same order.
        shares: Weight of each member's cosine in the mean.

    Returns:
        One embedding per image; cosines are the mean of the members' cosines.

    Raises:
        InputError: If the members have different images.
    """
    first = members[0]
    if any(member.image_ids != first.image_ids for member in members):
        raise InputError(
            "The embeddings of a combination's members are of different images.\n"
            "  Remedy: some are from an earlier split; run the pipeline of the combination."
        )
    values = combine_vectors([member.values for member in members], shares)
    description = {MEMBERS: [dict(member.description) for member in members], "shares": list(shares)}
    return Embeddings(first.image_ids, values, description)


def combine_checkpoints(
    members: Mapping[str, Checkpoint], shares: Sequence[float], cuts: Mapping[str, float], matching: Matching
) -> Checkpoint:
    """Return the final models of several experiments as one checkpoint.

    Args:
        members: Checkpoints with all weights, by name of the experiment.
        shares: Weight of each member's cosine in the mean.
        cuts: ``cosine_threshold``, ``dbscan_eps`` and so on, for a pool of the size of a fold.
        matching: How the combined embeddings are matched.

    Returns:
        Tensors as ``member_<n>.…``; the header has the members' names and headers, without their settings for matching.
    """
    from skinbit import __version__

    tensors = {
        f"{_prefix(number)}{name}": tensor
        for number, member in enumerate(members.values())
        for name, tensor in member.tensors.items()
    }
    header = CombinationHeader(
        combine=tuple(members),
        shares=tuple(shares),
        members=tuple(member.model.without_matching() for member in members.values()),
        versions={"skinbit": __version__},
        matching=matching,
        **cuts,
    )
    return Checkpoint(tensors, header)


def members_of(checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
    """Return the members of a checkpoint.

    Args:
        checkpoint: Untrusted checkpoint of a combination or of a single model.

    Returns:
        Checkpoints of the members; for a single model, the checkpoint itself.

    Raises:
        InputError: If a tensor belongs to no member.
    """
    if not isinstance(checkpoint.header, CombinationHeader):
        return (checkpoint,)
    rest = dict(checkpoint.tensors)
    headers = enumerate(checkpoint.header.members)
    members = tuple(Checkpoint(_take(rest, _prefix(number)), header) for number, header in headers)
    if rest:
        raise InputError(
            "The model cannot be rebuilt: "
            f"the checkpoint has {len(rest)} tensors that belong to no member, such as {min(rest)!r}.\n"
            "  Remedy: use an unchanged checkpoint of Skinbit; if it is damaged, run the pipeline of its experiment."
        )
    return members


def _prefix(number: int) -> str:
    return f"member_{number}."


def _take(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a member, which are removed from ``tensors``."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
