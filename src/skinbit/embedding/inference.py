"""Embeddings of photographs from a checkpoint only."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, whitening_of
from skinbit.embedding.combination import combine_vectors, members_of
from skinbit.embedding.compute import Compute
from skinbit.embedding.embeddings import average_rotations, average_views
from skinbit.embedding.features import Extraction, extract_pieces
from skinbit.embedding.headers import CombinationHeader
from skinbit.embedding.tables import Embeddings
from skinbit.matching.labels import FloatArray


def embed_photographs(checkpoint: Checkpoint, extraction: Extraction, image_ids: list[str]) -> FloatArray:
    """Embed photographs like the study does: all test views are averaged, then whitened if the model says so.

    The embeddings of a combination are the combined embeddings of its members.

    Args:
        checkpoint: Checkpoint with all weights.
        extraction: Photographs, loader and compute settings.
        image_ids: Image ids, in the order of the result; at least one.

    Returns:
        ``(n_images, n_vectors, embedding_dim)`` float32, unit length: one vector, followed by one per zoom if zooms are
        compared.

    Raises:
        InputError: If the checkpoint has only a head, or a photograph has no usable embedding.
    """
    (vectors,) = embed_pieces(checkpoint, extraction, [image_ids])
    return vectors


def embed_pieces(
    checkpoint: Checkpoint, extraction: Extraction, pieces: Sequence[Sequence[str]]
) -> Iterator[FloatArray]:
    """Yield the embeddings of each piece of image ids; see :func:`embed_photographs`."""
    header, members = checkpoint.header, members_of(checkpoint)
    for embedded in zip(*(_embed(member, extraction, pieces) for member in members), strict=True):
        if isinstance(header, CombinationHeader):
            yield combine_vectors([vectors[:, 0] for vectors in embedded], header.shares)[:, None]
        else:
            yield embedded[0]


def _embed(checkpoint: Checkpoint, extraction: Extraction, pieces: Sequence[Sequence[str]]) -> Iterator[FloatArray]:
    model, whitening = rebuild_model(checkpoint), whitening_of(checkpoint)
    views = checkpoint.model.backbone.test_views
    for piece, values in zip(pieces, extract_pieces(extraction, pieces, model, views), strict=True):
        zooms = average_rotations(values, views) if checkpoint.compares_zooms else None
        embeddings = Embeddings(tuple(piece), average_views(values), {}, zooms)
        vectors = (embeddings if whitening is None else whitening.apply(embeddings)).vectors
        yield vectors.reshape(len(vectors), -1, vectors.shape[-1])


def embedding_key(checkpoint: Checkpoint, compute: Compute, batch_size: int) -> str:
    """Return the fingerprint of everything except the photograph that an embedding depends on.

    Args:
        checkpoint: The model.
        compute: Device, precision and threads, which change the last digits.
        batch_size: Images per forward pass, which also changes the last digits.
    """
    import PIL
    import timm
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.tensors.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    header, makes_embeddings = checkpoint.header, {"backbone", "preprocessing", "head"}
    if isinstance(header, CombinationHeader):
        model = header.model_dump(include={"members": {"__all__": makes_embeddings}, "shares": True})
    else:
        model = header.model_dump(include=makes_embeddings)
    settings = {
        "model": model | ({"zoom_pairs": True} if checkpoint.compares_zooms else {}),
        "compute": compute.describe() | {"batch_size": batch_size},
        "versions": {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()
