"""`kedro group`: what is checked before a run of ``cluster_images``, the run, and where its files are."""

import logging
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

logger = logging.getLogger(__name__)

_PIPELINE = "cluster_images"

_STARTER = "starter"
"""The environment, and its experiment, whose model groups where no study has made one."""

_FILES = {
    "page": "clusters_page",
    "table": "clustered_images",
    "pairs": "cluster_matches",
    "groups": "cluster_groups",
    "unread": "unreadable",
}
"""The datasets that a person opens, by what they are."""


def group_folder(env: str | None, params: dict[str, Any], out: Path | None) -> dict[str, str]:
    """Run ``cluster_images``, once all that is named exists, and return where the files are.

    Where no model is named and no study has made the recommended one, the starter groups.

    Args:
        env: Of the configuration.
        params: As of ``--params``; their ``cluster`` names the folder.
        out: The files are copied there; none: they stay where the pipeline writes them.

    Returns:
        Paths by what is there: ``page``, ``table``, ``pairs``, ``groups``, ``unread``.

    Raises:
        InputError: If something is not there, before any model is loaded; or for what ends a run.
    """
    with StudySession.create(env=env, runtime_params=params) as session:
        catalog: StudyCatalog = session.load_context().catalog
        parameters = active_parameters()
        with mendable():
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
    """Whether there is the model that is named, or the recommended one where none is.

    Raises:
        InputError: If one is named that nobody has made.
    """
    inputs = pipelines[_PIPELINE].inputs()
    models = [name for name in inputs if name.endswith(".checkpoint")]
    missing = [name for name in models if not catalog.exists(name)]
    if missing and cluster.experiment is not None:
        command = f"kedro run{f' --env {env}' if env else ''} --pipelines {cluster.experiment}"
        raise InputError(
            f"There is no model of {cluster.experiment} yet: {catalog[missing[0]].stored_file()[1]}.\n"
            f"  Remedy: `{command}` makes it of photographs whose lesions are known; or name an experiment that has a "
            "model (--experiment)."
        )
    return cluster.checkpoint is not None or bool(models and not missing)


def _find_starter(params: dict[str, Any]) -> str:
    """Return the file of the starter; it is made if nobody has made it yet.

    Args:
        params: Those of the machine count; those of photographs and groups are of others than the starter's.
    """
    machine = {block: params[block] for block in ("compute", "loader", "memory") if block in params}
    with StudySession.create(env=_STARTER, runtime_params=machine) as session:
        model = session.load_context().catalog[f"{_STARTER}.final.checkpoint"]
        if model.exists():
            logger.info("no study has made a model yet: the starter groups")
        else:
            logger.info(
                "no study has made a model yet: the starter is fitted on synthetic photographs, once; it takes minutes"
            )
            session.run(pipeline_names=[_STARTER], runner=SequentialRunner(), only_missing_outputs=True)
        return str(model.stored_file()[1])


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
