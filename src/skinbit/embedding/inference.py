"""Embeddings of any photographs by a checkpoint alone."""

import hashlib
import json
from dataclasses import asdict

import numpy as np

from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, whitening_of
from skinbit.embedding.combination import combine_vectors, members_of
from skinbit.embedding.compute import Compute
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import Extraction, extract_features
from skinbit.embedding.headers import CombinationHeader
from skinbit.matching.labels import FloatArray


def embed_photographs(checkpoint: Checkpoint, extraction: Extraction, image_ids: list[str]) -> FloatArray:
    """Embed photographs as the study embeds them: every test view through the model, their mean, whitened if need be.

    The embeddings of a combination are those of its members, combined.

    Args:
        checkpoint: With all weights.
        extraction: Where the photographs are, and where to compute.
        image_ids: Which photographs, in this order; at least one.

    Returns:
        ``(n_images, embedding_dim)`` float32, unit length.

    Raises:
        InputError: If the checkpoint holds a head alone, or a photograph gives no usable embedding.
    """
    embedded = [_embed(member, extraction, image_ids) for member in members_of(checkpoint)]
    header = checkpoint.header
    return combine_vectors(embedded, header.shares) if isinstance(header, CombinationHeader) else embedded[0]


def _embed(checkpoint: Checkpoint, extraction: Extraction, image_ids: list[str]) -> FloatArray:
    model = rebuild_model(checkpoint)
    views = checkpoint.model.backbone.test_views
    values = extract_features(extraction, image_ids, model, views)
    embeddings, whitening = average_views(values), whitening_of(checkpoint)
    return embeddings if whitening is None else whitening.apply(embeddings)


def embedding_key(checkpoint: Checkpoint, compute: Compute, batch_size: int) -> str:
    """Return the fingerprint of everything but the photograph that an embedding depends on.

    Args:
        checkpoint: The model.
        compute: Device, precision and threads change the last digits.
        batch_size: So does the number of images per forward pass.
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
        "model": model,
        "compute": asdict(compute) | {"batch_size": batch_size},
        "versions": {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()
