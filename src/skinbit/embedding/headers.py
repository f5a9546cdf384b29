"""The header of a checkpoint: its fields, all checked before a model is built from them."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PlainSerializer, ValidationError, model_validator

from skinbit.config import MAX_MEMBERS, MEMBERS, BackboneParams, Block, HeadParams, Name, in_words
from skinbit.embedding.preprocessing import Preprocessing
from skinbit.matching.assembly import Matching


def _is_none(value: Any) -> bool:
    return value is None


def _cut_or_nan(value: float) -> float:
    """Check a cut, which may be undefined (NaN) if a fold has no pair of the same lesion."""
    if not (math.isnan(value) or -1 <= value <= 2):
        raise ValueError("a cut must be between -1 and 2")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Versions = Annotated[dict[Name, Annotated[str, Field(max_length=100)]], Field(max_length=20)]
_Cut = Annotated[
    Annotated[float, Field(allow_inf_nan=True), AfterValidator(_cut_or_nan)] | None, Field(exclude_if=_is_none)
]
_NoPath = PlainSerializer(lambda backbone: backbone.model_dump(exclude={"weights"}))
"""Checkpoints name no other files."""


class Header(Block):
    """How the embeddings of a checkpoint are matched; None in a checkpoint of trained weights only.

    Attributes:
        cosine_threshold: Threshold for a pool of the size of a fold; NaN if no fold has one.
        dbscan_eps: Distance of DBSCAN for a pool of the size of a fold; NaN if no fold has one.
        average_cut: Distance of average linkage for a pool of the size of a fold; NaN if no fold has one.
        complete_cut: Distance of complete linkage for a pool of the size of a fold; NaN if no fold has one.
        matching: How embeddings are grouped in a pool of any size.
        versions: Versions of the software that made the checkpoint.
    """

    cosine_threshold: _Cut = None
    dbscan_eps: _Cut = None
    average_cut: _Cut = None
    complete_cut: _Cut = None
    matching: Annotated[Matching | None, Field(exclude_if=_is_none)] = None
    versions: _Versions


class ModelHeader(Header):
    """Everything needed to rebuild and use a model; a baseline has no loss_params, training and epoch."""

    backbone: Annotated[BackboneParams, _NoPath]
    preprocessing: Preprocessing
    weights_sha256: Sha256
    holds_backbone: bool
    head: HeadParams
    loss: Name
    loss_params: Annotated[dict[str, Any] | None, Field(exclude_if=_is_none)] = None
    training: Annotated[dict[str, Any] | None, Field(exclude_if=_is_none)] = None
    epoch: Annotated[int, Field(ge=0, le=10**6)] | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @model_validator(mode="after")
    def _is_of_one_model(self) -> Self:
        if self.backbone.weights is not None:
            raise ValueError("backbone.weights: a checkpoint must not name another file")
        if self.preprocessing.image_size != self.backbone.image_size:
            raise ValueError("preprocessing and backbone differ in image_size")
        return self

    def without_matching(self) -> Self:
        """Return the header without the settings for matching."""
        return self.model_copy(update=dict.fromkeys(set(Header.model_fields) - {"versions"}))


class CombinationHeader(Header):
    """Everything needed to rebuild and use the models of a combination."""

    matching: Matching
    combine: Annotated[tuple[Name, ...], Field(min_length=2, max_length=MAX_MEMBERS, description="experiments")]
    shares: tuple[Annotated[float, Field(ge=0.001, le=1000)], ...]
    members: Annotated[tuple[ModelHeader, ...], Field(max_length=MAX_MEMBERS)]

    @model_validator(mode="after")
    def _members_are_whole(self) -> Self:
        if len(self.members) != len(self.combine):
            raise ValueError(f"it names {len(self.combine)} experiments, but has {len(self.members)} members")
        if len(self.shares) != len(self.combine):
            raise ValueError(f"it names {len(self.combine)} experiments, but has {len(self.shares)} shares")
        if not all(member.holds_backbone for member in self.members):
            raise ValueError("members: a combination must have all weights")
        if any(member != member.without_matching() for member in self.members):
            raise ValueError("members: a combination is matched as a whole")
        return self


def read_header(plain: Mapping[str, Any]) -> ModelHeader | CombinationHeader:
    """Return the header of a checkpoint, of a single model or of a combination.

    Args:
        plain: Header as stored in the file.

    Raises:
        ValueError: If a key is unknown or missing, or a value has the wrong type or is out of range; names all of them.
    """
    kind = CombinationHeader if MEMBERS in plain else ModelHeader
    try:
        # Back to JSON, as only then a strict check accepts a list for a tuple.
        return kind.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        raise ValueError(f"its header is wrong: {in_words(error)}") from error
