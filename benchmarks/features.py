"""Feature extraction from JPEG files against the bare forward pass of the same network on ready tensors.

Extraction reads, decodes, crops and normalises photographs of HAM10000's size, and starts its worker processes anew
each time; the bare pass is handed normalised channels-last batches of the same size. Same threads, same
deterministic algorithms; rounds alternate, and medians are compared.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.photographs import list_photographs
from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import BackboneParams, ComputeParams, LoaderParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.synthetic import make_photographs
from skinbit.embedding.backbones import Backbone, load_backbone
from skinbit.embedding.compute import Compute, deterministic, resolve_compute
from skinbit.embedding.features import Extraction, extract_features

N_IMAGES = 96
N_LESIONS = 48  # two to four photographs each
N_ROUNDS = 5
WIDTH, HEIGHT = 600, 450
SEED = 0
BACKBONE = BackboneParams(model="resnet50", pretrained=False, image_size=224)


def write_photographs(root: Path) -> ListedPhotographs:
    """Write synthetic JPEG files.

    Args:
        root: An empty folder.

    Returns:
        ``N_IMAGES`` photographs.
    """
    for photograph, _ in zip(make_photographs(N_LESIONS, SEED, WIDTH, HEIGHT), range(N_IMAGES), strict=False):
        (root / f"{photograph.image_id}.jpg").write_bytes(photograph.jpeg)
    return list_photographs(root)


def make_batches(batch_size: int) -> list[torch.Tensor]:
    """Draw normalised pixels, ``N_IMAGES`` in all, as the network wants them: float32, channels last."""
    generator = torch.Generator().manual_seed(SEED)
    sizes = [min(batch_size, N_IMAGES - start) for start in range(0, N_IMAGES, batch_size)]
    side = BACKBONE.image_size
    return [
        torch.randn(size, 3, side, side, generator=generator).to(memory_format=torch.channels_last) for size in sizes
    ]


@torch.inference_mode()
def forward(backbone: Backbone, batches: list[torch.Tensor], compute: Compute) -> None:
    """Pass ready batches through the network; on a GPU the copies there and back count."""
    module = backbone.module.to(compute.device)
    with deterministic(compute), compute.autocast():
        for batch in batches:
            module(batch.to(compute.device)).float().cpu()


def alternate(calls: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """Give images per second of each call and round, the calls in turn after one unrecorded round."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(n_rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if round_ > 0:
                rates[name].append(N_IMAGES / (time.perf_counter() - started))
    return rates


def measure(photographs: ListedPhotographs, loader: LoaderParams, compute: Compute) -> dict[str, list[float]]:
    """Give images per second of extraction and of the bare forward pass, a value per round."""
    backbone = load_backbone(BACKBONE, SEED)
    batches = make_batches(loader.batch_size)
    extraction = Extraction(photographs, loader, compute)
    return alternate(
        {
            "extract_features": lambda: extract_features(extraction, photographs.image_ids, backbone, ViewParams()),
            "bare forward pass": lambda: forward(backbone, batches, compute),
        },
        N_ROUNDS,
    )


def main() -> None:
    """Print the table and the ratio of the medians."""
    loader, compute = LoaderParams(), resolve_compute(ComputeParams())
    print(describe_machine("torch", "timm", "pillow"))
    print(f"{BACKBONE.model} at {BACKBONE.image_size} pixels, {compute}, {loader};")
    print(f"{N_IMAGES} JPEG files of {WIDTH}x{HEIGHT}, {N_ROUNDS} rounds\n")
    with tempfile.TemporaryDirectory() as root:
        rates = measure(write_photographs(Path(root)), loader, compute)
    header = ["images per second", "median", *(f"round {number + 1}" for number in range(N_ROUNDS))]
    rows = [[name, f"{median(found):.1f}", *(f"{rate:.1f}" for rate in found)] for name, found in rates.items()]
    print(markdown_table(header, rows))
    ratio = median(rates["extract_features"]) / median(rates["bare forward pass"])
    print(f"\nRatio of the medians: {ratio:.2f}")


if __name__ == "__main__":
    main()
