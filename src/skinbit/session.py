"""The session of ``kedro run``: errors that a user can mend print one message and no traceback."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.validation import DataValidationError

from skinbit.datasets.files import REMAKE
from skinbit.errors import InputError


class StudySession(KedroSession):
    """Kedro's session, which names what is wrong instead of where Python noticed it."""

    def run(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Run pipelines as Kedro does.

        Raises:
            InputError: In place of a missing or unreadable file, a table that breaks its contract, an unknown pipeline.
        """
        try:
            outputs: dict[str, Any] = super().run(*arguments, **options)
            return outputs
        except (DatasetError, DataValidationError) as error:
            raise _mendable(error) from error
        except ValueError as error:
            _check_pipeline_names(options.get("pipeline_names") or [])
            if str(error).startswith("Pipeline "):  # a filter (--namespaces, --tags, …) that leaves no node
                raise InputError(
                    f"{error}\n  Remedy: `kedro registry describe NAME` lists a pipeline's nodes."
                ) from error
            raise


def _mendable(error: Exception) -> InputError:
    """Give the user's mistake behind a dataset's error, which wraps whatever a load or save raised."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, InputError):
            return cause
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return InputError(
            f"{error}\n  Remedy: run the pipelines that make this file first; `kedro run --pipelines "
            "data_split,baseline_embeddings` makes what a fold of an experiment needs, `kedro run` everything."
        )
    is_out_of_reach = any(isinstance(cause, OSError) for cause in causes)
    is_read = str(error).startswith("Failed while loading") or " on load" in str(error).partition("\n")[0]
    return InputError(f"{error}\n  Remedy: {REMAKE}" if is_read and not is_out_of_reach else str(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _check_pipeline_names(names: list[str]) -> None:
    for name in names:
        if name not in pipelines:
            near = get_close_matches(name, pipelines.keys())
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise InputError(f"There is no pipeline {name!r}.{hint}\n  Remedy: `kedro registry list` shows all.")
