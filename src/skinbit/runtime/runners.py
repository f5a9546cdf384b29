"""Checks of ``kedro run --runner``, before anything starts."""

from difflib import get_close_matches
from typing import Any

from kedro.runner import AbstractRunner
from kedro.utils import load_obj

from skinbit.errors import InputError

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
