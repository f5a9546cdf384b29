"""`kedro group`: what is checked before a run of ``cluster_images``, the run, and where its files are."""

from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.runner import SequentialRunner

from skinbit.config import ClusterParams, DataParams
from skinbit.data.photographs import check_folder, choose_photographs
from skinbit.errors import InputError
from skinbit.refusals import explain_reading
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.datasets.files import atomic_target, connect
from skinbit.runtime.session import StudySession, mendable

_PIPELINE = "cluster_images"

_FILES = {"page": "clusters_page", "table": "clustered_images", "groups": "cluster_groups", "unread": "unreadable"}
"""The datasets that a person opens, by what they are."""


def group_folder(env: str | None, params: dict[str, Any], out: Path | None) -> dict[str, str]:
    """Run ``cluster_images``, once all that is named exists, and return where the files are.

    Args:
        env: Of the configuration.
        params: As of ``--params``; their ``cluster`` names the folder.
        out: The files are copied there; none: they stay where the pipeline writes them.

    Returns:
        Paths by what is there: ``page``, ``table``, ``groups``, ``unread``.

    Raises:
        InputError: If something is not there, before any model is loaded; or for what ends a run.
    """
    with StudySession.create(env=env, runtime_params=params) as session:
        catalog: StudyCatalog = session.load_context().catalog
        parameters = active_parameters()
        with mendable():
            _check_photographs(catalog, parameters.cluster, parameters.data)
            _check_model(catalog, env)
            if out is not None:
                _make(out)
        session.run(pipeline_names=[_PIPELINE], runner=SequentialRunner())
        with mendable():
            return {kind: _place(catalog, name, out) for kind, name in _FILES.items()}


def _check_photographs(catalog: StudyCatalog, cluster: ClusterParams, data: DataParams) -> None:
    """Check that there are photographs to group, and the tables and the known photographs that are named."""
    folders = catalog.load("photograph_folders")
    choose_photographs(folders(str(cluster.images)), data)
    if cluster.metadata is not None:
        catalog.load("column_files")(cluster.metadata)
    if cluster.known is not None:
        catalog.load("metadata_files")(cluster.known)
        check_folder(folders(cluster.known_folder), "cluster.known_images")


def _check_model(catalog: StudyCatalog, env: str | None) -> None:
    command = f"kedro run{f' --env {env}' if env else ''} --pipelines"
    for name in sorted(pipelines[_PIPELINE].inputs()):
        experiment, _, kind = name.partition(".")
        if kind.endswith("checkpoint") and not catalog.exists(name):
            raise InputError(
                f"There is no model of {experiment} yet: {catalog[name].stored_file()[1]}.\n"
                f"  Remedy: `{command} {experiment}` makes it of photographs whose lesions are known; or "
                "name an experiment that has a model (--experiment)."
            )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why, _ = explain_reading(error)
        raise InputError(f"{folder} cannot be made: {why}.\n  Remedy: name another folder in --out.") from error


def _place(catalog: StudyCatalog, name: str, out: Path | None) -> str:
    """Return where a file is, once it is copied if it shall be."""
    fs, path = catalog[name].stored_file()
    if out is None:
        return str(path)
    target = out / Path(path).name
    local, inside, _ = connect(str(target))
    with atomic_target(local, inside) as temporary:
        fs.get_file(path, temporary)
    return str(target)
