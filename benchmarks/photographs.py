"""A copy of a folder like HAM10000 with every photograph changed in one way, to measure what the change is worth.

uv run python -m benchmarks.photographs --change shades-of-grey --raw ../ham10000 --out ../ham10000_grey

The copy is the SKINBIT_RAW_DIR of another ``kedro run --env ham10000``. Only the change may make the difference, so
compare with the study of a ``recode`` copy, which has gone through the same decoding and encoding.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import fsspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from skinbit.data.images import UnusableError, decode_image, find_images
from skinbit.errors import InputError, ProblemList
from skinbit.params import DataParams

Pixels = NDArray[np.uint8]
"""An 8-bit RGB photograph, height x width x 3."""

Mask = NDArray[np.bool_]
"""Of the pixels of a photograph, height x width."""

Values = NDArray[np.float32]
"""Of the pixels of a photograph, height x width, or x 3 colours."""

METADATA, IMAGES = "HAM10000_metadata.csv", "images"
PROCESSES = 2
JPEG_QUALITY = 95

MINKOWSKI_NORM = 6
"""Which Finlayson & Trezzi found best, and Barata et al. took for dermoscopy."""

CLIP_LIMIT, TILES = 2.0, (8, 8)

WORKING_SIDE = 150
"""The lesion is looked for in a photograph whose shorter side has so many pixels; lengths below are in these pixels."""

DARK = 70
"""Outside the dermoscope's circle no channel is brighter (of 255); the skin of HAM10000 is."""

FADING = 6
"""Width of the ring inside the circle that its edge darkens."""

BLUR = 3.0
"""Standard deviation; smooths hair and the lesion's texture away."""

OPENING = 4
"""Radius; cuts off hair and vessels that reach into the lesion."""

CENTRE = 45.0
"""Standard deviation of the weight by which whoever took the photograph put the lesion into its middle."""

LEAST_AREA, MOST_AREA, MOST_BORDER = 0.004, 0.8, 0.5
"""Shares of the photograph, and of its border, that a lesion covers: in wide photographs it may be as small."""

LEAST_MERIT = 0.9
"""Below it, the best outline on photographs looked at was mostly wrong: freckled or inflamed skin, curtains of hair."""

MARGIN = 1.3
"""Side of the crop in sides of the lesion's bounding square."""

LEAST_CROP = 0.25
"""Of the shorter side; below it there is nothing but magnified pixels."""


@dataclass(frozen=True)
class Square:
    """A square part of a photograph, in pixels."""

    left: float
    top: float
    side: float


def recode(photograph: Pixels) -> Pixels:
    """Change nothing: the control, whose copy differs by decoding and encoding alone.

    Args:
        photograph: RGB.

    Returns:
        The same.
    """
    return photograph


def shades_of_grey(photograph: Pixels) -> Pixels:
    """Remove the colour of the light, and of the camera's white balance, by one gain per channel.

    The Minkowski mean of each channel stands for the light (Finlayson & Trezzi, Shades of gray and colour constancy,
    2004), as Barata, Celebi & Marques do with dermoscopic photographs (Improving dermoscopy image classification using
    color constancy, 2015). Pixels outside the dermoscope's circle have no say.

    Args:
        photograph: RGB.

    Returns:
        The photograph in white light, as bright on the whole as it was; unchanged where it is all dark.
    """
    lit = photograph[~vignette(photograph)]
    if not len(lit):
        return photograph
    powers = np.arange(256.0) ** MINKOWSKI_NORM  # a table is much faster than a power of every pixel
    light = np.mean(powers[lit], axis=0) ** (1 / MINKOWSKI_NORM)
    gains = np.sqrt(np.mean(light**2)) / np.maximum(light, 1)  # a channel without light stays without
    return np.asarray(np.clip(np.rint(photograph * gains), 0, 255), np.uint8)


