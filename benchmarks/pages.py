"""How quickly pages of 10,000 photographs, or of thousands of misclassified pairs, are written, opened and turned.

In headless Chromium of this machine. The thumbnails are of random pixels, which compress worse than photographs do.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from selenium import webdriver

from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import ReportParams
from skinbit.matching.grouping import Cut, explain_doubts, group_images
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.mistakes import find_mistakes, mistakes_document
from skinbit.report.gallery import Gallery, GroupCard, PhotographCard, render_gallery
from skinbit.report.mistakes import render_mistakes
from skinbit.report.thumbnails import shrink, within_size

N_IMAGES, PER_LESION, SEED, N_ROUNDS = 10_000, 3, 42, 5
REPORT = ReportParams()
CUT = Cut("dbscan", 0.25, 0.74, 0.76)
_TURN = """
const next = [...document.querySelectorAll("button")].find((button) => button.textContent.startsWith("Next"));
const started = performance.now();
next.click();
document.body.offsetHeight;
return performance.now() - started;
"""


def main() -> None:
    """Print both tables."""
    rng = np.random.default_rng(SEED)
    lesions = np.arange(N_IMAGES) // PER_LESION
    noise = rng.normal(size=(N_IMAGES, 16)) * 0.45
    embeddings = unit_vectors(rng.normal(size=(N_IMAGES, 16))[lesions] + noise)
    ids = tuple(f"ISIC_{number:07d}" for number in range(N_IMAGES))
    thumbnails = dict(zip(ids, _thumbnails(rng), strict=True))
    print(describe_machine("selenium"), end="\n\n")
    rows = [
        _measure("groups of 10,000 photographs", lambda: _gallery(embeddings, ids, thumbnails)),
        _measure("misclassified pairs", lambda: _mistakes(embeddings, lesions, ids, thumbnails)),
    ]
    print(markdown_table(["page", "written in (s)", "megabytes", "opened in (s)", "turned in (s)"], rows))


def _thumbnails(rng: np.random.Generator) -> list[str]:
    """Give a thumbnail per image; a hundred different ones, since making them is not what is measured."""
    different = []
    for _ in range(100):
        small = Image.fromarray(rng.integers(0, 255, (18, 24, 3), dtype=np.uint8))
        different.append(shrink(small.resize((224, 168)), REPORT.thumbnail))
    return [different[number % 100] for number in range(N_IMAGES)]


def _gallery(embeddings: np.ndarray, ids: tuple[str, ...], thumbnails: dict[str, str]) -> str:
    found = group_images(Pool(embeddings), (), CUT, max_group_size=4)
    groups = []
    for number, group in enumerate(found.groups):
        doubts = explain_doubts(group, CUT, 0, 4, None)
        reasons = (*doubts.of_cut, *doubts.others)
        members = tuple(ids[row] for row in group.members)
        groups.append(GroupCard(number, "", members, (), group.margin(CUT), (None, None), bool(reasons), reasons))
    nearest = zip(ids, found.similarities.tolist(), found.nearest, strict=True)
    photographs = tuple(PhotographCard(image_id, repr(value), "", ids[row], "") for image_id, value, row in nearest)
    columns = ("image_id", "cluster_id", "similarity_to_nearest")
    shown = within_size(thumbnails, REPORT.max_megabytes)
    return render_gallery(Gallery("Benchmark", {}, photographs, tuple(groups), (), shown, columns))


def _mistakes(embeddings: np.ndarray, lesions: np.ndarray, ids: tuple[str, ...], thumbnails: dict[str, str]) -> str:
    images = [(image, str(lesion)) for image, lesion in zip(ids, lesions, strict=True)]
    found = find_mistakes(Pool(embeddings), images, {"cosine": 0.8}, {}, REPORT.max_pairs)
    return render_mistakes(mistakes_document("benchmark", found["cosine"]), thumbnails, REPORT)


def _measure(name: str, write: Callable[[], str]) -> list[str]:
    started = time.perf_counter()
    page = write()
    written = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        opened, turned = _browse(path)
    return [name, f"{written:.1f}", f"{len(page) / 1e6:.0f}", f"{opened:.2f}", f"{turned:.2f}"]


def _browse(path: Path) -> tuple[float, float]:
    """Give the median seconds of opening the page and of showing its next part."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    opened, turned = [], []
    try:
        for _ in range(N_ROUNDS):
            browser.get(path.as_uri())
            opened.append(browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd"))
            turned.append(browser.execute_script(_TURN))
    finally:
        browser.quit()
    return median(opened) / 1000, median(turned) / 1000


if __name__ == "__main__":
    main()
