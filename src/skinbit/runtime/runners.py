"""The runner of ``kedro run --runner``, checked before anything begins."""

from difflib import get_close_matches
from typing import Any

from kedro.runner import AbstractRunner
from kedro.utils import load_obj

from skinbit.errors import InputError

_RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")


def check_runner(name: str | None, params: dict[str, Any]) -> None:
    """Check that there is a runner of a name, and that it takes its parameters.

    Args:
        name: Of one of Kedro's runners, or the path of a class; none: Kedro's default.
        params: Of ``--runner-params``.

    Raises:
        InputError: If there is none, or it does not take them.
    """
    name = name or _RUNNERS[0]
    try:
        runner = load_obj(name, "kedro.runner")
    except (AttributeError, ImportError, ValueError) as error:
        if isinstance(error, ImportError) and not f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"The runner {name} cannot be imported: {error}.\n  Remedy: mend its module, or install what it needs."
            ) from error
        runner = None
    if not (isinstance(runner, type) and issubclass(runner, AbstractRunner)):
        near = get_close_matches(name, _RUNNERS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"There is no runner {name!r}.{hint}\n  Remedy: --runner takes {', '.join(_RUNNERS)}, or the path of a "
            "class of your own, package.module.Class."
        )
    try:
        runner(**params)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The runner {name} does not take these --runner-params: {error}.\n"
            "  Remedy: most take max_workers, a whole number of at least 1, as in --runner-params=max_workers=2."
        ) from error
