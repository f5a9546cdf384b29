"""Whether the scheduler of a cluster keeps up with a million photographs: its tasks, of sleeping functions.

``python -m benchmarks.million SECONDS …`` gives out the pieces of each step to workers of this machine. A piece sleeps
for a fiftieth of the time that it was measured to take and returns as many bytes as its table has, so what is more than
the sleep is the work of scheduler, driver and network, and is reported unscaled.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import describe_machine, markdown_table, peak_resident_megabytes
from skinbit.config import ComputeParams, ExecutorParams
from skinbit.runtime.cluster.opening import open_cluster
from skinbit.runtime.locking import hold

N_PHOTOGRAPHS, N_PAIRS_EACH, SCALE = 1_000_000, 8, 50
KILOBYTES = {"features": 4.0, "keypoints": 72.0, "pairs": 0.1}
"""Of a row of each table: a vector of 1,024 numbers, 500 keypoints, a key with two numbers."""


@dataclass(frozen=True)
class Sleeper:
    """Sleeps instead of making a piece, and returns as many bytes."""

    seconds: float
    n_bytes: int

    def __call__(self, pieces: Sequence[int]) -> Iterator[bytes]:
        """Yield the bytes of each piece."""
        for _ in pieces:
            time.sleep(self.seconds)
            yield bytes(self.n_bytes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for step in KILOBYTES:
        row = "pair" if step == "pairs" else "photograph"
        parser.add_argument(step, type=float, help=f"measured milliseconds of one core per {row}")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--photographs", type=int, default=N_PHOTOGRAPHS)
    given = parser.parse_args()
    params = ExecutorParams()
    print(describe_machine("distributed"), end="\n\n")
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        hold(Path(folder), "benchmark") as token,
        open_cluster(f"local:{given.workers}", ComputeParams(threads=1), token) as executor,
    ):
        for step, kilobytes in KILOBYTES.items():
            n_rows = given.photographs * (N_PAIRS_EACH if step == "pairs" else 1)
            size = params.pairs if step == "pairs" else params.photographs
            n_pieces, seconds = -(-n_rows // size), size * getattr(given, step) / 1000
            sleeper = Sleeper(seconds / SCALE, int(1000 * kilobytes * size))
            before, started = peak_resident_megabytes(), time.perf_counter()
            n_made = sum(1 for _ in executor.map(sleeper, range(n_pieces)))
            wall = time.perf_counter() - started
            assert n_made == n_pieces
            over = wall - n_pieces * sleeper.seconds / given.workers
            hours = n_rows * getattr(given, step) / 3.6e6
            rows.append(
                [
                    step,
                    f"{n_pieces:,}",
                    f"{seconds:.1f}",
                    f"{wall:.0f}",
                    f"{over:.0f}",
                    f"{1000 * over / n_pieces:.1f}",
                    f"{before:.0f}",
                    f"{peak_resident_megabytes():.0f}",
                    f"{hours:.1f}",
                    *(f"{hours / cores + over / 3600:.2f}" for cores in (16, 64)),
                ]
            )
    header = ["step", "pieces", "seconds a piece", "wall (s)", "of it more than sleep (s)", "more a piece (ms)"]
    memory = ["memory before (MB)", "peak memory (MB)"]
    print(markdown_table([*header, *memory, "core-hours", "hours on 16 cores", "hours on 64 cores"], rows))


if __name__ == "__main__":
    main()
