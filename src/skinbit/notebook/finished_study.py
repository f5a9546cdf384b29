"""Access to a finished study from a notebook: its catalog, parameters and similarities."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kedro.utils import find_kedro_project

from skinbit.config import Parameters, SimilarityParams
from skinbit.data.listed import ListedPhotographs
from skinbit.errors import InputError
from skinbit.matching.assembly import pool_of
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.labels import FloatArray
from skinbit.matching.pairs.pool import Pool, similarity_matrix

if TYPE_CHECKING:
    from skinbit.runtime.catalog import StudyCatalog

_ENVIRONMENT = "demo"


@dataclass(frozen=True)
class Study:
    """A study with outputs on disk.

    Attributes:
        catalog: Loads every input and output by name.
        parameters: Parameters of the environment.
    """

    catalog: "StudyCatalog"
    parameters: Parameters

    @property
    def best_experiment(self) -> str:
        """Return the first experiment of the leaderboard."""
        return str(self.catalog.load("leaderboard")["experiment"].iloc[0])

    @property
    def photographs(self) -> ListedPhotographs:
        """Return the photographs of the study."""
        folder, table = self.catalog.load("images"), self.catalog.load("image_index")
        return ListedPhotographs(folder, table, self.parameters.data)

    def pool(self, experiment: str, part: str) -> Pool:
        """Return images with the similarities from which an experiment's metrics were computed.

        Args:
            experiment: Name of the experiment.
            part: ``final`` for the test images; ``fold_0``, … for those of a fold.

        Returns:
            The images in the order of the part's embeddings; their similarities include keypoints and scaling.
        """
        made_with = self.catalog.load(f"{experiment}.resolved_config")  # the environment may have changed since
        params = SimilarityParams.model_validate(made_with["similarity"])
        embeddings = self.catalog.load(f"{experiment}.{part}.embeddings")
        listed = self.catalog.load(f"{experiment}.{part}.shortlist") if params.verification else None
        fitted = None
        if params.is_calibrated:
            subset = "all" if part == "final" else part.removeprefix("fold_")
            fitted = self.catalog.load(f"{experiment}.calibration")[subset]
        return pool_of(embeddings.vectors, params, read_shortlist(listed, embeddings.image_ids), fitted)

    def similarities(self, experiment: str, part: str) -> FloatArray:
        """Return the similarities of all pairs of images of :meth:`pool`.

        Args:
            experiment: See :meth:`pool`.
            part: See :meth:`pool`.

        Returns:
            ``(n, n)`` float32 in [-1, 1], in the order of the part's embeddings.
        """
        return similarity_matrix(self.pool(experiment, part))


def open_study(environment: str | None = None) -> Study:
    """Open the study of the project around the working directory.

    Args:
        environment: Name of the environment; by default KEDRO_ENV, or the demo.

    Raises:
        InputError: If there is no project, or no outputs yet.
    """
    project = find_kedro_project(Path.cwd())
    if project is None:
        raise InputError(f"{Path.cwd()} is in no Kedro project.\n  Remedy: start the notebook from its folder.")
    # Kedro reads it on import, finds it only from the project's folder, and prints tables in its own way without it.
    os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(project / "conf" / "logging.yml"))

    # tqdm would prefer widgets, but no notebook of a finished study shows progress bars.
    warnings.filterwarnings("ignore", message="IProgress not found")

    from kedro.framework.startup import bootstrap_project

    from skinbit.runtime.context import active_parameters
    from skinbit.runtime.session import StudySession

    bootstrap_project(project)
    environment = environment or os.environ.get("KEDRO_ENV") or _ENVIRONMENT
    context = StudySession.create(project_path=project, env=environment).load_context()
    if not context.catalog.exists("leaderboard"):
        raise InputError(
            f"The environment {environment} has no leaderboard yet.\n  Remedy: kedro run --env {environment}"
        )
    return Study(context.catalog, active_parameters())
