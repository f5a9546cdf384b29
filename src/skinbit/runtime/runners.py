"""Runners of ``kedro run --runner``: checks before anything starts, and nodes on a cluster."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from difflib import get_close_matches
from types import TracebackType
from typing import Any

from kedro.framework import project
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner
from kedro.runner.task import Task
from kedro.utils import load_obj

from skinbit.data.executor import LocalExecutor, PieceLostError
from skinbit.data.progress import Counts, count, take_counts
from skinbit.errors import InputError
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.session import mendable

_RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")


def check_runner(name: str | None, params: dict[str, Any]) -> None:
    """Check that a runner exists and accepts its parameters.

    Args:
        name: Name of one of Kedro's runners, or the path of a class; None: Kedro's default.
        params: The parameters of ``--runner-params``.

    Raises:
        InputError: If it does not exist or does not accept them.
    """
    name = name or _RUNNERS[0]
    try:
        runner = load_obj(name, "kedro.runner")
    except (AttributeError, ImportError, ValueError) as error:
        if isinstance(error, ImportError) and not f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"The runner {name} cannot be imported: {error}.\n  Remedy: fix its module, or install what it needs."
            ) from error
        runner = None
    if not (isinstance(runner, type) and issubclass(runner, AbstractRunner)):
        near = get_close_matches(name, _RUNNERS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"There is no runner {name!r}.{hint}\n  Remedy: --runner takes {', '.join(_RUNNERS)}, or the path of "
            "your own class, package.module.Class."
        )
    try:
        runner(**params)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The runner {name} does not accept these --runner-params: {error}.\n"
            "  Remedy: most accept max_workers, a whole number from 1, as in --runner-params=max_workers=2."
        ) from error


class DaskRunner(AbstractRunner):
    """Runs each node on a worker of ``executor.cluster``; nodes meet in files only, and hooks run in this process.

    A node that makes pieces leaves its place to them meanwhile. A node whose worker dies runs again on another one.
    """

    def _get_executor(self, max_workers: int) -> Executor:
        from distributed import Client

        return _OnWorkers(Client.current())

    def _run(self, pipeline: Pipeline, catalog: StudyCatalog, *arguments: Any) -> None:
        if isinstance(catalog.load("executor").executor, LocalExecutor):
            raise InputError(
                "DaskRunner runs nodes on a cluster, but executor.cluster names none.\n  Remedy: add --params "
                "executor.cluster=local:4, or the address of a scheduler (docs/cluster.md)."
            )
        names = (name for name in pipeline.datasets() if not is_parameter(name))
        held = sorted(name for name in names if getattr(catalog[name], "_EPHEMERAL", False))
        if held:
            raise InputError(
                f"{len(held)} datasets are in memory only, so no other worker would find them: {', '.join(held)}.\n"
                "  Remedy: give each a file in conf/base/catalog.yml."
            )
        super()._run(pipeline, catalog, *arguments)


class _OnWorkers(ThreadPoolExecutor):
    """A thread for each thread of a worker, which waits there for one node at a time."""

    def __init__(self, client: Any) -> None:
        super().__init__(max(1, sum(client.nthreads().values())))
        self._client, self._futures = client, set[Any]()

    def submit(self, task: Task) -> Future[Node]:  # type: ignore[override]
        return super().submit(self._run, task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all nodes; after an error or Ctrl-C for none, and start their workers again."""
        if kind is not None:
            self._end()
        self.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: Task) -> Node:
        from skinbit.runtime.cluster.executor import wait_for

        hook, about = task.hook_manager.hook, {"node": task.node, "catalog": task.catalog, "run_id": task.run_id}
        about |= {"is_async": task.is_async, "inputs": {}}
        hook.before_node_run(**about)
        work = (
            task.catalog.load("executor").executor.terms,
            project.PACKAGE_NAME,
            task.node,
            task.catalog,
            task.run_id,
        )
        future = self._client.submit(run_node, *work, key=f"{task.node.name}-{task.run_id}", pure=False)
        self._futures.add(future)
        try:
            made = wait_for(self._client, future)
        except PieceLostError as error:
            raise InputError(
                f"{task.node.name}: {error}.\n  Remedy: give workers more memory, or start fewer of them."
            ) from error
        finally:
            self._futures.discard(future)
        for unit, (n_made, n_found) in made.result.items():
            count(unit, n_made, n_found)
        hook.after_node_run(**about, outputs={})
        for name in task.node.outputs:
            hook.after_dataset_saved(dataset_name=name, data=None, node=task.node)
        return task.node

    def _end(self) -> None:
        from skinbit.runtime.cluster.executor import find_hanging, kill_worker

        futures = list(self._futures)
        if futures and self._client.status == "running":
            running = self._client.run_on_scheduler(find_hanging, keys=[each.key for each in futures], limit=-1.0)
            self._client.cancel(futures, force=True)
            self._client.run(kill_worker, workers=list(running), nanny=True, on_error="return")


def run_node(terms: Any, package: str, node: Node, catalog: StudyCatalog, run_id: str) -> Any:
    """Run a node on a worker and return what it counted, or what went wrong; the hooks of the run are elsewhere."""
    from skinbit.runtime.cluster.workers import work

    def run() -> Counts:
        project.configure_project(package)
        take_counts()
        with mendable():
            Task(node, catalog, is_async=False, hook_manager=_NullPluginManager(), run_id=run_id).execute()
        return take_counts()

    return work(terms, run)
