"""Hooks of ``kedro run``."""

import logging
from functools import reduce
from operator import getitem
from pathlib import Path, PurePath
from textwrap import indent
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from skinbit.audit.summary import AuditSummary
from skinbit.config import setup_of
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.matching.scoring.leaderboard import rank_experiments
from skinbit.report.console import describe_best, grouping_command, tabulate_best
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.datasets.files import address_of
from skinbit.runtime.datasets.pieces import pieces_of
from skinbit.runtime.provenance import hash_value, plan_origins

logger = logging.getLogger(__name__)

_SHOWN = 3

_CLUSTERS, _CLUSTER_FOLDER = "cluster_images", "clusters"
"""Box of the graph and folder of its outputs; it reads models of any study, stale or not."""

_MEMORY, _TILES = "memory", "tile_megabytes"
"""A block of parameters, and the parameter in it on which no result depends."""

_EXECUTOR = "executor"
"""A block of parameters on which no result depends."""

_BEST = 5
"""Number of experiments that are shown at the end of a run."""

_SHOWN_FILES = ("leaderboard", "report", "clusters_page")
"""The files of a study that a person opens first."""


class ConfinementHooks:
    """Confines the outputs of `cluster_images`, whose photographs and models are untrusted, to their own folders."""

    @hook_impl  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, pipeline: Pipeline, catalog: StudyCatalog) -> None:
        """Refuse links in place of these folders: files would be written elsewhere."""
        nodes = [node for node in pipeline.nodes if node.namespace == _CLUSTERS]
        for name in sorted({name for node in nodes for name in node.outputs}):
            described = catalog[name]._describe()
            if described["protocol"] == "file":
                _refuse_links(PurePath(described["filepath"]))


def _refuse_links(file: PurePath) -> None:
    """Check the folders from ``clusters`` on; the user decides about those above."""
    last = len(file.parts) - 1 - file.parts[::-1].index(_CLUSTER_FOLDER)
    folders = [Path(*file.parts[:length]) for length in range(last + 1, len(file.parts))]
    for folder in (*folders, Path(pieces_of(str(file)))):
        if folder.is_symlink():
            raise InputError(
                f"{folder} is a link, but groups of new photographs are written into folders of their own only.\n"
                "  Remedy: remove the link; to keep outputs elsewhere, change root in conf/<environment>/globals.yml."
            )


class FingerprintHooks:
    """Tells the catalog how every output will be made, before anything runs."""

    @hook_impl  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: StudyCatalog) -> None:
        """Plan origins; for ``--only-missing-outputs``, log which outputs are stale, and why."""
        given = {name: _fingerprint(catalog, name) for name in sorted(pipeline.inputs()) if _counts(catalog, name)}
        catalog.expect(plan_origins(pipeline.nodes, given))
        _warn_of_stale_inputs(pipeline, catalog)
        if run_params["only_missing_outputs"]:
            changes = {change for changes in catalog.find_stale().values() for change in changes}
            _warn_of_damaged_files(catalog)
            unknown = {f"{name} (of unknown origin)" for name, found in given.items() if found is None}
            # Inputs that this run makes too are not named: they have changed because of something upstream.
            logger.info(_explain(pipeline, catalog, sorted(changes - pipeline.all_outputs()) + sorted(unknown)))


class _Places:
    """Shortens paths to those relative to the project's folder."""

    def __init__(self) -> None:
        self._project = Path.cwd()

    @hook_impl  # type: ignore[untyped-decorator]
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's folder."""
        self._project = Path(context.project_path)

    def _place(self, catalog: StudyCatalog, name: str) -> str:
        place = address_of(*catalog[name].stored_file())
        path = PurePath(place)
        return path.relative_to(self._project).as_posix() if path.is_relative_to(self._project) else place


