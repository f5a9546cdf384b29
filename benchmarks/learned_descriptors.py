"""Keypoints with descriptors that a small network has learned, against SIFT's, on the pairs of a finished study.

uv run python -m benchmarks.learned_descriptors --root data/ham10000 --photographs ../ham10000/images \
    --experiments frozen_contrastive four_zooms --out data/descriptors

Published keypoint networks bring weights from hubs. This one learns here, without a label: a place of a photograph is
cut out several times, a little turned, shifted, zoomed, blurred and relit, and must be told from all other places of a
batch (HardNet's task and a narrow form of its network, Mishchuk et al. 2017). It learns from the lesions of one
photograph, which are in no fold, so one network serves them all. Places, their sizes and directions stay SIFT's.
"""

import argparse
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import fsspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.similarities import THREADS, VERIFIED, join_parts, judge_folds
from benchmarks.stored import Images, fold_folders, load_embeddings, read_keypoints, read_lesions
from benchmarks.timing import describe_machine, markdown_table
from skinbit.data.images import ImageFolder, decode_image, find_images
from skinbit.datasets.files import atomic_target
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.tables import Embeddings
from skinbit.embedding.weights import drawn_from
from skinbit.matching.keypoints import Keypoints, KeypointTable
from skinbit.matching.similarity import Shortlist
from skinbit.params import DataParams, GeometryParams, InfonceParams
from skinbit.training.losses import make_loss

Patches = NDArray[np.uint8]
"""``(n, SIDE, SIDE)`` grey, or ``(n, SIDE, SIDE, 3)``; each turned so that its keypoint's direction points right."""

SEED = 42
COMPUTE = Compute(device="cpu", precision="fp32", threads=THREADS)
SIDE = 32
REACH = 6.0
"""Side of a patch / the keypoint's diameter: what SIFT looks at, too."""

