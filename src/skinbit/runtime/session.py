"""The session of ``kedro run``: one run at a time per folder; user errors are one message without a traceback."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.validation import DataValidationError

from skinbit.errors import InputError
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.datasets.files import REMAKE
from skinbit.runtime.failures import causes_of, explain_failure
from skinbit.runtime.interruption import stoppable
from skinbit.runtime.locking import hold, hold_elsewhere


class StudySession(KedroSession):
    """Kedro's session with readable error messages."""

    def run(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Run pipelines as Kedro does, as the only run in the folder of outputs.

        Raises:
            InputError: In place of a missing or unreadable file, a table that breaks its contract, an unknown pipeline,
                or anything the machine refuses (disk, memory, permissions); or if another run writes to the same
                folder.
            Interruption: In place of Ctrl-C and SIGTERM.
        """
        try:
            with mendable(), stoppable(), ExitStack() as held:
                self._hook_manager.register(_LockHook(held))
                self._hook_manager.register(_ClusterHook(held))
                outputs: dict[str, Any] = super().run(*arguments, **options)
                return outputs
        except ValueError as error:
            _check_pipeline_names(options.get("pipeline_names") or [])
            if str(error).startswith("Pipeline "):  # a filter (--namespaces, --tags, …) that leaves no node
                raise InputError(
                    f"{error}\n  Remedy: `kedro registry describe NAME` lists a pipeline's nodes."
                ) from error
            raise


@contextmanager
def mendable() -> Iterator[None]:
    """Replace Kedro's errors by the user error or refusal of the machine behind them.

    Raises:
        InputError: If there is one.
    """
    try:
        yield
    except (DatasetError, DataValidationError) as error:
        raise _mendable(error) from error
    except Exception as error:  # libraries of object stores have errors of their own
        failure = None if isinstance(error, InputError) else explain_failure(error)
        if failure is None:
            raise
        raise failure from error


class _LockHook:
    """Locks the folder of outputs before anything is read; the session releases it."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    @hook_impl(tryfirst=True)  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: StudyCatalog) -> None:
        """Lock the folder."""
        env = f" --env {run_params['env']}" if run_params["env"] else ""
        names = f" --pipelines {','.join(run_params['pipeline_names'])}" if run_params["pipeline_names"] else ""
        command, root = f"kedro run{env}{names}", catalog.local_root()
        holding = hold_elsewhere(catalog.root(), command) if root is None else hold(root, command)
        catalog.serve(self._held.enter_context(holding))


class _ClusterHook:
    """Opens the cluster of the parameters before anything is computed; the session closes it."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    @hook_impl  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: StudyCatalog) -> None:
        """Open it.

        Raises:
            InputError: If the extra is not installed, or the cluster cannot be used.
        """
        parameters = active_parameters()
        if parameters.executor.cluster is None:
            return
        if run_params["runner"].endswith("ParallelRunner"):
            raise InputError(
                "The processes of ParallelRunner cannot use a cluster.\n  Remedy: run without --runner, with "
                "--runner ThreadRunner, or without executor.cluster."
            )
        try:
            from skinbit.runtime.cluster.opening import open_cluster
        except ImportError as error:
            raise InputError(
                f"executor.cluster needs Dask, which is not installed ({error}).\n  Remedy: `pip install "
                "'skinbit[distributed]'`, here and on every worker."
            ) from error
        opened = open_cluster(parameters.executor.cluster, parameters.compute, catalog.token)
        catalog["executor"].use(self._held.enter_context(opened))


def _mendable(error: Exception) -> InputError:
    """Return the user error behind a dataset's error, which wraps what a load or save raised."""
    causes = list(causes_of(error))
    for cause in causes:
        if isinstance(cause, InputError):
            return cause
    is_read = str(error).startswith("Failed while loading") or " on load" in str(error).partition("\n")[0]
    failure = explain_failure(error, is_read)
    if failure is not None:
        return failure
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return InputError(
            f"{error}\n  Remedy: run the pipelines that make this file first; `kedro run --pipelines "
            "data_split,baseline_embeddings` makes what a fold of an experiment needs, `kedro run` everything."
        )
    is_out_of_reach = any(isinstance(cause, OSError) for cause in causes)
    return InputError(f"{error}\n  Remedy: {REMAKE}" if is_read and not is_out_of_reach else str(error))


def _check_pipeline_names(names: list[str]) -> None:
    for name in names:
        if name not in pipelines:
            near = get_close_matches(name, pipelines.keys())
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise InputError(f"There is no pipeline {name!r}.{hint}\n  Remedy: `kedro registry list` shows all.")
