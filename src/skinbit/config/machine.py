"""What this machine can hold and do: loading, computing, memory."""

from typing import Literal

from pydantic import Field

from skinbit.config.block import Block


class LoaderParams(Block):
    """How photographs reach the network; changes the speed, never a figure."""

    workers: int = Field(default=2, ge=0, description="decoding processes; 0: decode in the main process")
    batch_size: int = Field(default=32, ge=1, description="images per batch and view")


class ComputeParams(Block):
    """Where and how networks compute; changes figures in the last digits, so it is part of every cache key."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 or fp16 on a CUDA device, fp32 elsewhere"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of PyTorch; 0: one per available core")


class MemoryParams(Block):
    """How many pairs of images are held at once, whatever looks at all of them."""

    tile_megabytes: float = Field(
        default=64.0,
        ge=0.001,
        le=65536,
        description="for similarities, which are computed tile by tile; changes speed only",
    )
    max_pairs: int = Field(
        default=30_000_000,
        ge=2,
        description="near pairs that are held; where certainty about a cut takes more, a warning says so",
    )
