"""The losses and their settings."""

from typing import Literal

from pydantic import Field

from skinbit.config.block import Block


class ContrastiveParams(Block):
    """Contrastive loss (Hadsell et al. 2006) on cosine similarity."""

    margin: float = Field(
        default=0.5, gt=-1, lt=1, description="negative pairs below it cost nothing; 0.5 is distance 1 (Hadsell)"
    )
    miner: Literal["all", "hard"] = Field(default="all", description="hard: each anchor's most similar negative")


class TripletParams(Block):
    """Triplet loss (Schroff et al. 2015) on cosine similarity."""

    margin: float = Field(
        default=0.1, gt=0, lt=2, description="of similarity; 0.1 is FaceNet's 0.2 of squared distance"
    )
    miner: Literal["all", "semihard", "hard"] = Field(
        default="semihard", description="semihard: negatives that are farther than the positive, within the margin"
    )


class InfonceParams(Block):
    """InfoNCE (van den Oord et al. 2018), its form for several positives (Khosla et al. 2020)."""

    temperature: float = Field(default=0.07, gt=0, le=10, description="0.07: He et al. 2020, Khosla et al. 2020")
    miner: Literal["all", "hard"] = Field(default="all", description="hard: each anchor's most similar negative")


LossParams = ContrastiveParams | TripletParams | InfonceParams

LossName = Literal["baseline", "contrastive", "triplet", "infonce"]
"""What an experiment may be trained with; a baseline is not trained."""


class LossesParams(Block):
    """Settings of the losses; an experiment's `loss_options` overrides them."""

    contrastive: ContrastiveParams = ContrastiveParams()
    triplet: TripletParams = TripletParams()
    infonce: InfonceParams = InfonceParams()
