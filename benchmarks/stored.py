"""What a finished study has stored, as benchmarks read it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from skinbit.datasets.embeddings import EmbeddingsDataset
from skinbit.embedding.tables import Embeddings
from skinbit.matching.pairs import FloatArray, lesion_labels
from skinbit.matching.similarity import LabelledPool, Shortlist

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


def fold_folders(root: Path, experiment: str) -> list[Path]:
    """Give the folders with what an experiment made of each fold, in the order of the folds.

    Args:
        root: Of the study.
        experiment: Its name.

    Returns:
        The folders.
    """
    return sorted((root / "07_model_output" / experiment).glob("fold_*"))


def load_embeddings(folder: Path, name: str = "embeddings") -> Embeddings:
    """Load the embeddings of a fold, or of the distractors by its model.

    Args:
        folder: Of the fold.
        name: ``embeddings`` or ``distractor_embeddings``.

    Returns:
        The embeddings; those of an experiment with whitening are whitened.
    """
    loaded: Embeddings = EmbeddingsDataset(filepath=f"{folder}/{name}.safetensors").load()
    return loaded


def read_table(path: Path) -> pd.DataFrame:
    """Read a table in which all ids are text.

    Args:
        path: Of a CSV file.

    Returns:
        The table.
    """
    return pd.read_csv(path, dtype=_TEXT, keep_default_na=False)


def read_lesions(path: Path) -> dict[str, str]:
    """Read which lesion each image shows.

    Args:
        path: Of a CSV file with ``image_id, lesion_id``.

    Returns:
        The lesion of each image.
    """
    table = read_table(path)
    return dict(zip(table["image_id"], table["lesion_id"], strict=True))
