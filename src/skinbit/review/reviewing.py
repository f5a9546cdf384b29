"""`kedro review`: what is checked before the page is served, and the server."""

import gc
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from skinbit.config import DataParams, GeometryParams
from skinbit.data.ids import explain_name, quote
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.decisions.labels import name_lesion
from skinbit.decisions.ledger import Ledger, write_table
from skinbit.errors import InputError
from skinbit.matching.expected.candidates import read_candidates
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.keypoints.shortlist import read_rows
from skinbit.review.desk import Desk
from skinbit.review.grouped import Grouped, assemble
from skinbit.review.pictures import Pictures
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.session import StudySession, mendable

LEDGER = Path("09_decisions", "decisions.sqlite")
"""Below the root of the outputs."""

_READ = (
    *("cluster_matches", "cluster_groups", "cluster_review", "cluster_columns", "cluster_shortlist"),
    *("cluster_candidates", "new_photographs", "known_photographs"),
)
_SHOWN = 3


def open_ledger(env: str | None, params: dict[str, Any], place: Path | None) -> Ledger:
    """Open the ledger that is named, or the one of the environment's outputs; a new one is made.

    Raises:
        InputError: If it cannot be used.
    """
    if place is not None:
        return Ledger(place)
    with StudySession.create(env=env, runtime_params=params) as session:
        root = session.load_context().catalog.local_root()
    if root is None:
        raise InputError("The outputs are not on this machine, and a ledger must be.\n  Remedy: name one in --ledger.")
    return Ledger(Path(root, LEDGER))


def open_groups(env: str | None, params: dict[str, Any]) -> tuple[Grouped, Pictures]:
    """Read what ``cluster_images`` made last.

    Raises:
        InputError: If it has not run or not finished, or photographs are gone since.
    """
    with StudySession.create(env=env, runtime_params=params) as session:
        catalog: StudyCatalog = session.load_context().catalog
        data = active_parameters().data
        with mendable():
            _check_exists(catalog, env)
            files = {name: catalog.load(name) for name in _READ}
            noted, known = files["cluster_review"], files["known_photographs"]
            photographs = _find_photographs(catalog, noted, files["new_photographs"], known, data)
    try:
        grouped = assemble(
            photographs,
            files["cluster_groups"],
            files["cluster_matches"],
            known,
            (read_rows(files["cluster_shortlist"]), read_candidates(files["cluster_candidates"])),
            (files["cluster_columns"], noted["evidence"]),
            (noted["model"], [PairOdds(**each) for each in noted["odds"]]),
        )
    except (LookupError, ValueError) as error:  # some files are of an earlier run
        raise InputError("The last `kedro group` did not finish.\n  Remedy: run it again.") from error
    return grouped, _pictures(catalog, grouped, noted)


def copy_answers(ledger: Ledger, added: Path | None, exported: Path | None, tell: Callable[[str], None]) -> None:
    """Add answers from elsewhere to a ledger, then write all of them as a table.

    Args:
        ledger: Takes and holds them.
        added: Another ledger, or a table that ends in ``.csv``; none: nothing is added.
        exported: None: nothing is written.
        tell: Is told what was done.

    Raises:
        InputError: If a file cannot be used.
    """
    if added is not None:
        is_table = added.suffix.lower() == ".csv"
        n_new = ledger.import_csv(added) if is_table else ledger.merge(added)
        tell(f"{n_new} new answers of {added} in {ledger.path}")
    if exported is not None:
        ledger.export_csv(exported)
        tell(f"{len(ledger.answers())} answers in {exported}")


def write_lesions(
    env: str | None, params: dict[str, Any], ledger: Ledger, place: Path, tell: Callable[[str], None]
) -> None:
    """Write the photographs of confirmed groups with their lesions, as the metadata of a study.

    Args:
        env: Of the configuration.
        params: As of ``--params``.
        ledger: Holds the answers.
        place: Of the table: ``image_id, lesion_id``, without photographs of known lesions.
        tell: Is told what was done.

    Raises:
        InputError: If there are no groups, or the table cannot be written.
    """
    grouped, _ = open_groups(env, params)
    found = []
    for rows in Desk(grouped, ledger, "").confirmed():
        known = sorted({grouped.lesions[row] for row in rows} - {""})
        lesion = known[0] if known else name_lesion(grouped.hashes[row] for row in rows)
        found += [(grouped.names[row], lesion) for row in rows if not grouped.lesions[row]]
    table = pd.DataFrame(sorted(found), columns=["image_id", "lesion_id"])
    write_table(table, place)
    tell(f"{len(table)} photographs of {table['lesion_id'].nunique()} confirmed lesions in {place}")


