"""How long `data_split` takes for thousands of photographs, and how much memory, against bare decoding.

Every number of photographs is a process of its own, whose largest resident set the kernel tells. Photographs are of
HAM10000's size; a few hundred different pictures serve, each file with bytes of its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from PIL import Image

from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import DataParams, SplitParams
from skinbit.data.synthetic import make_photographs
from skinbit.data.threads import available_cores
from skinbit.pipelines.data_split import create_pipeline
from skinbit.runtime.context import active_parameters
from skinbit.settings import CONFIG_LOADER_ARGS

SIZES = (1_000, 10_000)
N_PICTURES = 200
N_WARM_UP = 100
PER_LESION = 2
WIDTH, HEIGHT, SEED = 600, 450, 42
CONF = Path(__file__).parents[1] / "conf"


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
        return
    print(describe_machine("pillow", "pandas", "kedro"), end="\n\n")
    print(markdown_table(HEADER, [row(n_images, measure_apart(n_images)) for n_images in SIZES]))


def write_study(folder: Path, n_images: int) -> None:
    """Write metadata and photographs.

    Args:
        folder: Empty.
        n_images: How many.
    """
    (folder / "images").mkdir()
    n_pictures = min(N_PICTURES, n_images)
    made = make_photographs(n_pictures, SEED, WIDTH, HEIGHT)
    pictures = [photograph.jpeg for photograph, _ in zip(made, range(n_pictures), strict=False)]
    lines = ["lesion_id,image_id"]
    for number in range(n_images):
        content = pictures[number % n_pictures] + number.to_bytes(4, "big")  # decoders ignore what follows the end
        (folder / "images" / f"ISIC_{number:07d}.jpg").write_bytes(content)
        lines.append(f"L{number // PER_LESION},ISIC_{number:07d}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")


def measure_apart(n_images: int) -> dict[str, float]:
    """Write photographs and measure in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_study(Path(folder), n_images)
        command = [sys.executable, "-m", "benchmarks.preflight", folder]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def measure(folder: Path) -> dict[str, float]:
    """Run the nodes of `data_split` one by one, then decode the same files without any check.

    Args:
        folder: With metadata and photographs; outputs go there.

    Returns:
        Seconds of each node, of hashing (which every run does first) and of bare decoding; and the peak of the resident
        set in megabytes, before the pipeline and after it.
    """
    with tempfile.TemporaryDirectory() as small:  # imports are part of no figure
        write_study(Path(small), N_WARM_UP)
        run_nodes(open_catalog(Path(small)))
    catalog = open_catalog(folder)
    before = peak_megabytes()
    seconds = {"hashing": timed(catalog["images"].fingerprint), **run_nodes(catalog)}
    peak = peak_megabytes()
    return {**seconds, "bare": timed(lambda: decode_all(folder / "images")), "before": before, "peak": peak}


def run_nodes(catalog: DataCatalog) -> dict[str, float]:
    """Run `data_split` and give the seconds of each node, its loads and saves included."""
    seconds = {}
    pipeline = create_pipeline(active_parameters())
    for node in pipeline.nodes:
        part = pipeline.only_nodes(node.name)
        seconds[node.name.rpartition(".")[2]] = timed(lambda part=part: SequentialRunner().run(part, catalog))
    return seconds


def open_catalog(folder: Path) -> DataCatalog:
    """Give the project's catalog with its files in a folder, and the parameters of `data_split`."""
    entries = OmegaConfigLoader(str(CONF), env="base", **CONFIG_LOADER_ARGS)["catalog"]
    moved = {name: {key: move(value, folder) for key, value in entry.items()} for name, entry in entries.items()}
    catalog = DataCatalog.from_config(moved)
    for name, value in {"data": DataParams(), "split": SplitParams(), "seed": SEED}.items():
        catalog[f"params:{name}"] = value
    return catalog


def move(value: Any, folder: Path) -> Any:
    """Put a path of the catalog into the folder."""
    if not isinstance(value, str) or not value.startswith("data/"):
        return value
    return str(folder / value.removeprefix("data/01_raw/").removeprefix("data/"))


def timed(call: Callable[[], object]) -> float:
    """Give the seconds of a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_megabytes() -> float:
    """Give the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def decode_all(images: Path) -> None:
    """Decode all files with Pillow, on as many threads as there are cores."""

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(decode, sorted(images.iterdir())))


HEADER = [
    "photographs",
    "`data_split` (s)",
    "of it `check_images` (s)",
    "share",
    "images per second",
    "bare decoding",
    "hashing before (s)",
    "peak memory before (MB)",
    "peak memory (MB)",
]


def row(n_images: int, measured: dict[str, float]) -> list[str]:
    """Lay out a row of the table."""
    whole = sum(measured[name] for name in ("check_rows", "check_images", "assign_images", "tabulate_split"))
    checks = measured["check_images"]
    return [
        f"{n_images:,}",
        f"{whole:.1f}",
        f"{checks:.1f}",
        f"{checks / whole:.0%}",
        f"{n_images / checks:.0f}",
        f"{n_images / measured['bare']:.0f}",
        f"{measured['hashing']:.1f}",
        f"{measured['before']:.0f}",
        f"{measured['peak']:.0f}",
    ]


if __name__ == "__main__":
    main()
