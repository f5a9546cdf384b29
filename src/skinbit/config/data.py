"""Which lesions and photographs take part, and how they are dealt into folds."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from skinbit.config.block import Block

Policy = Literal["error", "skip"]


class PolicyParams(Block):
    """What happens to a row of the metadata with a problem: it ends the run, or it is left out and listed."""

    cells: Policy = Field(default="error", description="fewer or more cells than the header")
    no_image_id: Policy = Field(default="error", description="a blank cell")
    bad_id: Policy = Field(default="error", description="a path, a formula, or characters that cannot be seen")
    duplicate: Policy = Field(default="error", description="skip: the first row that names a lesion stays")
    two_lesions: Policy = Field(default="error", description="an image_id under two lesions; skip: no row stays")
    case_clash: Policy = Field(default="error", description="ids that differ only in case or accents; no row stays")
    missing: Policy = Field(default="error", description="no file")
    ambiguous: Policy = Field(default="error", description="several files")
    unreadable: Policy = Field(default="error", description="damaged, cut short, or no JPEG or PNG")
    too_large: Policy = Field(default="error", description="above max_pixels or max_megabytes")
    too_small: Policy = Field(default="error", description="below min_side")
    outside: Policy = Field(default="error", description="a link out of the folder, unless follow_links")


class DataParams(Block):
    """Which lesions of the metadata take part, and which photographs can be used."""

    min_images_per_lesion: int = Field(default=2, ge=1)
    max_images_per_lesion: int = Field(default=4, ge=1)
    max_lesions: int | None = Field(default=None, ge=1, description="cut to so many lesions; none: all")
    max_pixels: int = Field(
        default=80_000_000, ge=1, le=89_000_000, description="larger images are refused undecoded; Pillow warns above"
    )
    max_megabytes: float = Field(default=500.0, gt=0, le=4000, description="larger files are refused unread")
    min_side: int = Field(default=16, ge=1, description="shorter side, pixels; smaller images are no photographs")
    follow_links: bool = Field(default=False, description="whether a link may lead out of the folder of images")
    policy: PolicyParams = PolicyParams()

    @field_validator("policy", mode="before")
    @classmethod
    def _is_set_per_kind(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"a policy is set for each kind of problem, e.g. data.policy.missing={value}")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_images_per_lesion > self.max_images_per_lesion:
            raise ValueError("min_images_per_lesion is larger than max_images_per_lesion")
        return self


class SplitParams(Block):
    """How lesions are dealt into subsets and folds."""

    n_folds: int = Field(default=5, ge=2)
    use_train_test_split: bool = True
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of lesions")
    stratify_by: str | None = Field(default=None, description="a metadata column; none: not stratified")
    keep_together: str | None = Field(
        default=None, description="a metadata column, e.g. patient_id: lesions that share a value are dealt together"
    )


class SampleParams(Block):
    """The synthetic photographs of `sample_data`."""

    n_lesions: int = Field(default=60, ge=1)
    width: int = Field(default=200, ge=16, le=4096, description="pixels")
    height: int = Field(default=150, ge=16, le=4096, description="pixels")