def review_groups(
    env: str | None, params: dict[str, Any], ledger: Ledger, reviewer: str, port: int, tell: Callable[[str], None]
) -> None:
    """Serve the page about the groups that were made last, until Ctrl-C.

    Args:
        env: Of the configuration.
        params: As of ``--params``.
        ledger: Takes the answers.
        reviewer: Who answers.
        port: See :func:`serve`.
        tell: Is told where answers go, and the address.

    Raises:
        InputError: If there are no groups, or something of them cannot be read.
    """
    if problem := explain_name(reviewer) if reviewer else "a name is needed":
        raise InputError(f"--reviewer cannot be {quote(reviewer)}: {problem}.\n  Remedy: name somebody else.")
    grouped, pictures = open_groups(env, params)
    tell(f"ledger  {ledger.path}")
    serve(grouped, pictures, Desk(grouped, ledger, reviewer), port, lambda address: tell(f"page    {address}"))


def serve(grouped: Grouped, pictures: Pictures, desk: Desk, port: int, tell: Callable[[str], None]) -> None:
    """Serve the page on this machine until Ctrl-C.

    Args:
        grouped: What is reviewed.
        pictures: Of the photographs.
        desk: Asks and writes down.
        port: 0: any that is free.
        tell: Is told the address, once the page can be opened.

    Raises:
        InputError: If the port is taken.
    """
    import uvicorn

    from skinbit.review.server import HOSTS, make_app

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOSTS[0], port))
        except OSError as error:
            raise InputError(
                f"Port {port} cannot be used: {(error.strerror or str(error)).lower()}.\n  Remedy: name another one, "
                "or --port 0 for any that is free."
            ) from error
        port, token = listening.getsockname()[1], secrets.token_urlsafe(32)
        app = make_app(grouped, desk, pictures, port, token)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, proxy_headers=False, ws="none", timeout_graceful_shutdown=1
        )
        desk.state()  # the first question is there when the page is
        gc.freeze()  # what is loaded stays: looking through it for garbage takes 50 ms in the middle of an answer
        listening.listen()
        threading.Thread(target=pictures.warm_up, daemon=True).start()
        tell(f"http://{HOSTS[0]}:{port}/#{token}")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _check_exists(catalog: StudyCatalog, env: str | None) -> None:
    missing = [name for name in _READ if not catalog.exists(name)]
    if missing:
        named = f" --env {env}" if env else ""
        raise InputError(
            f"There are no groups to review: {catalog[missing[0]].stored_file()[1]} does not exist.\n  Remedy: group a "
            f"folder first, `kedro group FOLDER{named}`, then run `kedro review{named}`."
        )


def _find_photographs(
    catalog: StudyCatalog, noted: dict[str, str], new: pd.DataFrame, known: pd.DataFrame, data: DataParams
) -> Photographs:
    """Return the photographs as they were listed.

    Raises:
        InputError: If some are gone.
    """
    folders, sources = catalog.load("photograph_folders"), []
    for table, place in ((new, noted["images"]), (known, noted["known_images"])):
        if not len(table):
            continue
        folder = folders(place).choose(any("/" in file for file in table["file"]))
        there = {file for files in folder.files.values() for file in files}
        gone = [file for file in table["file"] if file not in there]
        if gone:
            named = ", ".join(gone[:_SHOWN]) + (" …" if len(gone) > _SHOWN else "")
            raise InputError(
                f"{len(gone)} of the {len(table)} photographs that were grouped are no longer in {folder.root}: "
                f"{named}.\n  Remedy: put them back, or group the folder anew: answers so far are kept."
            )
        sources.append(ListedPhotographs(folder, table, data, "cluster_images"))
    return Photographs(tuple(sources))


def _pictures(catalog: StudyCatalog, grouped: Grouped, noted: dict[str, str]) -> Pictures:
    def read_thumbnails() -> dict[int, str]:
        kinds = [catalog.load(f"{kind}_thumbnails") for kind in ("new", "known")]
        named = zip(grouped.names, grouped.lesions, strict=True)
        return {row: kinds[bool(lesion)][name] for row, (name, lesion) in enumerate(named)}

    return Pictures(
        grouped,
        read_thumbnails,
        lambda: catalog.load("clusters_keypoints"),
        GeometryParams.model_validate(noted["geometry"]),
    )
