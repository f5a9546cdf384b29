"""Published weights of timm: from the hub's cache, otherwise downloaded; errors are reported within seconds."""

import hashlib
import logging
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from skinbit.config import BackboneParams
from skinbit.embedding.weights import refuse
from skinbit.errors import InputError
from skinbit.refusals import REFUSALS

logger = logging.getLogger(__name__)

_PATIENCE_S = 8.0
"""Seconds to wait for the first byte, all retries included; the hub's own take more than a minute."""

_ELSEWHERE = (
    "or download the weights elsewhere and name the file in backbones.<name>.weights, or set "
    "backbones.<name>.pretrained=false for random weights drawn from the seed."
)

_REFUSALS = {
    401: ("not authorised", "set HF_TOKEN to a valid token, or remove the outdated one that is set"),
    403: (
        "forbidden",
        "accept the model's terms on its page and set HF_TOKEN, or have your network let the hub through",
    ),
    404: ("not found", "correct HF_ENDPOINT if it is set: this hub does not have the model"),
    407: ("the proxy asks for a password", "write user and password into https_proxy"),
    429: ("too many requests", "wait some minutes, or set HF_TOKEN: the limit is shared by all users of an address"),
}

_SHA256 = re.compile("[0-9a-f]{64}")
"""ETag of the hub that is the hash of a large file; those of small files are hashes of git."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Answer:
    """The hub's answer to a request for the first bytes of a file.

    Attributes:
        sha256: Hash of the whole file, if the hub states it.
    """

    status: int
    error: str
    start: bytes
    sha256: str | None


def find_published(params: BackboneParams, explain: Callable[[bytes], str | None]) -> str:
    """Return the file of a backbone's published weights, downloaded if need be.

    Args:
        params: Settings of the backbone.
        explain: Function that returns why a file with these first bytes cannot contain weights, or None.

    Raises:
        InputError: If the weights are only published in another format, cannot be downloaded, or do not match the hash
            that the hub states.
    """
    import huggingface_hub

    config = _published(params)
    repository, _, revision = ((config.hf_hub_id if config else None) or "").partition("@")
    name = safe_name((config.hf_hub_filename if config else None) or "pytorch_model.bin")
    if not repository or not name.endswith(".safetensors"):
        raise _no_safetensors(params)
    cached = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None)
    if isinstance(cached, str):
        return _checked(params, cached, _stated_by_cache(cached))
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise _out_of_reach(params, "HF_HUB_OFFLINE is set", "connect once, without HF_HUB_OFFLINE,")
    url = huggingface_hub.hf_hub_url(repository, name, revision=revision or None)
    try:
        answer = _in_time(lambda: _ask(url), _patience())
    except Exception as error:  # the client's library has its own errors; the original ones are their causes
        raise _unreachable(params, url, error) from error
    _check_answer(params, url, answer, explain)
    logger.info("downloading the weights of %s, once", params.model)
    try:
        file = huggingface_hub.hf_hub_download(repository, name, revision=revision or None)
    except Exception as error:  # as above
        raise _broken_off(params, url, error) from error
    return _checked(params, file, answer.sha256 or _stated_by_cache(file))


def licence_of(params: BackboneParams) -> str:
    """Return the licence that timm states of a backbone's published weights."""
    if not params.pretrained:
        return "not pretrained"
    try:
        config = None if params.weights else _published(params)
    except RuntimeError:  # unknown to timm: loading these weights reports this, with suggestions
        config = None
    return (config.license if config else None) or "not stated"


def _published(params: BackboneParams) -> Any:
    """Return timm's record of a model's published weights; None if there is none."""
    import timm

    return timm.get_pretrained_cfg(params.model, allow_unregistered=True)


def safe_name(name: str) -> str:
    """Return the name of the safetensors file that timm prefers to another file."""
    return name.replace("pytorch_model.bin", "model.safetensors").replace(".bin", ".safetensors")


def _stated_by_cache(file: str) -> str | None:
    """Return the hash that the hub stated when a file was downloaded, which is its name in the cache."""
    return Path(os.readlink(file)).name if os.path.islink(file) else None


def _checked(params: BackboneParams, file: str, stated: str | None) -> str:
    """Return a file whose hash is the stated one, otherwise remove it; the client only compares sizes."""
    if stated is None or not _SHA256.fullmatch(stated):
        return file
    status = os.stat(file)
    found = _hash(file, status.st_size, status.st_mtime_ns)
    if found == stated:
        return file
    for path in {os.path.realpath(file), file}:  # the content, and the link to it if there is one
        os.remove(path)
    raise refuse(
        params,
        f"its downloaded weights were damaged and are removed: their SHA-256 is {found}, and the hub states {stated}",
        "run the same command again, which downloads them again. If that does not help, something between this "
        "machine and the hub alters files: ask your network's administrators.",
    )