class SummaryHooks(_Places):
    """Logs what combinations add to a run and, at its end, the best experiments and the paths of the files."""

    @hook_impl  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Log the members of combinations, which run even if the study does not list them."""
        outputs = pipeline.all_outputs()
        for name, entry in active_parameters().experiments.items():
            if entry.is_combination and f"{name}.operating_points" in outputs:
                logger.info("%s combines %s, which run too", name, " + ".join(entry.combine))

    @hook_impl(trylast=True)  # type: ignore[untyped-decorator]
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: StudyCatalog) -> None:
        """Log the best experiments of this run, after all other hooks."""
        outputs, parameters = pipeline.all_outputs(), active_parameters()
        names = [name for name in parameters.experiments if f"{name}.results" in outputs]
        if not names:
            return
        settings = {name: setup_of(name, parameters.experiments) for name in names}
        board = rank_experiments({name: catalog.load(f"{name}.results") for name in names}, settings)
        files = [name for name in _SHOWN_FILES if name in outputs] or [f"{name}.results" for name in names]
        lines = [tabulate_best(board, _BEST), *(self._place(catalog, name) for name in files)]
        if "report" in outputs:
            command = grouping_command(board, run_params["env"], parameters.study.sample_data)
            lines.append(f"next, photographs of your own: {command}")
        logger.info("%s\n%s", describe_best(board), indent("\n".join(lines), "  "))


class AuditHooks(_Places):
    """Ends a run with audit findings that the user does not accept, after everything is written."""

    @hook_impl(trylast=True)  # type: ignore[untyped-decorator]
    def after_pipeline_run(self, pipeline: Pipeline, catalog: StudyCatalog) -> None:
        """End with exit code 1, after all other hooks, so that tracking and other messages come first.

        Raises:
            InputError: If there are findings as severe as ``audit.fail_on``.
        """
        if "audit_summary" not in pipeline.all_outputs():
            return
        summary = AuditSummary.model_validate(catalog.load("audit_summary"))
        if summary.is_failed(active_parameters().audit.fail_on):
            lines = "\n".join(f"  - {line}" for line in summary.lines())
            raise InputError(
                f"The audit found problems that falsify metrics, or may:\n{lines}\n  Remedy: look at them in "
                f"{self._place(catalog, 'audit_page')}; all are in {self._place(catalog, 'audit_findings')}. "
                "With audit.fail_on=none no finding ends a run."
            )


def _fingerprint(catalog: StudyCatalog, name: str) -> str | None:
    """Return the hash of a parameter, or the fingerprint of a dataset.

    Kedro types only the parameters of the requested pipelines, so a node's parameters may have defaults
    filled in or not; the study's own parameters are the same in every run.
    """
    if not is_parameter(name):
        return catalog.fingerprint(name)
    value = active_parameters().as_tree()
    del value[_MEMORY][_TILES], value[_EXECUTOR]
    keys = name.split(":")[1].split(".") if ":" in name else []
    return hash_value(reduce(getitem, keys, value))


def _counts(catalog: StudyCatalog, name: str) -> bool:
    """Whether results depend on an input; a dataset that only makes a run faster has ``affects_results = False``."""
    changes_nothing = (f"params:{_MEMORY}.{_TILES}", f"params:{_EXECUTOR}")
    return name not in changes_nothing and bool(getattr(catalog.get(name), "affects_results", True))


def _warn_of_stale_inputs(pipeline: Pipeline, catalog: StudyCatalog) -> None:
    """Warn of stale outputs that a partial run reads."""
    if all((node.namespace or "").startswith(_CLUSTERS) for node in pipeline.nodes):
        return
    study, records = pipelines["__default__"], catalog.records()
    read = pipeline.inputs() & study.all_outputs() & records.keys()
    if not read:
        return
    given = {name: _fingerprint(catalog, name) for name in sorted(study.inputs()) if _counts(catalog, name)}
    changes = {
        name: origin.differences(records[name].origin)
        for name, origin in plan_origins(study.nodes, given).items()
        if origin is not None and name in records and origin.fingerprint != records[name].origin.fingerprint
    }
    stale = sorted(read & changes.keys())
    if stale:
        # Changes that do not concern these files, such as the list of experiments, are not shown.
        above = study.to_outputs(*stale).all_outputs()
        causes = {cause for name in changes.keys() & above for cause in changes[name]} - study.all_outputs()
        logger.warning(
            "%d files that this run reads are stale, as the study would now make them differently (%s): %s; "
            "`kedro run --only-missing-outputs` makes them again",
            len(stale),
            _first(sorted(causes)),
            _first(stale),
        )


def _warn_of_damaged_files(catalog: StudyCatalog) -> None:
    damaged = sorted(catalog.find_damaged().values())
    if damaged:
        more = [f"and {len(damaged) - SHOWN_PER_KIND} more"] if len(damaged) > SHOWN_PER_KIND else []
        logger.warning(
            "%d files were damaged, edited or replaced after they were written, and are made again:\n%s",
            len(damaged),
            indent("\n".join(damaged[:SHOWN_PER_KIND] + more), "  "),
        )


def _explain(pipeline: Pipeline, catalog: StudyCatalog, changes: list[str]) -> str:
    """Return how many outputs are up to date, which nodes run for the others, and what has changed."""
    held = {name for name in pipeline.all_outputs() if catalog.exists(name)}
    nodes = [node.name for node in pipeline.nodes if not held.issuperset(node.outputs)]
    counts = f"{len(held)} of {len(pipeline.all_outputs())} outputs are up to date"
    run = f"; {len(nodes)} nodes run: {_first(nodes)}" if nodes else ""
    return counts + run + (f"; changed: {_first(changes)}" if changes else "")


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
