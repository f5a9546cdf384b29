"""Experiments that combine the embeddings of others: one vector of several, one checkpoint of several."""

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
    """Return embeddings of the same images side by side: their cosines are the mean of the members' cosines.

    Args:
        members: ``(n_images, embedding_dim)`` each, unit length; dimensions may differ. At least one.
        shares: Weight of each member in that mean; positive, any sum.

    Returns:
        ``(n_images, sum of the dimensions)`` float32, unit length: each part is scaled by the root of its share of all.
    """
    scaled = [vectors * np.sqrt(share) for vectors, share in zip(members, shares, strict=True)]
    return unit_vectors(np.concatenate(scaled, axis=1))


def combine_embeddings(members: Sequence[Embeddings], shares: Sequence[float]) -> Embeddings:
    """Combine the embeddings of several experiments.

    Args:
        members: Of the same images in the same order.
        shares: Of each in the mean of the cosines.

    Returns:
        One embedding per image, whose cosines are the mean of the members' cosines.

    Raises:
        InputError: If the members are not of the same images.
    """
    first = members[0]
    if any(member.image_ids != first.image_ids for member in members):
        raise InputError(
            "The embeddings of a combination's members are of different images.\n"
            "  Remedy: some are of an earlier split; run the pipeline of the combination."
        )
    values = combine_vectors([member.values for member in members], shares)
    description = {MEMBERS: [dict(member.description) for member in members], "shares": list(shares)}
    return Embeddings(first.image_ids, values, description)


def combine_checkpoints(
    members: Mapping[str, Checkpoint], shares: Sequence[float], cuts: Mapping[str, float], matching: Matching
) -> Checkpoint:
    """Return the final models of several experiments as one checkpoint.

    Args:
        members: By name of the experiment; with all weights.
        shares: Of each in the mean of the cosines.
        cuts: ``cosine_threshold``, ``dbscan_eps`` and so on, for a pool as large as a fold.
        matching: How the combined embeddings are matched.

    Returns:
        Tensors as ``member_<n>.…``; the header holds names and headers of the members, without how each is matched.
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
    """Take a checkpoint apart.

    Args:
        checkpoint: Of a combination or of one model, from anyone.

    Returns:
        The members' checkpoints; of one model itself.

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
            f"the checkpoint has {len(rest)} tensors of no member, such as {min(rest)!r}.\n"
            "  Remedy: use a checkpoint as Skinbit wrote it; run the pipeline of its experiment where it is damaged."
        )
    return members


def _prefix(number: int) -> str:
    return f"member_{number}."


def _take(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Move the tensors of a member out of all tensors."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