@lru_cache
def _hash(file: str, _size: int, _changed: int) -> str:
    """Return the SHA-256 of a file, cached since several stages load the same weights."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _patience() -> float:
    from huggingface_hub import constants

    is_set = constants.HF_HUB_ETAG_TIMEOUT != constants.DEFAULT_ETAG_TIMEOUT
    return float(constants.HF_HUB_ETAG_TIMEOUT) if is_set else _PATIENCE_S


def _in_time(function: Callable[[], Result], seconds: float) -> Result:
    """Call a function in a thread with a time limit, as looking up a name cannot be interrupted."""
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(seconds)


def _ask(url: str) -> _Answer:
    """Request the first bytes once, with the proxy, certificates and token of the download."""
    from huggingface_hub import get_session
    from huggingface_hub.utils._headers import build_hf_headers

    headers = {**build_hf_headers(), "Range": "bytes=0-63", "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=headers, timeout=_patience(), follow_redirects=True) as response:
        start = b"" if response.status_code >= 400 else next(response.iter_bytes(64), b"")
        tags = [each.headers.get("X-Linked-ETag", "").strip('"') for each in (*response.history, response)]
        sha256 = next(filter(_SHA256.fullmatch, tags), None)
        return _Answer(response.status_code, response.headers.get("X-Error-Code", ""), start, sha256)


def _check_answer(params: BackboneParams, url: str, answer: _Answer, explain: Callable[[bytes], str | None]) -> None:
    if answer.error == "EntryNotFound":
        raise _no_safetensors(params)
    if answer.status >= 400:
        meaning, remedy = _REFUSALS.get(answer.status, ("refused", "try again later"))
        if answer.status >= 500:
            meaning, remedy = "it has an internal error", "try again later"
        raise _not_given(params, f"{_address(url)} answers {answer.status}, {meaning}", f"{remedy},")
    reason = explain(answer.start)
    if reason is not None:
        raise _not_given(
            params,
            f"{_address(url)} answers with something else: {reason}",
            "log in where your network asks for it, or correct HF_ENDPOINT or https_proxy,",
        )


def _no_safetensors(params: BackboneParams) -> InputError:
    return refuse(
        params,
        "its published weights are not a safetensors file, and Skinbit never opens pickles",
        "choose a model with safetensors weights, or convert them where you trust them and name the .safetensors file "
        "in backbones.<name>.weights.",
    )


def _not_given(params: BackboneParams, what: str, remedy: str) -> InputError:
    return refuse(params, f"its pretrained weights cannot be downloaded: {what}", f"{remedy} {_ELSEWHERE}")


def _out_of_reach(params: BackboneParams, why: str, remedy: str) -> InputError:
    what = f"its pretrained weights are not on this machine and the Hugging Face hub is out of reach: {why}"
    return refuse(params, what, f"{remedy} {_ELSEWHERE}")


def _unreachable(params: BackboneParams, url: str, error: Exception) -> InputError:
    """Return the error that names the unreachable server, the hub or the proxy, and the reason."""
    proxy = _proxy(url)
    who = f"the proxy {proxy}" if proxy else _address(url)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"the certificate of {_address(url)} is not trusted ({cause.verify_message})"
            remedy = "name the file of your network's certificates in SSL_CERT_FILE,"
            return _out_of_reach(params, why, remedy)
        if isinstance(cause, socket.gaierror):
            return _out_of_reach(params, f"the name of {who} is not known ({cause.strerror})", _connect(proxy))
        if isinstance(cause, TimeoutError):
            why = f"{who} sent nothing for {_patience():g} seconds"
            remedy = f"{_connect(proxy)} or allow more seconds in HF_HUB_ETAG_TIMEOUT,"
            return _out_of_reach(params, why, remedy)
        if isinstance(cause, OSError):
            return _out_of_reach(params, f"{who} does not answer ({cause.strerror or cause})", _connect(proxy))
    if type(error).__name__ == "ProxyError":  # of the client's library, whichever it uses
        status = str(error)
        asks = "write user and password into https_proxy,"
        remedy = asks if status.startswith("407") else "have your network's administrators let the hub through,"
        return _out_of_reach(params, f"{who} answers {status}", remedy)
    return _out_of_reach(params, f"{who}: {str(error) or type(error).__name__}", _connect(proxy))


def _connect(proxy: str | None) -> str:
    return "correct https_proxy, or unset it," if proxy else "connect once,"


def _broken_off(params: BackboneParams, url: str, error: Exception) -> InputError:
    """Return the error for an interrupted download, caused by the hub, the network or the disk."""
    from huggingface_hub import constants

    for cause in _causes(error):
        if isinstance(cause, OSError) and (cause.filename or cause.errno in REFUSALS):  # a full disk has no name
            return refuse(
                params,
                f"its pretrained weights cannot be kept in {constants.HF_HUB_CACHE}: {cause.strerror}",
                "let HF_HOME name a folder on a disk with space, in which this user may write.",
            )
    reason = str(error).partition("\n")[0] or type(error).__name__
    return _not_given(
        params,
        f"the download from {_address(url)} broke off: {reason}",
        "run the same command again, with HF_HUB_DISABLE_XET=1 if a firewall lets only the hub itself through,",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _address(url: str) -> str:
    """Return an address without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _proxy(url: str) -> str | None:
    """Return the address of the proxy for another address, without user and password; None if there is none."""
    proxies: Mapping[str, str] = getproxies()
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
