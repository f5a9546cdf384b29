"""What makes pieces of features: frozen features of a study's photographs, and embeddings of new ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from skinbit.config import BackboneParams, LoaderParams
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import Rows
from skinbit.embedding.backbones import load_described
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.compute import Compute
from skinbit.embedding.features import Extraction, extract_pieces
from skinbit.embedding.inference import embed_pieces
from skinbit.embedding.tables import Features
from skinbit.matching.labels import FloatArray


@dataclass(frozen=True)
class FeatureMaker:
    """Passes photographs through a frozen backbone.

    Attributes:
        extraction: Photographs, loader and compute settings.
        backbone: Settings of the backbone.
        seed: Seed of the weights if they are not pretrained.
        keys: Fingerprint of each photograph's features.
        description: Description of the backbone.
    """

    extraction: Extraction
    backbone: BackboneParams
    seed: int
    keys: Sequence[str]
    description: Mapping[str, Any]

    def __call__(self, pieces: Sequence[Rows]) -> Iterator[Features]:
        """Yield the features of the photographs in the rows of each piece."""
        loaded = load_described(self.backbone, self.seed, self.description["weights_sha256"])
        ids = self.extraction.photographs.image_ids
        named = [[ids[row] for row in rows] for rows in pieces]
        made = extract_pieces(self.extraction, named, loaded, self.backbone.test_views)
        for rows, image_ids, values in zip(pieces, named, made, strict=True):
            yield _piece(rows, image_ids, values, self.keys, self.description)


@dataclass(frozen=True)
class EmbeddingMaker:
    """Embeds photographs of several folders with a trained model.

    Attributes:
        checkpoint: Checkpoint with all weights.
        photographs: Photographs; a piece has those of one folder.
        loader: Worker processes and batch size.
        compute: Device, precision, threads.
        keys: Fingerprint of each photograph's embedding.
        description: Description of the model.
    """

    checkpoint: Checkpoint
    photographs: Photographs
    loader: LoaderParams
    compute: Compute
    keys: Sequence[str]
    description: Mapping[str, Any]

    def __call__(self, pieces: Sequence[Rows]) -> Iterator[Features]:
        """Yield the embeddings of the photographs in the rows of each piece."""
        places = self.photographs.places
        for _, run in groupby(pieces, lambda rows: id(places[rows[0]][0])):
            together = list(run)
            source = places[together[0][0]][0]
            named = [[places[row][1] for row in rows] for rows in together]
            made = embed_pieces(self.checkpoint, Extraction(source, self.loader, self.compute), named)
            for rows, image_ids, values in zip(together, named, made, strict=True):
                yield _piece(rows, image_ids, values, self.keys, self.description)


def _piece(
    rows: Rows, image_ids: Sequence[str], values: FloatArray, keys: Sequence[str], description: Mapping[str, Any]
) -> Features:
    return Features(tuple(image_ids), values, tuple(keys[row] for row in rows), description)