def clahe(photograph: Pixels) -> Pixels:
    """Even out lightness by contrast-limited adaptive histogram equalisation, colours kept.

    Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV, 1994; on L of L*a*b*.

    Args:
        photograph: RGB.

    Returns:
        The photograph with more local contrast.
    """
    lightness, *colours = cv2.split(cv2.cvtColor(photograph, cv2.COLOR_RGB2LAB))
    equalised = cv2.createCLAHE(CLIP_LIMIT, TILES).apply(lightness)
    return np.asarray(cv2.cvtColor(cv2.merge([equalised, *colours]), cv2.COLOR_LAB2RGB), np.uint8)


def lesion_crop(photograph: Pixels) -> Pixels:
    """Crop the square around the lesion, so that photographs of one lesion show it equally large whatever their zoom.

    Args:
        photograph: RGB.

    Returns:
        The crop, magnified to the photograph's longer side: photographs of one size give crops of one size.
    """
    square = lesion_square(photograph)
    side = max(photograph.shape[:2])
    box = (square.left, square.top, square.left + square.side, square.top + square.side)
    return np.asarray(Image.fromarray(photograph).resize((side, side), Image.Resampling.BICUBIC, box=box))


CHANGES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "shades-of-grey": shades_of_grey,
    "recode": recode,
    "lesion-crop": lesion_crop,
    "clahe": clahe,
}


def lesion_square(photograph: Pixels) -> Square:
    """Find the square to crop: the lesion's bounding square with a margin, moved and limited to lie in the photograph.

    Args:
        photograph: RGB.

    Returns:
        The square, a quarter to the whole of the shorter side; the largest central one where no lesion is plausible.
    """
    height, width = photograph.shape[:2]
    shorter = min(height, width)
    scale = shorter / WORKING_SIDE
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    mask = lesion_mask(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
    if mask is None:
        return Square((width - shorter) / 2, (height - shorter) / 2, float(shorter))
    left, top, box_width, box_height = (length * scale for length in cv2.boundingRect(mask.astype(np.uint8)))
    side = min(max(MARGIN * max(box_width, box_height), LEAST_CROP * shorter), shorter)
    return Square(
        min(max(left + (box_width - side) / 2, 0.0), width - side),
        min(max(top + (box_height - side) / 2, 0.0), height - side),
        side,
    )


def lesion_mask(photograph: Pixels) -> Mask | None:
    """Outline the lesion.

    Skin lesions are darker, redder or browner than the skin around them, and which of these tells them apart best
    differs. So several channels propose outlines by Otsu's threshold (A threshold selection method from gray-level
    histograms, 1979), and that of the greatest :func:`merit` is taken.

    Args:
        photograph: RGB, its shorter side ``WORKING_SIDE``.

    Returns:
        The lesion's pixels without holes; None where no outline is plausible.
    """
    field = ~vignette(photograph)
    if not field.any():
        return None
    blurred = cv2.GaussianBlur(photograph.astype(np.float32) / 255, (0, 0), BLUR)
    lab = np.asarray(cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB), np.float32)
    channels = np.dstack([-lab[..., 0], lab[..., 1], lab[..., 2], -blurred[..., 0], -blurred[..., 2]])
    judged = [
        (merit(mask, lab, field), mask)
        for channel in np.moveaxis(channels, 2, 0)
        for mask in _proposals(channel, field)
    ]
    best, mask = max(judged, key=lambda pair: pair[0], default=(0.0, field))
    return mask if best >= LEAST_MERIT else None


