"""The head, its training, its augmentation and its losses."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skinbit.config.block import Block


class HeadParams(Block):
    """The projection head: maps features to an embedding of unit length."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        default=(),
        max_length=16,
        description="widths of hidden layers, each with batch norm and ReLU; none: a linear head",
    )
    dim: int | None = Field(default=256, ge=2, le=65536, description="of the embedding; none: no head, features as is")
    neck: bool = Field(default=True, description="batch norm of the features first (BNNeck)")

    @model_validator(mode="after")
    def _hidden_layers_need_an_output(self) -> Self:
        if self.dim is None and self.hidden:
            raise ValueError("head.hidden is given, but head.dim is none: give the width of the embedding")
        return self


class TrainingParams(Block):
    """How one experiment is trained."""

    epochs: int = Field(ge=1, le=100_000, description="at most; each shows every training lesion once")
    lesions_per_batch: int = Field(ge=3, description="a batch holds images_per_lesion images of each")
    images_per_lesion: int = Field(default=2, ge=2, description="of a lesion with fewer all are taken")
    learning_rate: float = Field(gt=0, le=10, description="AdamW's, of the head, after warm-up")
    weight_decay: float = Field(default=0.03, ge=0, le=10, description="AdamW's, of matrices")
    warmup: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="share of the epochs in which the learning rate rises; then it falls",
    )
    clip_norm: float = Field(default=5.0, gt=0, description="gradients are scaled down to this norm")
    patience: int = Field(default=0, ge=0, description="stop after so many epochs without a better F1; 0: never")
    hard_lesions: int = Field(
        default=0, ge=0, description="fill batches with groups of so many lesions that were close in the last epoch"
    )
    views: int = Field(default=12, ge=1, le=1000, description="cached training views per image; frozen backbones only")
    backbone_rate: float = Field(
        default=1.0, gt=0, le=10, description="learning rate of the last layer of a fine-tuned backbone / the head's"
    )
    layer_decay: float = Field(
        default=0.9, gt=0, le=1, description="that of each layer of a fine-tuned backbone / the next layer's"
    )
    batch_norm: Literal["train", "frozen"] = Field(
        default="train", description="frozen: a fine-tuned backbone keeps its pretrained batch-norm statistics"
    )
    head: HeadParams = HeadParams()


class AugmentationParams(Block):
    """What differs between two photographs of one lesion."""

    rotation: float = Field(default=180.0, ge=0, le=180, description="degrees either way")
    flip: bool = True
    zoom: tuple[Annotated[float, Field(ge=0.5, le=10)], Annotated[float, Field(ge=0.5, le=10)]] = Field(
        default=(0.9, 2.2), description="1: the whole central square; 3: its central third"
    )
    offset: float = Field(default=0.12, ge=0, le=0.5, description="of the centre, share of the square that is seen")
    colour: float = Field(default=0.1, ge=0, lt=1, description="relative change of each channel")
    exposure: float = Field(default=0.25, ge=0, lt=1, description="relative change of brightness")
    contrast: float = Field(default=0.2, ge=0, lt=1, description="relative change")
    saturation: float = Field(default=0.3, ge=0, le=1, description="relative change")
    blur: float = Field(default=0.3, ge=0, le=1, description="share of images that are blurred")
    vignette: float = Field(default=0.2, ge=0, le=1, description="share of images with a round black border")

    @model_validator(mode="after")
    def _zoom_rises(self) -> Self:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("augmentation.zoom must rise")
        return self


class TrainingBlock(Block):
    """Training of heads on frozen backbones, and of whole backbones.

    An experiment's `training` overrides `frozen` or `fine_tuned`, its `augmentation` the block of that name.
    """

    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads per training; figures depend on it")
    save_every: float = Field(default=2.0, ge=0, description="seconds between two saved states; 0: after every epoch")
    canvas: float = Field(default=1.25, ge=1, le=4, description="side of decoded images / image_size")
    augmentation: AugmentationParams = AugmentationParams()
    frozen: TrainingParams = TrainingParams(epochs=60, lesions_per_batch=128, learning_rate=2e-3)
    fine_tuned: TrainingParams = TrainingParams(epochs=30, lesions_per_batch=48, learning_rate=5e-4)
