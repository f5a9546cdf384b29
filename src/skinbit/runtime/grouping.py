"""`kedro group`: the checks before a run of ``cluster_images``, the run, and the paths of its files."""

import logging
import re
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from kedro.framework.project import pipelines
from kedro.runner import SequentialRunner

from skinbit.config import ClusterParams, DataParams
from skinbit.data.photographs import check_folder, choose_photographs
from skinbit.errors import InputError
from skinbit.refusals import explain_reading
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.datasets.files import address_of, atomic_target
from skinbit.runtime.session import StudySession, mendable

logger = logging.getLogger(__name__)

_PIPELINE = "cluster_images"

_STARTER = "starter"
"""The environment and the experiment of the starter, which is used where no study has made a model."""

_ADDRESS = re.compile(r"\w{2,}:/")

_FILES = {
    "page": "clusters_page",
    "table": "clustered_images",
    "pairs": "cluster_matches",
    "groups": "cluster_groups",
    "unread": "unreadable",
}
"""The datasets that a person opens, by what they are."""


def group_folder(env: str | None, params: dict[str, Any], out: Path | None) -> dict[str, str]:
    """Run ``cluster_images`` after checking its inputs, and return the paths of its files.

    The starter is used if no model is named and no study has made the recommended one.

    Args:
        env: The environment of the configuration.
        params: The parameters of ``--params``; ``cluster`` names the folder.
        out: Folder to which the files are copied; None: they stay where the pipeline writes them.

    Returns:
        Paths by what is there: ``page``, ``table``, ``pairs``, ``groups``, ``unread``.

    Raises:
        InputError: If an input does not exist, before any model is loaded; or if the run fails.
    """
    with StudySession.create(env=env, runtime_params=params) as session:
        with mendable():
            catalog: StudyCatalog = session.load_context().catalog
            parameters = active_parameters()
            _check_photographs(catalog, parameters.cluster, parameters.data)
            has_model = _has_model(catalog, parameters.cluster, env)
            if out is not None:
                _make(out)
        if has_model:
            session.run(pipeline_names=[_PIPELINE], runner=SequentialRunner())
            with mendable():
                return {kind: _place(catalog, name, out) for kind, name in _FILES.items()}
    cluster = params["cluster"] | {"checkpoint": _find_starter(params)}
    return group_folder(env, params | {"cluster": cluster}, out)


def _check_photographs(catalog: StudyCatalog, cluster: ClusterParams, data: DataParams) -> None:
    """Check that there are photographs to group, and the tables, photographs and answers that are named."""
    folders = catalog.load("photograph_folders")
    choose_photographs(folders(str(cluster.images)), data)
    catalog.load("decision_files")(cluster.decisions)
    if cluster.metadata is not None:
        catalog.load("column_files")(cluster.metadata)
    if cluster.known is not None:
        catalog.load("metadata_files")(cluster.known)
        check_folder(folders(cluster.known_folder), "cluster.known_images")


def _has_model(catalog: StudyCatalog, cluster: ClusterParams, env: str | None) -> bool:
    """Whether the named model exists or, if none is named, the recommended one.

    Raises:
        InputError: If the named model does not exist.
    """
    inputs = pipelines[_PIPELINE].inputs()
    models = [name for name in inputs if name.endswith(".checkpoint")]
    missing = [name for name in models if not catalog.exists(name)]
    if missing and cluster.experiment is not None:
        command = f"kedro run{f' --env {env}' if env else ''} --pipelines {cluster.experiment}"
        raise InputError(
            f"There is no model of {cluster.experiment} yet: {catalog[missing[0]].stored_file()[1]}.\n"
            f"  Remedy: `{command}` trains it on photographs with known lesions; or name an experiment that has a "
            "model (--experiment)."
        )
    return cluster.checkpoint is not None or bool(models and not missing)


def _find_starter(params: dict[str, Any]) -> str:
    """Return the file of the starter, which is made on first use.

    Args:
        params: Parameters of the run; only those about the machine are used.
    """
    machine = {block: params[block] for block in ("compute", "loader", "memory", "executor") if block in params}
    with StudySession.create(env=_STARTER, runtime_params=machine) as session:
        model = session.load_context().catalog[f"{_STARTER}.final.checkpoint"]
        if model.exists():
            logger.info("there is no model of a study yet: the starter is used")
        else:
            logger.info(
                "there is no model of a study yet: the starter is fitted once on synthetic photographs, in minutes"
            )
            session.run(pipeline_names=[_STARTER], runner=SequentialRunner(), only_missing_outputs=True)
        return address_of(*model.stored_file())


def _make(folder: Path) -> None:
    if _ADDRESS.match(str(folder)):
        raise InputError(f"--out names a folder on this machine, not {folder}.\n  Remedy: copy the files from there.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why, _ = explain_reading(error)
        raise InputError(f"{folder} cannot be made: {why}.\n  Remedy: name another folder in --out.") from error


def _place(catalog: StudyCatalog, name: str, out: Path | None) -> str:
    """Return the path of a file, after copying it to ``out`` if that is set."""
    fs, path = catalog[name].stored_file()
    if out is None:
        return address_of(fs, str(path))
    target = out / Path(path).name
    with atomic_target(LocalFileSystem(), str(target)) as temporary:
        fs.get_file(path, temporary)
    return str(target)