def merit(mask: Mask, lab: Values, field: Mask) -> float:
    """Judge an outline by what lesions have in common: a colour unlike the skin around, a compact shape, the middle.

    Args:
        mask: The outline's inside.
        lab: The photograph in L*a*b*.
        field: The pixels inside the dermoscope's circle.

    Returns:
        Colour difference to the ring around in standard deviations, times the shares (0 to 1) of the convex hull that
        is filled, of centredness, and of the photograph's border that is left free; 0 where the outline is implausible.
    """
    area = int(mask.sum())
    border = float(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean())
    ring = cv2.dilate(mask.astype(np.uint8), _disc(max(3, round(0.2 * np.sqrt(area))))).astype(bool) & ~mask & field
    if not LEAST_AREA <= area / mask.size <= MOST_AREA or border > MOST_BORDER or not ring.any():
        return 0.0
    inside, around = lab[mask], lab[ring]
    spread = float(np.sqrt(inside.var(axis=0).sum() + around.var(axis=0).sum()))
    contrast = float(np.linalg.norm(inside.mean(axis=0) - around.mean(axis=0))) / max(spread, 1.0)
    hull = cv2.convexHull(np.argwhere(mask).astype(np.int32))
    filled = min(1.0, area / max(cv2.contourArea(hull), 1.0))
    middle = np.argwhere(mask).mean(axis=0)
    centredness = float(_centre_weights(mask.shape)[round(middle[0]), round(middle[1])])
    return contrast * filled * centredness * (1 - border)


