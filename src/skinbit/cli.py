"""Skinbit's commands of ``kedro``, which finds the group ``cli`` of this module by its name."""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from copy import copy
from getpass import getuser
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from skinbit.errors import InputError
from skinbit.refusals import explain_reading

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _check_tolerance(_context: click.Context, _parameter: click.Parameter, tolerance: float) -> float:
    if not 0 <= tolerance < math.inf:
        raise click.BadParameter(f"{tolerance} is not a finite number of at least 0.")
    return tolerance


@click.group(name="skinbit")
def cli() -> None:
    """Skinbit's commands."""


@cli.command()
@click.argument("first", type=_FOLDER)
@click.argument("second", type=_FOLDER)
@click.option("--all", "show_all", is_flag=True, help="Show every file that differs, not only the first.")
@click.option(
    "--tolerance",
    type=float,
    default=0.0,
    show_default=True,
    callback=_check_tolerance,
    help="Allowed difference of numbers in CSV, JSON, YAML and safetensors files; 0: files must be identical.",
)
@click.pass_context
def compare(context: click.Context, first: Path, second: Path, show_all: bool, tolerance: float) -> None:
    """Compare two folders of outputs, such as data/demo, and show the first difference.

    The exit code is 0 if all files are equal, byte for byte or within the tolerance, otherwise 1.
    """
    from skinbit.runtime.comparison import (
        EQUAL,
        ONLY_FIRST,
        STATES,
        WITHIN_TOLERANCE,
        compare_folders,
        explain_records,
    )

    try:
        comparisons = compare_folders(first, second, tolerance)
    except OSError as error:
        why, remedy = explain_reading(error)
        raise InputError(f"{error.filename} cannot be read: {why}.\n  Remedy: {remedy}.") from error
    if not comparisons:
        raise click.UsageError(f"There are no outputs in {first} and {second}.")
    different = [comparison for comparison in comparisons if comparison.state not in {EQUAL, WITHIN_TOLERANCE}]
    for comparison in different if show_all else different[:1]:
        only = f"only in {first if comparison.state == ONLY_FIRST else second}"
        click.echo(f"{comparison.path}: {comparison.difference or only}")
    causes = explain_records(first, second)
    if different and causes:
        click.echo(f"made with different: {', '.join(causes)}")
    if tolerance:
        click.echo(f"tolerance: numbers may differ by {tolerance}")
    states = [state for state in STATES if tolerance or state != WITHIN_TOLERANCE]
    counts = {comparison.path.partition("/")[0]: Counter[str]() for comparison in comparisons}
    for comparison in comparisons:
        counts[comparison.path.partition("/")[0]][comparison.state] += 1
    counts["all files"] = sum(counts.values(), Counter[str]())
    width = max(map(len, counts))
    click.echo("  ".join([" " * width, *states]))
    for name, row in counts.items():
        click.echo("  ".join([name.ljust(width), *(str(row[state]).rjust(len(state)) for state in states)]))
    context.exit(1 if different else 0)


@cli.command()
@click.pass_context
def verify(context: click.Context, env: str | None) -> None:
    """Recompute a finished study by a second implementation, and show the first figure that differs.

    The figures are those of the split, of every experiment and of the leaderboard; embeddings, compared keypoints and
    the coefficients of calibrations are taken as they are. The exit code is 0 if all figures are as recomputed,
    otherwise 1.
    """
    from skinbit.runtime.session import StudySession
    from skinbit.runtime.verification import verify_outputs

    with StudySession.create(env=env) as session:
        root = session.load_context().catalog.local_root()
    if root is None:
        raise InputError(
            "The outputs are not on this machine.\n  Remedy: copy them here, and name their folder as root."
        )
    found = verify_outputs(root)
    for line in found.lines():
        click.echo(line)
    if found.failure is not None:
        raise found.failure
    context.exit(0 if found.first is None else 1)


def _run(runner: str | None, runner_params: dict[str, Any], **options: Any) -> Any:
    from skinbit.runtime.runners import check_runner

    check_runner(runner, runner_params)
    return kedro_run.callback(runner=runner, runner_params=runner_params, **options)


