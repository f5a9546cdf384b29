"""How soon the review page of 10,000 photographs asks, and how soon it asks again once it has an answer.

The server is a process of its own, asked over HTTP as the page asks it. Photographs of 600 by 450 pixels, each with
500 keypoints: a few drawn ones, each written many times with a comment of its own, so that no two files are equal.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from kedro.framework.startup import bootstrap_project

from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import GeometryParams
from skinbit.data.decoding import decode_image
from skinbit.data.synthetic import make_photographs
from skinbit.decisions.answers import SAME, Answer, new_id
from skinbit.decisions.ledger import Ledger
from skinbit.matching.expected.odds import LEVELS
from skinbit.matching.keypoints.sift import extract_keypoints, tabulate_keypoints
from skinbit.report.thumbnails import shrink
from skinbit.runtime.session import StudySession

REPOSITORY = Path(__file__).parents[1]
N_PHOTOGRAPHS, GROUP_SIZE, N_PARTNERS, N_DRAWN, SEED, N_ANSWERS, N_SAMPLED = 10_000, 3, 5, 20, 42, 200, 100
GEOMETRY = GeometryParams()


def main() -> None:
    """Print the table."""
    print(describe_machine("fastapi", "uvicorn"), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(REPOSITORY / "conf", root / "conf")
        shutil.copy(REPOSITORY / "pyproject.toml", root)
        (root / "src").mkdir()
        hashes = _write_outputs(root)
        rows = [_measure(root, hashes, n_before) for n_before in (0, 2_000)]
    header = [
        "answers before",
        "started in (s)",
        "first question (s)",
        "next question, median (ms)",
        "of 20 one over (ms)",
        "next drawn question, median (ms)",
        "certificate (ms)",
    ]
    print(markdown_table([*header, "photograph, median (ms)", "aligned, median (ms)"], rows))


def _write_outputs(root: Path) -> list[str]:
    """Write what ``cluster_images`` would write, and return the hashes of the photographs."""
    drawn = [photograph.jpeg for photograph in make_photographs(N_DRAWN, SEED, 600, 450)][:N_DRAWN]
    images = [decode_image(jpeg, 10**6) for jpeg in drawn]
    listed = _write_photographs(root / "photographs", drawn)
    ids = listed["image_id"].tolist()
    thumbnails = [shrink(image, 224) for image in images]
    keypoints = [extract_keypoints(image, GEOMETRY) for image in images]
    tiled = [keypoints[row % N_DRAWN] for row in range(len(ids))]
    files = _groups(ids) | {
        "new_photographs": listed,
        "new_thumbnails": dict(zip(ids, cycle(thumbnails), strict=False)),
        "known_thumbnails": {},
        "clusters_keypoints": tabulate_keypoints(ids, ids, tiled, {}),
    }
    bootstrap_project(root)
    with StudySession.create(project_path=root) as session:
        catalog = session.load_context().catalog
        for name, content in files.items():
            catalog.save(name, content)
    return listed["sha256"].tolist()


def _write_photographs(folder: Path, drawn: list[bytes]) -> pd.DataFrame:
    folder.mkdir()
    records = []
    for number in range(N_PHOTOGRAPHS):
        jpeg, comment = drawn[number % N_DRAWN], f"{number:08d}".encode()
        content = jpeg[:2] + b"\xff\xfe\x00\x0a" + comment + jpeg[2:]
        file = f"ISIC_{number:07d}.jpg"
        (folder / file).write_bytes(content)
        records.append((file.removesuffix(".jpg"), file, sha256(content).hexdigest()))
    return pd.DataFrame(records, columns=["image_id", "file", "sha256"], dtype=str)


def _groups(ids: list[str]) -> dict[str, Any]:
    rng, n = np.random.default_rng(SEED), len(ids)
    groups = [
        {
            **{"cluster_id": number, "lesion_id": "", "image_ids": ids[start : start + GROUP_SIZE], "known_ids": []},
            **{"contradictory_ids": [], "margin": 0.1, "probability_inside": 0.9, "probability_outside": 0.1},
            "doubts": [],
        }
        for number, start in enumerate(range(0, n, GROUP_SIZE))
    ]
    first = np.repeat(np.arange(n), N_PARTNERS)
    second = (first + np.tile(np.arange(1, N_PARTNERS + 1), n)) % n
    is_inside = first // GROUP_SIZE == second // GROUP_SIZE
    probabilities = np.where(is_inside, 1 - rng.beta(0.2, 2, len(first)), rng.beta(0.1, 5, len(first)))
    inliers = rng.integers(0, 9, len(first))
    partners = pd.DataFrame(
        {
            "image_id": [ids[row] for row in first],
            "partner": [ids[row] for row in second],
            "rank": np.tile(np.arange(1, N_PARTNERS + 1), n),
            "similarity": 0.5,
            "probability": probabilities.round(4),
            "inliers": pd.array(inliers, dtype="Int64"),
            "evidence": "",
            "same_group": np.where(is_inside, "yes", "no"),
        }
    )
    shortlist = pd.DataFrame(np.sort(np.stack([first, second], axis=1), axis=1), columns=["row_a", "row_b"])
    shortlist = shortlist.assign(inliers=inliers, zoom=1.0).drop_duplicates(["row_a", "row_b"])
    estimate = {"value": 0.9, "low": 0.8, "high": 1.0}
    return {
        "cluster_groups": {
            **{"method": "average", "cut": 0.3, "similarity": 0.7, "unsure_from": 0.6, "unsure_to": 0.8},
            "expected": {
                **dict.fromkeys(("precision", "recall", "f1"), estimate),
                **{"n_positive_pairs": float(n), "single_share": 0.1, "unlike_folds": []},
            },
            **{"log_odds": {"intercept": 0.0, "slope": 1.0}, "answers": None, "certificate": None, "groups": groups},
            "nearest": [ids[(row + 1) % n] for row in range(n)],
        },
        "cluster_matches": partners,
        "cluster_shortlist": shortlist.sort_values(["row_a", "row_b"], ignore_index=True),
        "cluster_candidates": shortlist.drop(columns="zoom").assign(probability=probabilities[shortlist.index]),
        "cluster_columns": pd.DataFrame({"image_id": ids}),
        "known_photographs": pd.DataFrame(columns=["image_id", "file", "sha256", "lesion_id"], dtype=str),
        "cluster_review": {
            **{"images": "photographs", "known_images": None, "model": "drawn", "evidence": []},
            "geometry": GEOMETRY.model_dump(mode="json"),
            "odds": [
                {"intercept": 0.0, "slope": 1.0, "prior": 0.1, "positives": np.linspace(-13, 13, len(LEVELS)).tolist()}
            ],
        },
    }


def _measure(root: Path, hashes: list[str], n_before: int) -> list[str]:
    ledger = root / f"{n_before}.sqlite"
    command = [sys.executable, "-m", "kedro", "review", "--port", "0", "--ledger", str(ledger)]
    with closing(Ledger(ledger)) as written:
        for first in range(0, 2 * n_before, 2):
            written.append(Answer(verdict=SAME, parts=((hashes[first], hashes[first + 1]),)))
    started = time.perf_counter()
    with _served(command, root) as ask:
        up = time.perf_counter()
        state = json.loads(ask("/state"))
        for photograph in state["question"]["photographs"]:
            ask(f"/photographs/{photograph['row']}")
        first = time.perf_counter() - up
        times = [*_answers(ask, N_ANSWERS)]
        drawn = [asked for asked, _, _ in _answers(ask, N_SAMPLED, "sample")]
        started_anew = time.perf_counter()
        assert json.loads(ask("/certificate"))["found"]
        certified = time.perf_counter() - started_anew
    with closing(Ledger(ledger)) as written:
        assert len(written.answers()) == n_before + N_ANSWERS + N_SAMPLED
    answered, shown, aligned = (sorted(1000 * value for value in values) for values in zip(*times, strict=True))
    figures = [median(answered), answered[int(0.95 * len(answered))], 1000 * median(drawn), 1000 * certified]
    figures += [median(shown), median(aligned)]
    return [f"{n_before:,}", f"{up - started:.1f}", f"{first:.2f}", *(f"{figure:.0f}" for figure in figures)]


class _Asker:
    """Asks a server as the page does, on one connection."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._connection, self._token = HTTPConnection(parts.netloc), parts.fragment

    def __call__(self, path: str, sent: dict[str, Any] | None = None) -> bytes:
        headers = {"X-Skinbit-Token": self._token, "Content-Type": "application/json"}
        body = None if sent is None else json.dumps(sent)
        self._connection.request("GET" if sent is None else "POST", path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {content.decode()}")
        return content


@contextmanager
def _served(command: list[str], root: Path) -> Iterator[_Asker]:
    """Yield what asks a running `kedro review`."""
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "") if process.stdout else iter(())
            yield _Asker(next(found[1] for line in lines if (found := re.match(r"page +(http\S+)", line))))
        finally:
            process.kill()


def _answers(ask: _Asker, n: int, view: str = "queue") -> Iterator[tuple[float, float, float]]:
    """Answer, and yield the seconds of the next question, of its second photograph and of its alignment."""
    state = json.loads(ask(f"/state?view={view}"))
    for number in range(n):
        first, second = (photograph["row"] for photograph in state["question"]["photographs"])
        is_same = number % 3 > 0
        verdict = "same lesion" if is_same else "different lesions"
        parts = [[first, second]] if is_same else [[first], [second]]
        started = time.perf_counter()
        state = json.loads(
            ask(
                "/answers",
                {"answer_id": new_id(), "verdict": verdict, "parts": parts, "seen": state["seen"], "view": view},
            )
        )
        asked = time.perf_counter()
        first, second = (photograph["row"] for photograph in state["question"]["photographs"])
        ask(f"/photographs/{second}")
        shown = time.perf_counter()
        ask(f"/alignments/{first}/{second}")
        yield asked - started, shown - asked, time.perf_counter() - shown


if __name__ == "__main__":
    main()
