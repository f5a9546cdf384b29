"""The header of a checkpoint: its fields, checked completely before a model is built from them."""

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
    """A cut may be undefined (NaN): a fold without a pair of one lesion chooses none."""
    if not (math.isnan(value) or -1 <= value <= 2):
        raise ValueError("a cut lies between -1 and 2")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Versions = Annotated[dict[Name, Annotated[str, Field(max_length=100)]], Field(max_length=20)]
_Cut = Annotated[
    Annotated[float, Field(allow_inf_nan=True), AfterValidator(_cut_or_nan)] | None, Field(exclude_if=_is_none)
]
_NoPath = PlainSerializer(lambda backbone: backbone.model_dump(exclude={"weights"}))
"""A checkpoint names no other file."""


class Header(Block):
    """How the embeddings of a checkpoint are matched; None where it holds trained weights alone.

    Attributes:
        cosine_threshold: For a pool as large as a fold, as are the other cuts; NaN where no fold has one.
        dbscan_eps: Likewise.
        average_cut: Likewise.
        complete_cut: Likewise.
        matching: All that makes groups of embeddings, in a pool of any size.
        versions: Of the software that made it.
    """

    cosine_threshold: _Cut = None
    dbscan_eps: _Cut = None
    average_cut: _Cut = None
    complete_cut: _Cut = None
    matching: Annotated[Matching | None, Field(exclude_if=_is_none)] = None
    versions: _Versions


class ModelHeader(Header):
    """Everything needed to rebuild a model and to match with it; a baseline has no loss_params, training and epoch."""

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
            raise ValueError("backbone.weights: a checkpoint names no other file")
        if self.preprocessing.image_size != self.backbone.image_size:
            raise ValueError("preprocessing and backbone differ in image_size")
        return self

    def without_matching(self) -> Self:
        """Return what rebuilds the model alone."""
        return self.model_copy(update=dict.fromkeys(set(Header.model_fields) - {"versions"}))


class CombinationHeader(Header):
    """Everything needed to rebuild the models of a combination and to match with them."""

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
            raise ValueError("members: a combination holds all weights")
        if any(member != member.without_matching() for member in self.members):
            raise ValueError("members: a combination is matched as a whole")
        return self


def read_header(plain: Mapping[str, Any]) -> ModelHeader | CombinationHeader:
    """Return the header of a checkpoint, of one model or of a combination.

    Args:
        plain: As the file holds it.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of another kind or out of range; names all of them.
    """
    kind = CombinationHeader if MEMBERS in plain else ModelHeader
    try:
        # Through JSON again: only so does a strict check take a list for a tuple.
        return kind.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        raise ValueError(f"its header is wrong: {in_words(error)}") from error