PLACES_PER_PHOTOGRAPH, N_CUTS = 15, 4
EPOCHS, BATCH, RATE, TEMPERATURE = 10, 512, 3e-3, 0.07
RATIOS = (0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Cut:
    """How patches are cut out, per keypoint.

    Attributes:
        positions: ``(n, 2)`` in pixels of the scaled photograph.
        sides: ``(n,)`` of the square, in the same pixels.
        angles: ``(n,)`` in degrees, clockwise.
        octaves: ``(n,)`` times that the photograph is halved first.
    """

    positions: NDArray[np.float64]
    sides: NDArray[np.float64]
    angles: NDArray[np.float64]
    octaves: NDArray[np.int64]


def plain_cut(keypoints: Keypoints) -> Cut:
    """Cut where the keypoints are, at the octave at which a pixel of the patch is about one of the photograph.

    Args:
        keypoints: Of one photograph.

    Returns:
        The cut.
    """
    sides = REACH * keypoints.diameters.astype(np.float64)
    octaves = np.maximum(0, np.floor(np.log2(np.maximum(sides, 1) / SIDE))).astype(np.int64)
    return Cut(keypoints.positions.astype(np.float64), sides, keypoints.angles.astype(np.float64), octaves)


def shaken(cut: Cut, rng: np.random.Generator) -> Cut:
    """Move a cut by half of what SIFT may be wrong about, as both of a pair are moved; blur every other patch.

    Args:
        cut: Where the keypoints are.
        rng: Draws the moves.

    Returns:
        The moved cut.
    """
    n = len(cut.sides)
    shifts = rng.normal(0, 0.03, (n, 2)) * cut.sides[:, None]
    zooms = np.exp(rng.uniform(-math.log(1.25), math.log(1.25), n))
    octaves = cut.octaves + rng.integers(0, 2, n)
    return Cut(cut.positions + shifts, cut.sides * zooms, cut.angles + rng.uniform(-20, 20, n), octaves)


def cut_out(photograph: NDArray[np.uint8], cut: Cut) -> Patches:
    """Cut patches out of a photograph; beyond its border it is mirrored.

    Args:
        photograph: Grey or RGB, scaled as for its keypoints.
        cut: Where.

    Returns:
        A patch per keypoint.
    """
    halved = [photograph]
    while len(halved) <= cut.octaves.max(initial=0) and min(halved[-1].shape[:2]) > 1:
        halved.append(cv2.pyrDown(halved[-1]))
    patches = np.empty((len(cut.sides), SIDE, SIDE, *photograph.shape[2:]), np.uint8)
    octaves = np.minimum(cut.octaves, len(halved) - 1)
    for row, (position, side, angle, octave) in enumerate(
        zip(cut.positions, cut.sides, np.deg2rad(cut.angles), octaves, strict=True)
    ):
        # pyrDown keeps pixel 0 where it is: pixel p of the whole photograph is pixel p / 2 of the halved one.
        step = side / SIDE / 2**octave
        cosine, sine = step * math.cos(angle), step * math.sin(angle)
        x, y = position / 2**octave
        middle = (SIDE - 1) / 2
        to_photograph = np.array(
            [[cosine, -sine, x - middle * (cosine - sine)], [sine, cosine, y - middle * (sine + cosine)]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(
            halved[octave], to_photograph, (SIDE, SIDE), patches[row], flags, borderMode=cv2.BORDER_REFLECT_101
        )
    return patches


def relit(patches: Patches, rng: np.random.Generator) -> Patches:
    """Give patches another gamma, and noise: light and camera differ between photographs, gain and offset do not count.

    Args:
        patches: Any number.
        rng: Draws a gamma per patch (and colour), noise per pixel.

    Returns:
        As many.
    """
    colours = patches.shape[3:]
    gammas = np.exp(rng.uniform(-0.4, 0.4, (len(patches), 1, 1, *colours)))
    noise = rng.normal(0, 3, patches.shape)
    changed: Patches = np.clip(255 * (patches / 255) ** gammas + noise, 0, 255).astype(np.uint8)
    return changed


class PatchNetwork(nn.Module):
    """Patches to descriptors of unit length; HardNet's layers, fewer and narrower, as they run on a processor."""

    def __init__(self, n_channels: int, dim: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width, size, stride in ((n_channels, 32, 5, 2), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1)):
            convolution = nn.Conv2d(width_in, width, size, stride, size // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(64, dim, SIDE // 4, bias=False), nn.BatchNorm2d(dim))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map ``(n, c, SIDE, SIDE)`` patches to ``(n, dim)``; first to mean 0 per colour and a deviation below 1."""
        centred = patches - patches.mean(dim=(2, 3), keepdim=True)
        standard = centred / (centred.std(dim=(1, 2, 3), keepdim=True) + 1)  # a nearly flat patch stays so
        return F.normalize(self.layers(standard).flatten(1), dim=1)


def as_input(patches: Patches) -> torch.Tensor:
    """Give patches as a network takes them: ``(n, c, SIDE, SIDE)`` float32."""
    batch = torch.from_numpy(patches).float()
    return (batch[:, None] if batch.ndim == 3 else batch.permute(0, 3, 1, 2)).contiguous()


def learn(cuts: Patches, name: str) -> PatchNetwork:
    """Learn to tell places apart.

    Args:
        cuts: ``(n_places, N_CUTS, SIDE, SIDE)`` or with three channels behind: the same place, several times.
        name: For the progress bar.

    Returns:
        The network, in evaluation mode.
    """
    rng = np.random.default_rng(SEED)
    with drawn_from(SEED):
        network = PatchNetwork(1 if cuts.ndim == 4 else 3).train()
    batches_per_epoch = -(-len(cuts) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * batches_per_epoch)
    loss_of = make_loss(InfonceParams(temperature=TEMPERATURE))
    with deterministic(COMPUTE), tqdm(total=EPOCHS * batches_per_epoch, unit="batch", desc=name, disable=None) as bar:
        for _ in range(EPOCHS):
            for places in np.array_split(rng.permutation(len(cuts)), batches_per_epoch):
                chosen = np.argsort(rng.random((len(places), N_CUTS)), axis=1)[:, :2]  # two different cuts of each
                patches = np.concatenate([cuts[places, chosen[:, 0]], cuts[places, chosen[:, 1]]])
                labels = torch.arange(len(places)).repeat(2)
                loss = loss_of(network(as_input(patches)), labels)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return network.eval()


@torch.inference_mode()
def describe(network: PatchNetwork, patches: Patches) -> NDArray[np.uint8]:
    """Describe patches in bytes, whose distances are as exact as SIFT's.

    Args:
        network: In evaluation mode.
        patches: Of one photograph.

    Returns:
        ``(n, 128)`` uint8, zero at 128: distances do not ask where zero is.
    """
    found = network(as_input(patches)).numpy() if len(patches) else np.empty((0, 128), np.float32)
    descriptors: NDArray[np.uint8] = np.clip(np.rint(128 + 400 * found), 0, 255).astype(np.uint8)
    return descriptors


@dataclass(frozen=True)
class Photographs:
    """Photographs as their keypoints were found: scaled, grey or in colour."""

    folder: ImageFolder
    is_grey: bool
    max_pixels: int = DataParams().max_pixels

    @property
    def colours(self) -> str:
        """Name their colours."""
        return "grey" if self.is_grey else "rgb"

    def read(self, image_id: str, size: tuple[int, int], side: int) -> NDArray[np.uint8]:
        """Read one as uint8, decoded for a longer side of ``side`` pixels and scaled to ``size``."""
        image = decode_image(self.folder.read(image_id), self.max_pixels, side)
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if self.is_grey else pixels


def cut_places(table: KeypointTable, photographs: Photographs) -> Patches:
    """Cut some places of every photograph out, each ``N_CUTS`` times.

    Args:
        table: Keypoints of the photographs to learn from.
        photographs: These.

    Returns:
        ``(n_places, N_CUTS, SIDE, SIDE)``, or with three channels behind.
    """

    def cut(row: int) -> Patches:
        keypoints = table.at(row)
        rng = np.random.default_rng([SEED, row])
        chosen = rng.permutation(len(keypoints))[:PLACES_PER_PHOTOGRAPH]
        plain = plain_cut(_part(keypoints, chosen))
        pixels = photographs.read(table.image_ids[row], keypoints.size, table.description["image_side"])
        return np.stack([relit(cut_out(pixels, shaken(plain, rng)), rng) for _ in range(N_CUTS)], axis=1)

    return np.concatenate(list(_for_each(cut, range(len(table.image_ids)), "places")))


def _part(keypoints: Keypoints, rows: NDArray[np.int64]) -> Keypoints:
    return Keypoints(
        keypoints.positions[rows],
        keypoints.diameters[rows],
        keypoints.angles[rows],
        keypoints.descriptors[rows],
        keypoints.size,
    )


def redescribe(table: KeypointTable, photographs: Photographs, network: PatchNetwork) -> KeypointTable:
    """Give keypoints with other descriptors.

    Args:
        table: Of SIFT.
        photographs: All of its images.
        network: Describes.

    Returns:
        The same places.
    """

    def describe_image(row: int) -> NDArray[np.uint8]:
        keypoints = table.at(row)
        pixels = photographs.read(table.image_ids[row], keypoints.size, table.description["image_side"])
        return describe(network, cut_out(pixels, plain_cut(keypoints)))

    with deterministic(replace(COMPUTE, threads=1)):  # photographs are what is spread over threads here
        described = list(_for_each(describe_image, range(len(table.image_ids)), "descriptors"))
    return replace(table, descriptors=np.concatenate(described))


def _for_each(work: Callable[[int], Patches], rows: Sequence[int], name: str) -> Iterator[Patches]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield from tqdm(pool.map(work, rows), total=len(rows), unit="image", desc=name, disable=None)


def compared(
    folds: Sequence[Embeddings], lesion_of: Mapping[str, str], table: KeypointTable, ratio: float
) -> dict[int, Images]:
    """Compare each image of each fold with its nearest by their keypoints.

    Args:
        folds: Embeddings of one experiment.
        lesion_of: The lesion of each image.
        table: Keypoints of at least these images.
        ratio: Of the ratio test.

    Returns:
        The folds with their compared pairs.
    """
    return {n: join_parts([fold], lesion_of, table, GeometryParams(ratio=ratio)) for n, fold in enumerate(folds)}


def table_row(title: str, folds: Mapping[int, Images]) -> list[str]:
    """Give F1 at the other folds' cut with its interval, and recall@1."""
    found = judge_folds(folds, VERIFIED)
    return [title, found.cell("average"), found.cell("cosine"), f"{found.recall_at_1:.3f}"]


def kept_network(table: KeypointTable, photographs: Photographs, folder: Path) -> PatchNetwork:
    """Learn, unless that has been done before with the same photographs and settings.

    Args:
        table: Keypoints of the photographs to learn from.
        photographs: These.
        folder: Where networks are kept.

    Returns:
        The network.
    """
    settings = (REACH, SIDE, PLACES_PER_PHOTOGRAPH, N_CUTS, EPOCHS, BATCH, RATE, TEMPERATURE, SEED)
    digest = hashlib.sha256(repr((settings, photographs.is_grey, table.keys)).encode()).hexdigest()
    path = folder / f"{photographs.colours}_{digest[:12]}.safetensors"
    network = PatchNetwork(1 if photographs.is_grey else 3)
    if not path.exists():
        learned = learn(cut_places(table, photographs), photographs.colours)
        with atomic_target(fsspec.filesystem("file"), str(path)) as target:
            save_file(learned.state_dict(), target)
    network.load_state_dict(load_file(path))
    return network.eval()


HEADER = ["descriptors", "average linkage", "threshold", "recall@1"]


def main() -> None:
    """Learn, describe, compare and judge; print one row per kind of descriptor and ratio, for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--photographs", required=True, help="the folder of all its photographs")
    parser.add_argument("--experiments", required=True, nargs="+", help="of that study")
    parser.add_argument("--out", required=True, type=Path, help="where networks are kept")
    parser.add_argument("--colours", nargs="+", choices=("grey", "rgb"), default=["grey", "rgb"])
    given = parser.parse_args()
    folds = {
        name: [load_embeddings(folder) for folder in fold_folders(given.root, name, at_least=3)]
        for name in given.experiments
    }
    sift, alone = (read_keypoints(given.root, name) for name in ("keypoints", "distractor_keypoints"))
    folder = find_images(fsspec.filesystem("file"), given.photographs)
    missing = [image_id for image_id in (*sift.image_ids, *alone.image_ids) if image_id not in folder.files]
    if missing or not alone.image_ids:
        raise SystemExit(
            f"{given.photographs} lacks {len(missing)} photographs of the study, {len(alone.image_ids)} are there to "
            "learn from. Remedy: --photographs of the study of --root; evaluation.distractors."
        )
    lesion_of = read_lesions(given.root / "02_intermediate/split.csv")
    by_sift = {
        (name, ratio): compared(embedded, lesion_of, sift, ratio)
        for name, embedded in folds.items()
        for ratio in RATIOS
    }
    rows = [table_row(f"{name}: SIFT, ratio {ratio}", plain) for (name, ratio), plain in by_sift.items()]
    print(markdown_table(HEADER, rows), flush=True)
    for colours in given.colours:
        started = time.perf_counter()
        photographs = Photographs(folder, is_grey=colours == "grey")
        learned = redescribe(sift, photographs, kept_network(alone, photographs, given.out))
        print(f"{colours}: learned and described in {time.perf_counter() - started:.0f} s", flush=True)
        for (name, ratio), plain in by_sift.items():
            found = compared(folds[name], lesion_of, learned, ratio)
            both = {n: replace(pool, shortlist=_added(plain[n].shortlist, pool.shortlist)) for n, pool in found.items()}
            title = f"{name}: learned, {colours}, ratio {ratio}"
            rows += [table_row(title, found), table_row(f"{title}, and SIFT", both)]
            print(markdown_table(HEADER, rows[-2:]), flush=True)
    print(describe_machine("torch", "opencv-python-headless", "numpy"))
    print(markdown_table(HEADER, rows))


def _added(one: Shortlist, other: Shortlist) -> Shortlist:
    """Add up the inliers of the same pairs."""
    if not np.array_equal(one.pairs, other.pairs):
        raise ValueError("the shortlists are of other pairs")
    return Shortlist(one.pairs, one.inliers + other.inliers)


if __name__ == "__main__":
    main()
