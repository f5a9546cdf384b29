"""The losses that can be chosen and their settings; :mod:`skinbit.training.losses` computes them."""

from typing import Literal

from pydantic import Field

from skinbit.config.block import Block


class ContrastiveParams(Block):
    """Contrastive loss (Hadsell et al. 2006) on cosine similarity."""

    margin: float = Field(
        default=0.5,
        gt=-1,
        lt=1,
        description="similarity below which negative pairs have no loss; 0.5 equals Hadsell's distance of 1",
    )
    miner: Literal["all", "hard"] = Field(
        default="all", description="all: every negative; hard: only each anchor's most similar one"
    )


class TripletParams(Block):
    """Triplet loss (Schroff et al. 2015) on cosine similarity."""

    margin: float = Field(
        default=0.1,
        gt=0,
        lt=2,
        description="similarity margin of positives over negatives; 0.1 is FaceNet's 0.2 in squared distance",
    )
    miner: Literal["all", "semihard", "hard"] = Field(
        default="semihard",
        description="semihard: negatives that are less similar than the positive, but within the margin",
    )


class InfonceParams(Block):
    """InfoNCE (van den Oord et al. 2018), generalised to several positives as in SupCon (Khosla et al. 2020)."""

    temperature: float = Field(
        default=0.07,
        gt=0,
        le=10,
        description="divisor of the similarities; 0.07 as in He et al. 2020 and Khosla et al. 2020",
    )
    miner: Literal["all", "hard"] = Field(
        default="all", description="all: every negative; hard: only each anchor's most similar one"
    )


LossParams = ContrastiveParams | TripletParams | InfonceParams

LossName = Literal["baseline", "contrastive", "triplet", "infonce"]
"""The losses an experiment may be trained with; a baseline is not trained."""


class LossesParams(Block):
    """Settings of the losses; an experiment's `loss_options` overrides them."""

    contrastive: ContrastiveParams = ContrastiveParams()
    triplet: TripletParams = TripletParams()
    infonce: InfonceParams = InfonceParams()
