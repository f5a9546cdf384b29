"""The head, its training and its augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skinbit.config.block import Block


class HeadParams(Block):
    """The projection head, which maps features to an embedding of unit length."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        default=(),
        max_length=16,
        description="widths of the hidden layers, each with batch norm and ReLU; empty: a linear head",
    )
    dim: int | None = Field(
        default=256,
        ge=2,
        le=65536,
        description="length of the embedding; null: no head, the features are the embedding",
    )
    neck: bool = Field(default=True, description="true: the features pass a batch norm first (BNNeck)")

    @model_validator(mode="after")
    def _hidden_layers_need_an_output(self) -> Self:
        if self.dim is None and self.hidden:
            raise ValueError("head.hidden is set, but head.dim is null: set the width of the embedding")
        return self


class TrainingParams(Block):
    """How one experiment is trained."""

    epochs: int = Field(ge=1, le=100_000, description="largest number of epochs; each shows every training lesion once")
    lesions_per_batch: int = Field(ge=3, description="lesions per batch, each with images_per_lesion images")
    images_per_lesion: int = Field(
        default=2, ge=2, description="images per lesion in a batch; a lesion with fewer shows all of them"
    )
    learning_rate: float = Field(gt=0, le=10, description="learning rate of the head after warm-up (AdamW)")
    weight_decay: float = Field(default=0.03, ge=0, le=10, description="weight decay of matrices (AdamW)")
    warmup: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="share of the epochs in which the learning rate rises before it decays",
    )
    clip_norm: float = Field(
        default=5.0, gt=0, description="largest gradient norm; larger gradients are scaled down to it"
    )
    patience: int = Field(
        default=0, ge=0, description="epochs without a better F1 after which training stops; 0: it never stops early"
    )
    hard_lesions: int = Field(
        default=0,
        ge=0,
        description="fill batches with groups of this many lesions, close in the last epoch; 0: at random",
    )
    views: int = Field(
        default=12, ge=1, le=1000, description="cached training views per image, for heads on frozen backbones"
    )
    backbone_rate: float = Field(
        default=1.0,
        gt=0,
        le=10,
        description="learning rate of a fine-tuned backbone's last layer, as a multiple of the head's",
    )
    layer_decay: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="learning rate of each layer of a fine-tuned backbone, as a multiple of the next layer's",
    )
    batch_norm: Literal["train", "frozen"] = Field(
        default="train", description="frozen: a fine-tuned backbone keeps its pretrained batch-norm statistics"
    )
    head: HeadParams = HeadParams()


class AugmentationParams(Block):
    """Random changes of a training view that imitate the differences between photographs of one lesion."""

    rotation: float = Field(default=180.0, ge=0, le=180, description="largest rotation either way, degrees")
    flip: bool = Field(default=True, description="true: half of the views are mirrored")
    zoom: tuple[Annotated[float, Field(ge=0.5, le=10)], Annotated[float, Field(ge=0.5, le=10)]] = Field(
        default=(0.9, 2.2), description="range of zooms; 1 shows the whole central square, 3 its central third"
    )
    offset: float = Field(
        default=0.12, ge=0, le=0.5, description="largest shift of the centre, as a share of the visible square"
    )
    colour: float = Field(default=0.1, ge=0, lt=1, description="largest relative change of each colour channel")
    exposure: float = Field(default=0.25, ge=0, lt=1, description="largest relative change of brightness")
    contrast: float = Field(default=0.2, ge=0, lt=1, description="largest relative change of contrast")
    saturation: float = Field(default=0.3, ge=0, le=1, description="largest relative change of saturation")
    blur: float = Field(default=0.3, ge=0, le=1, description="share of the views that are blurred")
    vignette: float = Field(default=0.2, ge=0, le=1, description="share of the views with a round black border")

    @model_validator(mode="after")
    def _zoom_rises(self) -> Self:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("augmentation.zoom must be [smallest, largest]")
        return self


class TrainingBlock(Block):
    """How heads on frozen backbones are trained, and how whole backbones are fine-tuned.

    An experiment's `training` overrides `frozen` or `fine_tuned`, its `augmentation` the block of that name.
    """

    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads per training; results depend on it")
    save_every: float = Field(
        default=2.0, ge=0, description="seconds between saved training states; 0: every epoch is saved"
    )
    canvas: float = Field(default=1.25, ge=1, le=4, description="side of decoded images, as a multiple of image_size")
    augmentation: AugmentationParams = AugmentationParams()
    frozen: TrainingParams = TrainingParams(epochs=60, lesions_per_batch=128, learning_rate=2e-3)
    fine_tuned: TrainingParams = TrainingParams(epochs=30, lesions_per_batch=48, learning_rate=5e-4)
