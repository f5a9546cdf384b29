"""What a finished study has stored, as benchmarks read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from skinbit.datasets.embeddings import EmbeddingsDataset
from skinbit.datasets.keypoints import KeypointsDataset
from skinbit.datasets.stock import JSONDataset
from skinbit.embedding.tables import Embeddings
from skinbit.matching.keypoints import KeypointTable, join_tables
from skinbit.matching.pairs import FloatArray, lesion_labels
from skinbit.matching.similarity import LabelledPool, Shortlist, read_shortlist

_TEXT = {"image_id": str, "lesion_id": str, "image_a": str, "image_b": str}


@dataclass(frozen=True)
class Pool:
    """The images of one fold, or of several.

    Attributes:
        image_ids: One per row.
        embeddings: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        lesion_ids: The true lesion of each image.
        shortlist: The pairs whose keypoints were compared.
    """

    image_ids: list[str]
    embeddings: FloatArray
    lesion_ids: list[str]
    shortlist: Shortlist

    def labelled(self) -> LabelledPool:
        """Give it as a calibration takes it."""
        return LabelledPool(self.embeddings, lesion_labels(self.lesion_ids), self.shortlist)


def fold_folders(root: Path, experiment: str, at_least: int = 2) -> list[Path]:
    """Give the folders with what an experiment made of each fold, in the order of the folds.

    Args:
        root: Of the study.
        experiment: Its name.
        at_least: Folds that are needed: two where one is judged by the other.

    Returns:
        The folders.

    Raises:
        SystemExit: If the experiment has fewer folds, or is none of this study.
    """
    folders = sorted((root / "07_model_output" / experiment).glob("fold_*"))
    if len(folders) < at_least:
        raise SystemExit(
            f"{root}: {experiment} has {len(folders)} folds. Remedy: the root of a study of {at_least} folds or more "
            "that has run this experiment."
        )
    return folders


def read_pool(embeddings: Embeddings, listed: Path, lesion_of: Mapping[str, str]) -> Pool:
    """Put together what a study has stored of a pool.

    Args:
        embeddings: Of its images.
        listed: The pairs whose keypoints were compared.
        lesion_of: The lesion of each image.

    Returns:
        The pool.

    Raises:
        SystemExit: If no keypoints were compared.
    """
    if not listed.exists():
        raise SystemExit(
            f"{listed} is missing. Remedy: an experiment whose pairs are verified; with evaluation.distractors."
        )
    image_ids = list(embeddings.image_ids)
    shortlist = read_shortlist(read_table(listed), image_ids)
    return Pool(image_ids, embeddings.values, [lesion_of[image_id] for image_id in image_ids], shortlist)


def read_keypoints(root: Path) -> KeypointTable:
    """Read the keypoints of all photographs of a study, those of distractors included.

    Args:
        root: Of the study.

    Returns:
        The keypoints.

    Raises:
        SystemExit: If the study has none of either.
    """
    files = [root / "04_feature" / f"{name}.safetensors" for name in ("keypoints", "distractor_keypoints")]
    missing = next((path for path in files if not path.exists()), None)
    if missing is not None:
        raise SystemExit(f"{missing} is missing. Remedy: a study that verifies pairs, with evaluation.distractors.")
    return join_tables([KeypointsDataset(filepath=str(path)).load() for path in files])


def load_embeddings(folder: Path, name: str = "embeddings") -> Embeddings:
    """Load the embeddings of a fold, or of the distractors by its model.

    Args:
        folder: Of the fold.
        name: ``embeddings`` or ``distractor_embeddings``.

    Returns:
        The embeddings; those of an experiment with whitening are whitened.

    Raises:
        SystemExit: If there is no such file.
    """
    if not (folder / f"{name}.safetensors").exists():
        raise SystemExit(
            f"{folder / name}.safetensors is missing. Remedy: a study that has run this experiment"
            + (", with evaluation.distractors." if name.startswith("distractor") else ".")
        )
    loaded: Embeddings = EmbeddingsDataset(filepath=f"{folder}/{name}.safetensors").load()
    return loaded


def read_table(path: Path) -> pd.DataFrame:
    """Read a table in which all ids are text.

    Args:
        path: Of a CSV file.

    Returns:
        The table.

    Raises:
        SystemExit: If there is no such file.
    """
    if not path.exists():
        raise SystemExit(f"{path} is missing. Remedy: --root of a finished study; with evaluation.distractors.")
    return pd.read_csv(path, dtype=_TEXT, keep_default_na=False)


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON document.

    Args:
        path: Of the file.

    Returns:
        Its content.

    Raises:
        SystemExit: If there is no such file.
    """
    if not path.exists():
        raise SystemExit(f"{path} is missing. Remedy: --root of a finished study; with evaluation.distractors.")
    document: dict[str, Any] = JSONDataset(filepath=str(path)).load()
    return document


def read_lesions(path: Path) -> dict[str, str]:
    """Read which lesion each image shows.

    Args:
        path: Of a CSV file with ``image_id, lesion_id``.

    Returns:
        The lesion of each image.
    """
    table = read_table(path)
    return dict(zip(table["image_id"], table["lesion_id"], strict=True))
