"""Commands that Skinbit adds to ``kedro``: Kedro finds the group ``cli`` of this module by its name."""

import math
from collections import Counter
from pathlib import Path

import click

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _check_tolerance(_context: click.Context, _parameter: click.Parameter, tolerance: float) -> float:
    if not 0 <= tolerance < math.inf:
        raise click.BadParameter(f"{tolerance} is not a finite number of at least 0.")
    return tolerance


@click.group(name="skinbit")
def cli() -> None:
    """Commands of Skinbit."""


@cli.command()
@click.argument("first", type=_FOLDER)
@click.argument("second", type=_FOLDER)
@click.option("--all", "show_all", is_flag=True, help="Name every file that differs, not only the first.")
@click.option(
    "--tolerance",
    type=float,
    default=0.0,
    show_default=True,
    callback=_check_tolerance,
    help="By so much numbers in CSV, JSON, YAML and safetensors files may differ; with 0 every byte counts.",
)
@click.pass_context
def compare(context: click.Context, first: Path, second: Path, show_all: bool, tolerance: float) -> None:
    """Compare the outputs of two runs, folders such as data/demo, and name the first difference.

    Ends with 0 where all files are equal, byte for byte or within the tolerance, with 1 where they are not.
    """
    from skinbit.runtime.comparison import (
        EQUAL,
        ONLY_FIRST,
        WITHIN_TOLERANCE,
        compare_folders,
        count_states,
        explain_records,
    )

    comparisons = compare_folders(first, second, tolerance)
    if not comparisons:
        raise click.UsageError(f"There are no outputs in {first} and {second}.")
    different = [comparison for comparison in comparisons if comparison.state not in {EQUAL, WITHIN_TOLERANCE}]
    for comparison in different if show_all else different[:1]:
        only = f"only in {first if comparison.state == ONLY_FIRST else second}"
        click.echo(f"{comparison.path}: {comparison.difference or only}")
    causes = explain_records(first, second)
    if different and causes:
        click.echo(f"made with other: {', '.join(causes)}")
    if tolerance:
        click.echo(f"tolerance: numbers may differ by {tolerance}")
    click.echo(_tabulate(count_states(comparisons), has_tolerance=tolerance > 0))
    context.exit(1 if different else 0)


def _tabulate(counts: dict[str, Counter[str]], has_tolerance: bool) -> str:
    from skinbit.runtime.comparison import STATES, WITHIN_TOLERANCE

    states = [state for state in STATES if has_tolerance or state != WITHIN_TOLERANCE]
    total = sum(counts.values(), Counter[str]())
    rows = [["", *states], *([name, *(str(row[state]) for state in states)] for name, row in counts.items())]
    rows.append(["all files", *(str(total[state]) for state in states)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
