"""Drawings of matched keypoints for pages: which pairs are drawn, and the drawings as text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import pandas as pd
from PIL import Image

from skinbit.config import GeometryParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.progress import Progress
from skinbit.matching.clustering.merges import root_of
from skinbit.matching.keypoints.geometry import match_pair
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.report.matches import draw_matches
from skinbit.report.thumbnails import Pair, shrink

MAX_LINES = 16
"""Largest number of lines in a drawing; more would hide the photographs."""

_HEIGHT, _WIDTH = 300, 900
"""Largest size of a drawing, pixels: sharp on a page that shows it at half the size."""


def count_points(lists: Sequence[Sequence[Mapping[str, Any]]], compared: Mapping[Pair, int]) -> dict[Pair, int]:
    """Return the numbers of matched keypoints for the pairs of several lists.

    Args:
        lists: Pairs with ``image_a`` and ``image_b``, worst first.
        compared: Inliers of all compared pairs.

    Returns:
        Inliers by pair, 0 or more: the first pair of every list, then the second of every list, and so on, each pair
        once; pairs that were not compared are left out.
    """
    ranked = chain.from_iterable(zip_longest(*lists))
    pairs = dict.fromkeys(ordered(pair["image_a"], pair["image_b"]) for pair in ranked if pair is not None)
    return {pair: compared[pair] for pair in pairs if pair in compared}


def ordered(image_a: str, image_b: str) -> Pair:
    """Return two image ids in the order of a pair."""
    return (image_a, image_b) if image_a <= image_b else (image_b, image_a)


def strongest_links(
    groups: Sequence[tuple[Sequence[int], Sequence[int]]], shortlist: Shortlist, n_links: int
) -> list[list[tuple[int, int, int]]]:
    """Return the pairs that connect each of several groups of images.

    From most inliers to fewest, a pair is a link if no earlier links connect its two images: a spanning tree with as
    many inliers as possible, if there are enough compared pairs.

    Args:
        groups: Rows of each group's new images, and of its known images, which are already connected by their label.
        shortlist: The compared pairs.
        n_links: Largest number of links of each group, strongest first.

    Returns:
        Links of each group: two rows, lower row first, and their inliers, 1 or more; most inliers first.
    """
    group_of = {row: number for number, members in enumerate(groups) for row in chain(*members)}
    root = {row: row for row in group_of}
    for _, known in groups:
        root.update(dict.fromkeys(known, known[0]) if known else {})
    pairs = ((a, b, n) for (a, b), n in zip(shortlist.pairs.tolist(), shortlist.inliers.tolist(), strict=True))
    within = [link for link in pairs if link[2] and group_of.get(link[0], -1) == group_of.get(link[1], -2)]
    links: list[list[tuple[int, int, int]]] = [[] for _ in groups]
    for a, b, n_inliers in sorted(within, key=lambda link: (-link[2], link[:2])):
        end_a, end_b = root_of(root, a), root_of(root, b)
        if end_a != end_b:
            root[end_b] = end_a
            links[group_of[a]].append((a, b, n_inliers))
    return [found[:n_links] for found in links]


@dataclass(frozen=True)
class KeypointPhotographs:
    """Photographs with their keypoints.

    Attributes:
        table: Their keypoints.
        decode: Function that returns the photograph of a row, decoded for a smallest side.
    """

    table: KeypointTable
    decode: Callable[[int, int], Image.Image]

    @classmethod
    def of_study(cls, table: KeypointTable, photographs: ListedPhotographs) -> "KeypointPhotographs":
        """Return the photographs of a keypoint table."""
        return cls(table, lambda row, least_side: photographs.decode(table.image_ids[row], least_side))


def draw_pairs(
    pairs: Sequence[tuple[int, int]], photographs: KeypointPhotographs, geometry: GeometryParams, n_workers: int
) -> Iterator[str]:
    """Yield drawings of pairs of photographs side by side, with lines between matched keypoints.

    A thread holds the two photographs of one pair, of which only the small drawing remains.

    Args:
        pairs: Rows of the table, in the order of both photographs in the drawing.
        photographs: The photographs of all pairs.
        geometry: How keypoints are compared.
        n_workers: Number of threads; changes only the speed.

    Yields:
        A JPEG of each pair as a ``data:`` address, in order, at most 300 pixels high and 900 wide; equal photographs
        have equal drawings.

    Raises:
        InputError: If a photograph has changed since it was listed; names the first.
    """
    from threadpoolctl import threadpool_limits

    def draw(pair: tuple[int, int]) -> str:
        a, b = (photographs.table.at(row) for row in pair)
        image_a, image_b = (photographs.decode(row, _HEIGHT) for row in pair)
        ratio = image_a.width / image_a.height + image_b.width / image_b.height
        height = max(1, min(_HEIGHT, int(_WIDTH / ratio)))
        match = match_pair(a, b, geometry)
        return shrink(draw_matches((image_a, image_b), match, (a.size, b.size), height, MAX_LINES), _WIDTH)

    # One thread per matrix product, as pairs are distributed over threads.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_workers) as pool:
        made = pool.map(draw, pairs)
        yield from Progress(made, total=len(pairs), unit="pair", desc="drawing matches")


def list_matches(
    shortlist: pd.DataFrame,
    lists: Sequence[Sequence[Mapping[str, Any]]],
    max_drawings: int,
    draw: Callable[[Sequence[Pair]], Iterable[str]],
) -> list[dict[str, Any]]:
    """Return the misclassified pairs with compared keypoints, with drawings of the worst.

    Args:
        shortlist: ``image_a, image_b, inliers`` of all compared pairs.
        lists: Misclassified pairs with ``image_a`` and ``image_b``, worst of each list first.
        max_drawings: Largest number of drawings, worst pairs with inliers first.
        draw: Function that returns the drawings of pairs, in order.

    Returns:
        ``image_a, image_b, inliers, drawing``; the drawing is None without inliers and beyond the limit.
    """
    columns = (shortlist[column].tolist() for column in ("image_a", "image_b", "inliers"))
    compared = {ordered(a, b): inliers for a, b, inliers in zip(*columns, strict=True)}
    counts = count_points(lists, compared)
    chosen = [pair for pair, inliers in counts.items() if inliers][:max_drawings]
    drawings = dict(zip(chosen, draw(chosen), strict=True))
    return [
        {"image_a": a, "image_b": b, "inliers": inliers, "drawing": drawings.get((a, b))}
        for (a, b), inliers in counts.items()
    ]
