"""Embeddings of any photographs by a checkpoint alone."""

import hashlib
import json
from dataclasses import asdict

import numpy as np

from skinbit.config import BackboneParams
from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, whitening_of
from skinbit.embedding.combination import combine_vectors, members_of
from skinbit.embedding.compute import Compute
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import Extraction, extract_features
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
    return embedded[0] if len(embedded) == 1 else combine_vectors(embedded, checkpoint.header["shares"])


def _embed(checkpoint: Checkpoint, extraction: Extraction, image_ids: list[str]) -> FloatArray:
    model = rebuild_model(checkpoint)
    views = BackboneParams.model_validate(checkpoint.header["backbone"]).test_views
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
    models = [
        {name: member.header[name] for name in ("backbone", "preprocessing", "head")}
        for member in members_of(checkpoint)
    ]
    settings = {
        "model": models[0] if len(models) == 1 else {"members": models, "shares": checkpoint.header["shares"]},
        "compute": asdict(compute) | {"batch_size": batch_size},
        "versions": {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()
