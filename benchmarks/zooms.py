"""What comparing zooms one with another costs: all pairs of a pool in tiles, of one vector each or of five.

The second has four zooms beside their mean, so sixteen more products per tile; half of a cosine is that of the means,
half the largest of the sixteen. Vectors are random: what they are changes no time.
"""

import argparse
import time
from functools import partial

import numpy as np

from benchmarks.timing import Call, describe_machine, markdown_table
from skinbit.config import ScalingParams
from skinbit.matching.labels import FloatArray, unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import similarity_tiles
from skinbit.matching.similarity.hubness import hubness

EMBEDDING_DIM, N_ZOOMS, SEED = 384, 4, 0


def look_at_all(vectors: FloatArray) -> None:
    """Make every similarity of a pool once, in tiles."""
    for _ in similarity_tiles(Pool(vectors)):
        pass


def processor_seconds(call: Call) -> float:
    """Return the processor seconds of the fastest of three calls."""
    times = []
    for _ in range(3):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    """Print processor seconds with one vector, with five, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n_images", nargs="*", type=int, default=[1_000, 7_000])
    print(describe_machine("numpy"))
    rows = []
    for n_images in parser.parse_args().n_images:
        rng = np.random.default_rng(SEED)
        flat = unit_vectors(rng.normal(size=(n_images * (1 + N_ZOOMS), EMBEDDING_DIM)))
        zoomed = flat.reshape(n_images, 1 + N_ZOOMS, EMBEDDING_DIM)
        calls = {"all pairs in tiles": look_at_all, "local scaling": partial(hubness, params=ScalingParams())}
        for name, call in calls.items():
            one, five = (processor_seconds(partial(call, vectors)) for vectors in (zoomed[:, 0], zoomed))
            rows.append([f"{n_images:,}", name, f"{one:.2f}", f"{five:.2f}", f"{five / one:.1f}"])
    header = ["images", "what", "one vector (s)", f"with {N_ZOOMS} zooms (s)", "times as long"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
