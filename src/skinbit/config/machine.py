"""How the machine is used: loading, computing, memory."""

import re
from typing import Literal

from pydantic import Field, field_validator

from skinbit.config.block import Block


class LoaderParams(Block):
    """How photographs are loaded; the batch size changes the last digits of results, the number of processes none."""

    workers: int = Field(default=2, ge=0, description="processes that decode photographs; 0: only the main process")
    batch_size: int = Field(default=32, ge=1, description="images per forward pass")


class ComputeParams(Block):
    """Device and precision of networks; they change the last digits of results, so they are part of every cache key."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="auto: cuda or mps where PyTorch finds one, otherwise cpu"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 or fp16 on a CUDA device, fp32 elsewhere"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of PyTorch; 0: one per core")


class MemoryParams(Block):
    """How many pairs of images are held in memory at once."""

    tile_megabytes: float = Field(
        default=64.0,
        ge=0.001,
        le=65536,
        description="size of one tile of similarities, the pairs that are compared at once; changes only the speed",
    )
    max_pairs: int = Field(
        default=30_000_000,
        ge=2,
        description="largest number of near pairs in memory; a warning says if proving the best threshold needs more",
    )


class ExecutorParams(Block):
    """How long work is cut into pieces, each of which is kept when it is made, and where; this changes no result."""

    photographs: int = Field(
        default=256,
        ge=1,
        description="photographs in a piece of features, pixels, views, keypoints; rounded up to whole batches",
    )
    pairs: int = Field(default=4000, ge=1, description="pairs in a piece of compared keypoints")
    cluster: str | None = Field(
        default=None,
        description="null: this process makes all pieces; local:4: four processes of this machine; tls://host:port: "
        "the workers of a scheduler of Dask",
    )

    @field_validator("cluster")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"local:[1-9][0-9]{0,3}|tls://[^\s/:]+:[0-9]+", value):
            return value
        if value.startswith("tcp://"):
            raise ValueError(
                f"{value} is not encrypted, and whoever reaches an open scheduler may run code on every worker and "
                "here. Remedy: local:4 on this machine; or certificates for the scheduler and its workers, in Dask's "
                "own settings distributed.comm.tls, and an address tls://… (docs/cluster.md shows each step)"
            )
        raise ValueError(f"not {value!r}, but null, local:4 (a number of processes) or tls://host:port")