def _explained(option: click.Parameter) -> click.Parameter:
    """Return the option ``--params`` of Kedro with a remedy for values with a comma; other options unchanged."""
    if option.name != "params":
        return option
    explained, split = copy(option), option.callback

    def callback(context: click.Context, parameter: click.Parameter, text: Any) -> Any:
        try:
            return split(context, parameter, text) if split else text
        except click.UsageError as error:
            raise click.UsageError(
                f"{error.message}\n  Remedy: a comma starts the next key=value; a value with a comma, such as a path, "
                "goes into a parameters.yml of the environment, such as conf/local/parameters.yml.",
                context,
            ) from error

    explained.callback = callback
    return explained


run = copy(kedro_run)
"""Kedro's own command, which would show a traceback for an unknown runner."""

run.callback = _run
run.params = [_explained(option) for option in kedro_run.params]
cli.add_command(run)


def _place(kind: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Return a callback that makes an existing path absolute; addresses stay as they are."""

    def callback(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
        from skinbit.runtime.places import join_place

        if path is None or "://" in path:
            return path
        place = join_place(Path.cwd(), path)
        if not (Path(place).is_dir() if kind == "folder" else Path(place).is_file()):
            name = parameter.get_error_hint(context).strip("'")
            raise InputError(
                f"There is no {kind} {place}.\n  Remedy: correct {name}; relative paths start at the working folder."
            )
        return place

    return callback


@cli.command()
@click.argument("images", metavar="FOLDER", callback=_place("folder"))
@click.option("--known", metavar="CSV", callback=_place("file"), help="Table of photographs with known lesions.")
@click.option("--metadata", metavar="CSV", callback=_place("file"), help="Table with metadata of the photographs.")
@click.option("--decisions", metavar="FILE", callback=_place("file"), help="Ledger of answers; default: the root's.")
@click.option("--experiment", help="Experiment whose model is used; default: recommended.")
@click.option("--method", help="Grouping method: average (default), complete, dbscan, cosine or mutual.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to which the finished files are copied.")
def group(env: str | None, params: dict[str, Any], out: Path | None, **named: str | None) -> None:
    """Group the photographs of FOLDER by lesion.

    This is `kedro run --pipelines cluster_images` with cluster.images=FOLDER. At the end it prints the paths of the
    page, on which the groups can be reviewed and corrected, and of the table.
    """
    from skinbit.runtime.grouping import group_folder

    given = {name: value for name, value in named.items() if value is not None}
    cluster = params.get("cluster", {})
    is_block = isinstance(cluster, dict)  # otherwise the parameters are refused later
    files = group_folder(env, params | {"cluster": cluster | given} if is_block else params, out)
    click.echo(f"pairs  {files['pairs']}\npage   {files['page']}\ntable  {files['table']}")


verify.params.extend(option for option in run.params if option.name == "env")
group.params.extend(option for option in run.params if option.name in ("env", "params"))


def _login_name() -> str:
    """Return who runs the command; empty where the system has no name for the user, as in some containers."""
    try:
        return getuser()
    except (ImportError, KeyError, OSError):
        return ""


@cli.command()
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Of the page; 0: any.")
@click.option("--reviewer", default=_login_name, show_default="your login name", help="Who answers.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Keeps all answers; that of the outputs, if not named.")
@click.option("--add", metavar="FILE", type=click.Path(path_type=Path), help="Add another ledger, or a CSV of answers.")
@click.option("--export", metavar="CSV", type=click.Path(path_type=Path), help="Write all answers as a table.")
@click.option("--lesions", metavar="CSV", type=click.Path(path_type=Path), help="Write confirmed groups as metadata.")
def review(env: str | None, params: dict[str, Any], ledger: Path | None, **options: Any) -> None:
    """Ask about the groups that `kedro group` made last, in your browser, and keep every answer.

    With --add, --export or --lesions no page is served.
    """
    from skinbit.review.reviewing import copy_answers, open_ledger, review_groups, write_lesions

    with closing(open_ledger(env, params, ledger)) as opened:
        if options["add"] or options["export"]:
            copy_answers(opened, options["add"], options["export"], click.echo)
        if options["lesions"]:
            write_lesions(env, params, opened, options["lesions"], click.echo)
        if not (options["add"] or options["export"] or options["lesions"]):
            review_groups(env, params, opened, options["reviewer"], options["port"], click.echo)


review.params.extend(option for option in run.params if option.name in ("env", "params"))
