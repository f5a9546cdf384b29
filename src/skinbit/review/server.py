"""The server of the review page: on this machine only, for who holds its token, and without any path of a file.

A page of another site cannot use it: such a page does not know the token, its requests name another origin or, once it
has led its own name to this machine (DNS rebinding), another host.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from skinbit.decisions.answers import MAX_PHOTOGRAPHS, AnswerId
from skinbit.errors import InputError
from skinbit.report.pages import render_page
from skinbit.review.desk import Desk, NotAnAnswerError, StaleError, View
from skinbit.review.grouped import Grouped
from skinbit.review.pictures import Pictures

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine, under which the page may be opened."""

TOKEN_HEADER = "x-skinbit-token"

_MAX_BYTES = 2_000_000
"""Of a request."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NO_CONTENT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_OF_PAGE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The page itself says what it may load (``base.html.j2``)."""

_STALE = "This was answered meanwhile, in another tab or by another person. Your last answer was not written."

Next = Callable[[Request], Awaitable[Response]]


class _Sent(BaseModel):
    """What a page sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer_id: AnswerId
    view: View = "queue"


class SentAnswer(_Sent):
    """An answer, with photographs by row."""

    verdict: Literal["same lesion", "different lesions", "cannot tell"]
    parts: Annotated[
        list[Annotated[list[NonNegativeInt], Field(min_length=1, max_length=MAX_PHOTOGRAPHS)]],
        Field(min_length=1, max_length=100),
    ]
    seen: NonNegativeInt


class SentUndo(_Sent):
    """The answer to take back."""

    undoes: AnswerId


def make_app(grouped: Grouped, desk: Desk, pictures: Pictures, port: int, token: str) -> FastAPI:
    """Return the application.

    Args:
        grouped: What is reviewed.
        desk: Asks and writes down.
        pictures: Of the photographs.
        port: Of the server.
        token: Of this session; who does not send it is refused.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = render_page("review.html.j2", n_photographs=len(grouped.lesions), model=grouped.model)
    hosts = {f"{host}:{port}" for host in HOSTS} | set(HOSTS if port == 80 else ())  # browsers leave :80 out

    @app.middleware("http")
    async def guard(request: Request, handle: Next) -> Response:
        refusal = _refuse(request, hosts, token)
        response = await handle(request) if refusal is None else _message(*refusal)
        policy = _OF_PAGE if isinstance(response, HTMLResponse) or request.url.path == "/" else _NO_CONTENT
        response.headers.update({**_HEADERS, "Content-Security-Policy": policy})
        return response

    @app.exception_handler(InputError)
    def explain(request: Request, error: InputError) -> Response:
        return _message(409 if request.method == "GET" else 503, error.message)  # the page sends the answer again

    @app.exception_handler(NotAnAnswerError)
    def refuse_answer(_: Request, error: NotAnAnswerError) -> Response:
        return _message(422, str(error))

    @app.exception_handler(StaleError)
    def be_stale(_: Request, __: StaleError) -> Response:
        return _message(412, _STALE)

    @app.exception_handler(RequestValidationError)
    def refuse_request(_: Request, __: RequestValidationError) -> Response:
        return _message(422, "That is no answer of this page.")

    @app.get("/", response_class=HTMLResponse)
    def show() -> str:
        return page

    _add_reviewing(app, grouped, desk)
    _add_pictures(app, grouped, pictures)
    return app


def _add_reviewing(app: FastAPI, grouped: Grouped, desk: Desk) -> None:
    @app.get("/state")
    def state(view: View = "queue") -> dict[str, Any]:
        return desk.state(view)

    @app.post("/answers")
    def answer(sent: SentAnswer) -> dict[str, Any]:
        if any(row >= len(grouped.lesions) for part in sent.parts for row in part):
            raise NotAnAnswerError("There is no such photograph.")
        return desk.answer(sent.answer_id, sent.verdict, sent.parts, sent.seen, sent.view)

    @app.post("/undo")
    def undo(sent: SentUndo) -> dict[str, Any]:
        return desk.undo(sent.answer_id, sent.undoes, sent.view)

    @app.get("/certificate")
    def certificate() -> dict[str, Any]:
        return desk.certificate()

    @app.get("/groups")
    def groups(
        which: Literal["check", "shared", "alone", "confirmed"], page: Annotated[int, Query(ge=0)] = 0
    ) -> dict[str, Any]:
        return desk.groups(which, page)


def _add_pictures(app: FastAPI, grouped: Grouped, pictures: Pictures) -> None:
    row_number = Annotated[int, Path(ge=0, lt=len(grouped.lesions))]

    @app.get("/photographs/{row}")
    def photograph(row: row_number) -> Response:
        return Response(pictures.photograph(row), media_type="image/jpeg")

    @app.get("/thumbnails/{row}")
    def thumbnail(row: row_number) -> Response:
        return Response(pictures.thumbnail(row), media_type="image/jpeg")

    @app.get("/alignments/{first}/{second}")
    def alignment(first: row_number, second: row_number) -> dict[str, Any] | None:
        return pictures.alignment(first, second)


def _refuse(request: Request, hosts: set[str], token: str) -> tuple[int, str] | None:
    """Return why a request is refused, with its number; None of one that is not."""
    headers = request.headers
    host, length = headers.get("host", ""), headers.get("content-length", "")
    is_foreign = headers.get("origin", f"http://{host}") != f"http://{host}"
    is_foreign |= headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    is_known = hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode())
    is_sent = request.method not in ("GET", "HEAD")
    refusals = (
        (host not in hosts, 421, "This server answers under 127.0.0.1 only."),
        (is_foreign, 403, "Another site has sent this."),
        (
            not is_known and request.url.path != "/",
            401,
            "The review was started anew. Open the address that `kedro review` has printed."
            + (" Your last answer was not written." if is_sent else ""),
        ),
        (is_sent and headers.get("content-type", "") != "application/json", 415, "Only JSON is read."),
        (is_sent and not (length.isdecimal() and int(length) <= _MAX_BYTES), 413, "That is too long."),
    )
    return next(((number, text) for applies, number, text in refusals if applies), None)


def _message(number: int, text: str) -> Response:
    return JSONResponse({"message": text}, status_code=number)
