"""Which lesions and photographs take part, and how lesions are split."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from skinbit.config.block import Block

Policy = Literal["error", "skip"]
PolicyOrKeep = Literal["error", "skip", "keep"]


class PolicyParams(Block):
    """What happens to a metadata row with a problem: error ends the run, skip leaves the row out and lists it.

    Kinds that may be intended also allow keep, which takes such ids as they are.
    """

    cells: Policy = Field(default="error", description="the row has fewer or more cells than the header")
    no_image_id: Policy = Field(default="error", description="the image id is blank")
    bad_id: Policy = Field(default="error", description="the id is a path or a formula, or has invisible characters")
    placeholder: PolicyOrKeep = Field(
        default="error", description="the id is a word for a missing value, such as nan, None, NULL, n/a or -"
    )
    duplicate: Policy = Field(
        default="error", description="an image id appears in two rows; skip keeps the first row with a lesion"
    )
    two_lesions: Policy = Field(
        default="error", description="an image id appears under two lesions; skip drops all of its rows"
    )
    case_clash: Policy = Field(
        default="error", description="ids differ only in case or accents; skip drops all of them"
    )
    number_clash: PolicyOrKeep = Field(
        default="error", description="ids differ only in how a number is written (7, 007, 7.0); skip drops all of them"
    )
    missing: Policy = Field(default="error", description="the photograph does not exist")
    ambiguous: Policy = Field(default="error", description="several files match the image id")
    unreadable: Policy = Field(default="error", description="the file is damaged, cut short, or not a photograph")
    too_large: Policy = Field(default="error", description="the photograph exceeds max_pixels or max_megabytes")
    too_small: Policy = Field(default="error", description="the photograph is smaller than min_side")
    outside: Policy = Field(
        default="error", description="the file is a link that leads out of the folder, and follow_links is false"
    )


class DataParams(Block):
    """Which lesions take part in a study, and which photographs are usable."""

    min_images_per_lesion: int = Field(default=2, ge=1, description="lesions with fewer images are left out")
    max_images_per_lesion: int = Field(default=4, ge=1, description="lesions with more images are left out")
    max_lesions: int | None = Field(default=None, ge=1, description="use only this many lesions; null: all")
    max_pixels: int = Field(
        default=80_000_000,
        ge=1,
        le=89_000_000,
        description="images with more pixels are refused before decoding; Pillow itself warns above 89 million",
    )
    max_megabytes: float = Field(
        default=500.0, gt=0, le=4000, description="larger files are refused before they are read"
    )
    min_side: int = Field(default=16, ge=1, description="smallest allowed side of a photograph, pixels")
    follow_links: bool = Field(default=False, description="true: follow links that lead out of the image folder")
    subfolders: bool = Field(
        default=False, description="true: read photographs in subfolders, too; the image id is the path without suffix"
    )
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
    """How lesions are divided into the test subset and the folds."""

    n_folds: int = Field(default=5, ge=2, description="folds of the cross-validation")
    use_train_test_split: bool = Field(default=True, description="false: no test subset, all lesions are in folds")
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of the lesions in the test subset")
    stratify_by: str | None = Field(
        default=None, description="metadata column whose values are spread evenly over the subsets; null: none"
    )
    keep_together: str | None = Field(
        default=None,
        description="metadata column, e.g. patient_id: lesions with the same value stay in one subset and fold",
    )


class SampleParams(Block):
    """The synthetic photographs of `sample_data`."""

    n_lesions: int = Field(default=60, ge=1, description="labelled lesions, each with two to four photographs")
    n_unlabelled: int = Field(
        default=0,
        ge=0,
        description="further lesions, half of them with one photograph, without labels; the study groups them last",
    )
    width: int = Field(default=200, ge=16, le=4096, description="width of a photograph, pixels")
    height: int = Field(default=150, ge=16, le=4096, description="height of a photograph, pixels")
