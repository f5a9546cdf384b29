"""What a finished study has stored, as benchmarks read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skinbit.config import ExecutorParams, GeometryParams, SimilarityParams
from skinbit.data.executor import Execution
from skinbit.data.pieces import of_pairs
from skinbit.embedding.tables import Embeddings
from skinbit.matching.assembly import LabelledPool, calibrate, pool_of
from skinbit.matching.keypoints.compared import NO_PAIRS, ComparedPairs, Comparing, shortlist_by_keypoints
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST, Shortlist, read_shortlist
from skinbit.matching.keypoints.sift import KeypointTable, choose_keypoints
from skinbit.matching.labels import FloatArray, lesion_labels
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.similarity.calibration import Calibration
from skinbit.matching.similarity.context import Context
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.keypoints import KeypointsDataset

THREADS, GEOMETRY = 2, GeometryParams()

_TEXT = {"image_id": str, "lesion_id": str, "image_a": str, "image_b": str}


class Nothing:
    """A store that keeps no compared pairs, so that every benchmark compares its own."""

    def finished(self) -> ComparedPairs:
        """Return no pairs."""
        return NO_PAIRS

    def pieces(self) -> list[ComparedPairs]:
        """Return no pieces."""
        return []

    def keep(self, piece: ComparedPairs) -> ComparedPairs:
        """Return the piece."""
        return piece


def compare_anew(geometry: GeometryParams) -> Comparing:
    """Return how pairs are compared without those of earlier runs."""
    return Comparing(geometry, THREADS, Nothing(), of_pairs(Execution(ExecutorParams())))


@dataclass(frozen=True)
class Images:
    """The images of one fold, or of several.

    Attributes:
        image_ids: One per row.
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        lesion_ids: The true lesion of each image.
        shortlist: The pairs whose keypoints were compared.
        context: Columns of the metadata; None: none counts.
    """

    image_ids: list[str]
    embeddings: FloatArray
    lesion_ids: list[str]
    shortlist: Shortlist
    context: Context | None = None

    def labelled(self) -> LabelledPool:
        """Give it as a calibration takes it."""
        return LabelledPool(self.embeddings, lesion_labels(self.lesion_ids), self.shortlist, self.context)

    def with_similarities(self, params: SimilarityParams, calibration: Calibration | None) -> Pool:
        """Return the images with what makes similarities of them.

        Args:
            params: What the similarity is.
            calibration: Fitted on pairs of other lesions; None where it is not calibrated.

        Returns:
            The pool.
        """
        compared = self.shortlist if params.verification else NO_SHORTLIST
        return pool_of(self.embeddings, params, compared, calibration, self.context)


def required(path: Path, remedy: str) -> Path:
    """Give a path at which there is something.

    Args:
        path: Of a file that a finished study has.
        remedy: What to do where it is missing.

    Returns:
        The path.

    Raises:
        SystemExit: If there is nothing.
    """
    if not path.exists():
        raise SystemExit(f"{path} is missing. Remedy: {remedy}.")
    return path


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
    folders = (root / "07_model_output" / experiment).glob("fold_*")
    in_order = sorted(folders, key=lambda folder: int(folder.name.removeprefix("fold_")))
    if len(in_order) < at_least:
        raise SystemExit(
            f"{root}: {experiment} has {len(in_order)} folds. Remedy: the root of a study of {at_least} folds or more "
            "that has run this experiment."
        )
    return in_order


def read_pool(embeddings: Embeddings, listed: Path, lesion_of: Mapping[str, str]) -> Images:
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
    remedy = "an experiment whose pairs are verified; with evaluation.distractors for those of distractors"
    table = read_table(required(listed, remedy))
    image_ids = list(embeddings.image_ids)
    shortlist = read_shortlist(table, image_ids)
    return Images(image_ids, embeddings.values, [lesion_of[image_id] for image_id in image_ids], shortlist)


def read_keypoints(root: Path, name: str = "keypoints") -> KeypointTable:
    """Read the keypoints of photographs of a study.

    Args:
        root: Of the study.
        name: ``keypoints``, of its folds and test subset, or ``distractor_keypoints``.

    Returns:
        The keypoints.

    Raises:
        SystemExit: If the study has none.
    """
    remedy = "a study that verifies pairs" + _with_distractors(name)
    path = required(root / f"04_feature/{name}.safetensors", remedy)
    table: KeypointTable = KeypointsDataset(filepath=str(path)).load()
    return table


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
    remedy = "a study that has run this experiment" + _with_distractors(name)
    path = required(folder / f"{name}.safetensors", remedy)
    loaded: Embeddings = EmbeddingsDataset(filepath=str(path)).load()
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
    remedy = "--root of a finished study" + _with_distractors(path.name)
    return pd.read_csv(required(path, remedy), dtype=_TEXT, keep_default_na=False)


def _with_distractors(name: str) -> str:
    return ", with evaluation.distractors" if name.startswith("distractor") else ""


def read_lesions(path: Path) -> dict[str, str]:
    """Read which lesion each image shows.

    Args:
        path: Of a CSV file with ``image_id, lesion_id``.

    Returns:
        The lesion of each image.
    """
    table = read_table(path)
    return dict(zip(table["image_id"], table["lesion_id"], strict=True))


def read_all_lesions(root: Path) -> dict[str, str]:
    """Read which lesion each image of a study shows, distractors among them.

    Args:
        root: Of the study.

    Raises:
        SystemExit: If it has no distractors.
    """
    tables = (read_lesions(root / f"02_intermediate/{name}.csv") for name in ("split", "distractors"))
    return {image_id: lesion for lesions in tables for image_id, lesion in lesions.items()}


def calibrations_by_others(folds: Mapping[int, Images], params: SimilarityParams) -> dict[int, Calibration | None]:
    """Calibrate every fold by the pairs of the others; with none where the similarity is not calibrated."""
    if not params.is_calibrated:
        return dict.fromkeys(folds)
    return {fold: calibrate([other.labelled() for n, other in folds.items() if n != fold], params) for fold in folds}


def join_parts(
    parts: list[Embeddings],
    lesion_of: Mapping[str, str],
    keypoints: Sequence[KeypointTable],
    geometry: GeometryParams = GEOMETRY,
) -> Images:
    """Put parts of a pool together and compare each image with its nearest by their keypoints.

    Args:
        parts: Embeddings of one model.
        lesion_of: The lesion of each image.
        keypoints: Tables of at least these images.
        geometry: How many are compared, and how.

    Returns:
        The pool.
    """
    image_ids = [image_id for part in parts for image_id in part.image_ids]
    embeddings = np.concatenate([part.values for part in parts])
    shortlist = shortlist_by_keypoints(Pool(embeddings), choose_keypoints(keypoints, image_ids), compare_anew(geometry))
    return Images(image_ids, embeddings, [lesion_of[image_id] for image_id in image_ids], shortlist)