def vignette(photograph: Pixels) -> Mask:
    """Find what lies outside the dermoscope's circle: dark pixels that reach a corner, and the fading edge.

    Args:
        photograph: RGB.

    Returns:
        The pixels outside.
    """
    height, width = photograph.shape[:2]
    scale = min(height, width) / WORKING_SIDE
    brightest = cv2.GaussianBlur(photograph, (0, 0), max(0.5, scale)).max(axis=2)
    _, parts = cv2.connectedComponents((brightest < DARK).astype(np.uint8))
    corners = set(parts[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) - {0}
    outside = np.isin(parts, list(corners)).astype(np.uint8)
    return np.asarray(cv2.dilate(outside, _disc(round(FADING * scale))), bool)


def _proposals(channel: Values, field: Mask) -> Iterator[Mask]:
    """Threshold once, and again among what is above: where the circle's edge is dark, the first finds only that."""
    low, high = np.percentile(channel[field], [0.5, 99.5])
    levels = np.clip((channel - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    above = field
    for _ in range(2):
        threshold, _ = cv2.threshold(levels[above].reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
        above = above & (levels > threshold)
        if not above.any():
            return
        central = _central_part(above)
        if central is not None:
            yield central


def _central_part(mask: Mask) -> Mask | None:
    """Give the connected part with most weight in the centre, its holes filled."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(OPENING))
    count, parts = cv2.connectedComponents(opened)
    if count == 1:
        return None
    weights = np.bincount(parts.ravel(), _centre_weights(mask.shape).ravel(), count)
    part = (parts == 1 + int(np.argmax(weights[1:]))).astype(np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(part, outlines, -1, 1, cv2.FILLED), bool)


def _centre_weights(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Weigh pixels by a Gaussian around the middle, where it is 1."""
    height, width = shape[:2]
    y, x = np.ogrid[:height, :width]
    distances = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
    return np.exp(-distances / (2 * CENTRE**2))


def _disc(radius: int) -> Pixels:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def write_copy(raw: Path, out: Path, change: str) -> int:
    """Write the copy; a folder appears only when it is whole.

    Args:
        raw: With ``HAM10000_metadata.csv`` and JPEG files in ``images``.
        out: Of the copy; new or empty, not inside `raw`.
        change: A key of ``CHANGES``.

    Returns:
        How many photographs were written.

    Raises:
        InputError: If a folder or a photograph cannot be used; says which.
    """
    names, out = photograph_names(raw), out.resolve()
    check_target(raw, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        copy = Path(folder) / out.name
        (copy / IMAGES).mkdir(parents=True)
        shutil.copyfile(raw / METADATA, copy / METADATA)
        change_all(raw / IMAGES, copy / IMAGES, names, change)
        if out.exists():
            out.rmdir()  # is empty; Windows renames onto nothing that exists
        copy.rename(out)
    return len(names)


def photograph_names(raw: Path) -> list[str]:
    """List the photographs to change.

    Args:
        raw: With ``HAM10000_metadata.csv`` and JPEG files in ``images``.

    Returns:
        Their file names, in order.

    Raises:
        InputError: If the metadata or all photographs are missing, or some are PNG files, whose names would lie.
    """
    if not (raw / METADATA).is_file():
        raise InputError(f"There is no {METADATA} in {raw}. Remedy: name the folder that holds it with --raw.")
    found = find_images(fsspec.filesystem("file"), str((raw / IMAGES).absolute()))
    names = sorted(name for files in found.files.values() for name in files)
    if not names:
        raise InputError(f"There are no photographs in {raw / IMAGES}. Remedy: unpack all archives of HAM10000 there.")
    problems = ProblemList()
    for name in names:
        if Path(name).suffix.lower() == ".png":
            problems.add("photographs that are no JPEG files", name, "save them as JPEG, as HAM10000's are")
    problems.raise_if_any(str(raw / IMAGES))
    return names


def check_target(raw: Path, out: Path) -> None:
    """Refuse a folder that has something in it, or that would be among the originals.

    Args:
        raw: Of the originals.
        out: Of the copy, resolved.

    Raises:
        InputError: If the copy cannot be there.
    """
    if out.is_relative_to(raw.resolve()):
        raise InputError(f"{out} is inside {raw}, whose files stay as they are. Remedy: choose another --out.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists and is no empty folder. Remedy: delete it, or choose another --out.")


def change_all(source: Path, target: Path, names: list[str], change: str) -> None:
    """Change photographs in processes of their own.

    Args:
        source: Folder to read from.
        target: Folder to write to.
        names: Of the files, in both.
        change: A key of ``CHANGES``.

    Raises:
        InputError: If a photograph cannot be decoded; names all of them.
    """
    problems = ProblemList()
    spawn = get_context("spawn")  # forks of a process with threads, as OpenCV's, may hang
    with ProcessPoolExecutor(PROCESSES, spawn, _start_process) as pool:
        reasons = pool.map(partial(change_file, source, target, change), names, chunksize=16)
        bar = tqdm(reasons, total=len(names), unit="photograph", desc=change, disable=None)
        for name, reason in zip(names, bar, strict=True):
            if reason is not None:
                problems.add("photographs that cannot be used", f"{name}: {reason}", "replace them by whole files")
    problems.raise_if_any(str(source))


def _start_process() -> None:
    cv2.setNumThreads(1)  # the processes share the cores already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for them


def change_file(source: Path, target: Path, change: str, name: str) -> str | None:
    """Decode, change and encode a photograph, without chroma subsampling.

    Args:
        source: Folder to read from.
        target: Folder to write to.
        change: A key of ``CHANGES``.
        name: Of the file, in both.

    Returns:
        Why it cannot be decoded; None: it was written.
    """
    try:
        image = decode_image((source / name).read_bytes(), DataParams().max_pixels)
    except UnusableError as error:
        return str(error)
    except OSError as error:
        return error.strerror or type(error).__name__
    changed = CHANGES[change](np.asarray(image))
    Image.fromarray(changed).save(target / name, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return None


def main() -> None:
    """Write the copy that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write a copy of HAM10000 with every photograph changed in one way.")
    parser.add_argument("--change", required=True, choices=sorted(CHANGES))
    parser.add_argument("--raw", required=True, type=Path, help="folder of HAM10000_metadata.csv and images/")
    parser.add_argument("--out", required=True, type=Path, help="new folder of the copy")
    options = parser.parse_args()
    try:
        count = write_copy(options.raw, options.out, options.change)
    except (InputError, OSError) as error:
        sys.exit(f"Error: {error}")
    print(f"{count:,} photographs in {options.out}")


if __name__ == "__main__":
    main()
