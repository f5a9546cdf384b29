"""What the header of a checkpoint may say: everything in it is checked before anything is made of it."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from skinbit.config import MAX_MEMBERS, MEMBERS, BackboneParams, Block, HeadParams, Name, in_words
from skinbit.matching.documents import CutValue, MatchingDocument
from skinbit.matching.methods import CUTS

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Channels = Annotated[tuple[Annotated[float, Field(ge=-10, le=10)], ...], Field(min_length=3, max_length=3)]
_Scales = Annotated[tuple[Annotated[float, Field(ge=1e-3, le=10)], ...], Field(min_length=3, max_length=3)]
_Versions = Annotated[dict[Name, Annotated[str, Field(max_length=100)]], Field(max_length=20)]
_CUT: TypeAdapter[float] = TypeAdapter(CutValue)


class PreprocessingHeader(Block):
    """See :class:`skinbit.embedding.preprocessing.Preprocessing`."""

    image_size: Annotated[int, Field(ge=16, le=2048)]
    crop_pct: Annotated[float, Field(ge=0.1, le=1.2)]
    interpolation: Literal["bicubic", "bilinear", "nearest", "lanczos"]
    mean: _Channels
    std: _Scales


class CheckpointHeader(Block):
    """Everything needed to rebuild a model and to match with it; cuts stand beside it in the same header."""

    backbone: BackboneParams
    preprocessing: PreprocessingHeader
    weights_sha256: Sha256
    holds_backbone: bool
    head: HeadParams
    loss: Name
    loss_params: dict[str, Any] | None = Field(default=None, description="none: a baseline")
    training: dict[str, Any] | None = Field(default=None, description="none: a baseline")
    epoch: Annotated[int, Field(ge=0, le=10**6)] | None = Field(description="none: a baseline")
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    versions: _Versions
    matching: MatchingDocument | None = Field(default=None, description="none: an earlier version of Skinbit made it")

    @model_validator(mode="after")
    def _is_of_one_model(self) -> Self:
        if self.backbone.weights is not None:
            raise ValueError("backbone.weights: a checkpoint names no other file")
        if self.preprocessing.image_size != self.backbone.image_size:
            raise ValueError("preprocessing and backbone differ in image_size")
        return self


class CombinationHeader(Block):
    """Everything needed to rebuild the models of a combination and to match with them; cuts stand beside it."""

    combine: Annotated[tuple[Name, ...], Field(min_length=2, max_length=MAX_MEMBERS, description="experiments")]
    shares: tuple[Annotated[float, Field(ge=0.001, le=1000)], ...]
    members: Annotated[tuple[CheckpointHeader, ...], Field(max_length=MAX_MEMBERS)]
    versions: _Versions
    matching: MatchingDocument

    @model_validator(mode="after")
    def _members_are_whole(self) -> Self:
        if len(self.members) != len(self.combine):
            raise ValueError(f"it names {len(self.combine)} experiments, but has {len(self.members)} members")
        if len(self.shares) != len(self.combine):
            raise ValueError(f"it names {len(self.combine)} experiments, but has {len(self.shares)} shares")
        if not all(member.holds_backbone for member in self.members):
            raise ValueError("members: a combination holds all weights")
        if any(member.matching is not None for member in self.members):
            raise ValueError("members: a combination is matched as a whole")
        return self


_Header = TypeVar("_Header", CheckpointHeader, CombinationHeader)


def check_header(header: Mapping[str, Any]) -> None:
    """Check the header of a checkpoint, of one model or of a combination.

    Args:
        header: Plain values, as the file holds them.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of another kind or out of range; names all of them.
    """
    if MEMBERS in header:
        read_combination(header)
    else:
        read_header(header)


def read_header(header: Mapping[str, Any]) -> CheckpointHeader:
    """Check the header of a checkpoint of one model.

    Args:
        header: Plain values, as the file holds them.

    Returns:
        The same, typed; without the cuts, which are checked too.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of another kind or out of range; names all of them.
    """
    return _read(CheckpointHeader, header)


def read_combination(header: Mapping[str, Any]) -> CombinationHeader:
    """Check the header of a combination's checkpoint.

    Args:
        header: Plain values, as the file holds them.

    Returns:
        The same, typed; without the cuts, which are checked too.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of another kind or out of range; names all of them.
    """
    return _read(CombinationHeader, header)


def _read(kind: type[_Header], header: Mapping[str, Any]) -> _Header:
    cuts = {name: header[name] for name in CUTS.values() if name in header}
    for name, value in cuts.items():
        _check_cut(name, value)
    text = json.dumps({name: value for name, value in header.items() if name not in cuts})
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(f"its header is wrong: {in_words(error)}") from error


def _check_cut(name: str, value: Any) -> None:
    """A cut may be undefined (NaN): a fold without a pair of one lesion chooses none."""
    if isinstance(value, float) and math.isnan(value):
        return
    try:
        _CUT.validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"its header is wrong: {name}: {in_words(error)}") from error
