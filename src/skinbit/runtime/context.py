"""Reads the parameters first, since the study decides the shape of the graph.

Kedro builds pipelines before nodes see parameters, so the context, which exists first, reads and validates all
parameters and keeps them for the registry. An ``after_context_created`` hook would not do, as Kedro-Viz runs no
hooks. No other code changes the graph by configuration.
"""

import os
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from kedro.config import AbstractConfigLoader, OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.project import LOGGING, pipelines, settings
from kedro.io import DataCatalog, SharedMemoryDataCatalog
from kedro.utils import find_kedro_project
from pydantic import ValidationError

from skinbit.config import Parameters
from skinbit.errors import InputError
from skinbit.runtime.catalog import SharedStudyCatalog, StudyCatalog

_active: list[Parameters] = []


class StudyContext(KedroContext):
    """Validates all parameters, including ``--params``, before anything else happens."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _configure_logging(Path(self.project_path))
        parameters = read_parameters(self.config_loader)
        _active[:] = [parameters]
        self.config_loader["parameters"] = parameters.as_tree()
        # A second session in one process may have another study: build the pipelines again.
        pipelines.configure("skinbit.pipeline_registry")

    def _get_catalog(self, catalog_class: type = DataCatalog, **options: Any) -> StudyCatalog:
        """Return a :class:`StudyCatalog`; the setting DATA_CATALOG_CLASS applies to `kedro run` only."""
        is_shared = issubclass(catalog_class, SharedMemoryDataCatalog)
        catalog: StudyCatalog = super()._get_catalog(SharedStudyCatalog if is_shared else StudyCatalog, **options)
        return catalog


def _configure_logging(project: Path) -> None:
    """Load the project's logging configuration, which Kedro finds only if the working folder is the project's."""
    file, is_inside = project / settings.CONF_SOURCE / "logging.yml", project in Path.cwd().parents
    if is_inside and "KEDRO_LOGGING_CONFIG" not in os.environ and file.exists():
        LOGGING.configure(yaml.safe_load(file.read_text()))


def read_parameters(loader: AbstractConfigLoader) -> Parameters:
    """Return the parameters, read and validated.

    Args:
        loader: The configuration loader of the environment, with ``--params``.

    Raises:
        InputError: If the configuration cannot be read, or keys or values are wrong; the message lists all of them.
    """
    try:
        tree = loader["parameters"]
    except Exception as error:  # YAML, interpolation and Kedro have different errors
        raise InputError(f"The configuration cannot be read: {error}") from error
    try:
        return Parameters.model_validate(tree)
    except ValidationError as error:
        lines = [f"  - {_location(problem)}: {_explain(problem)}" for problem in error.errors()]
        raise InputError("\n".join(["The parameters are wrong (conf/ or --params):", *lines])) from error


def _location(problem: Any) -> str:
    return ".".join(map(str, problem["loc"])) or "parameters"


def _explain(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such parameter; is it misspelt?"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message if problem["type"] in ("missing", "value_error") else f"{message}, not {problem['input']!r}"


def active_parameters() -> Parameters:
    """Return the parameters of the running session.

    Returns:
        Those of the session or, without one (``kedro registry``), of the environment ``KEDRO_ENV``.
    """
    return _active[0] if _active else read_parameters(_stand_alone_loader())


def find_parameter(path: str) -> Any:
    """Return a parameter of the running session, for the catalog.

    Args:
        path: Its name, such as ``study.decisions``.
    """
    return reduce(getattr, path.split("."), active_parameters())


def _stand_alone_loader() -> AbstractConfigLoader:
    project = find_kedro_project(Path.cwd()) or Path(__file__).parents[3]
    return OmegaConfigLoader(
        conf_source=str(project / settings.CONF_SOURCE),
        env=os.environ.get("KEDRO_ENV"),
        **settings.CONFIG_LOADER_ARGS,
    )
