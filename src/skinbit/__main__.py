"""``python -m skinbit``: `kedro run` for an installed package, as `kedro package` makes it."""

import sys
from pathlib import Path

from kedro.framework.project import configure_project

from skinbit.cli import run
from skinbit.privacy import refuse_telemetry


def main() -> None:
    """Run pipelines with the options of `kedro run`.

    The configuration is ``conf`` in the working folder, or what ``--conf-source`` names; its relative paths start at
    the working folder.
    """
    refuse_telemetry()
    configure_project("skinbit")
    if not Path("conf").is_dir() and not any(word.startswith("--conf-source") for word in sys.argv[1:]):
        sys.exit(
            "There is no configuration: the working folder has no folder conf.\n"
            "  Remedy: add --conf-source conf-skinbit.tar.gz, which `kedro package` writes beside the wheel."
        )
    run()


if __name__ == "__main__":
    main()
