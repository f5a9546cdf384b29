"""Published weights that cannot be had: who refuses, why, and what helps, within seconds and without a repetition."""

import contextlib
import errno
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

from skinbit.config import BackboneParams
from skinbit.embedding import hub
from skinbit.embedding.backbones import load_backbone
from skinbit.errors import InputError

PUBLISHED = BackboneParams(model="test_resnet.r160_in1k", image_size=48)
FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
COMMIT = "0" * 40


@dataclass
class Hub:
    """A hub on this machine.

    Attributes:
        address: Without a path.
        answer: Status, headers and body of every answer.
        asked: Methods and paths so far.
    """

    address: str
    answer: tuple[int, dict[str, str], bytes] = (404, {}, b"")
    asked: list[tuple[str, str]] = field(default_factory=list)
    delay_s: float = 0.0


@pytest.fixture
def own_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == FILE:  # the client may also ask what agents there are
                own.asked.append((self.command, self.path))
            time.sleep(own.delay_s)
            status, headers, body = own.answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(OSError):  # who has read enough hangs up
                    self.wfile.write(body)

        do_HEAD = do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_at(own.address, monkeypatch, tmp_path)
    yield own
    server.shutdown()
    server.server_close()


def point_at(address: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Do what HF_ENDPOINT and HF_HOME do in a new process."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture(autouse=True)
def _new_client() -> Iterator[None]:
    """The client reads the proxy's address once."""
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


def refusal() -> str:
    started = time.monotonic()
    with pytest.raises(InputError) as refused:
        load_backbone(PUBLISHED, 0)
    assert time.monotonic() - started < 10
    message = refused.value.message
    assert "correct model_args" not in message
    assert message.count("Remedy: ") == 1
    assert "pretrained=false" in message or "HF_HOME" in message
    return message


@pytest.mark.parametrize(
    ("status", "headers", "meaning", "remedy"),
    [
        (401, {}, "not authorised", "HF_TOKEN"),
        (403, {}, "forbidden", "have your network let the hub through"),
        (403, {"X-Error-Code": "GatedRepo"}, "forbidden", "accept the model's terms"),
        (404, {}, "not found", "correct HF_ENDPOINT"),
        (407, {}, "the proxy asks for a password", "https_proxy"),
        (410, {}, "refused", "try again later"),
        (429, {"Retry-After": "300"}, "too many requests", "wait some minutes"),
        (500, {}, "it has an internal error", "try again later"),
        (503, {}, "it has an internal error", "try again later"),
    ],
)
def test_a_hub_that_refuses_is_asked_once_and_its_refusal_is_explained(
    own_hub: Hub, caplog: pytest.LogCaptureFixture, status: int, headers: dict[str, str], meaning: str, remedy: str
) -> None:
    own_hub.answer = status, headers, b"no"
    message = refusal()
    assert f"{own_hub.address}{FILE} answers {status}, {meaning}" in message
    assert remedy in message
    assert own_hub.asked == [("GET", FILE)]
    assert not caplog.records


def test_a_hub_that_has_the_model_in_another_format_only_is_told_from_one_that_lacks_it(own_hub: Hub) -> None:
    own_hub.answer = 404, {"X-Error-Code": "EntryNotFound"}, b""
    with pytest.raises(InputError, match="not a safetensors file, and Skinbit never opens pickles"):
        load_backbone(PUBLISHED, 0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE html><title>Please log in</title>", "a web page"),
        (b"\xef\xbb\xbf\n <html>", "a web page"),
        (b'{"error": "Repository not found"}', "a text in JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"", "an empty file"),
        (b"welcome to the guest network", "not a safetensors file"),
    ],
)
def test_something_else_than_weights_with_status_200_is_named_and_not_kept(
    own_hub: Hub, tmp_path: Path, body: bytes, kind: str
) -> None:
    own_hub.answer = 200, {"X-Repo-Commit": COMMIT, "ETag": '"1"'}, body
    message = refusal()
    assert f"{own_hub.address}{FILE} answers with something else: {kind}" in message
    assert "log in where your network asks for it" in message
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_redirect_to_a_login_page_is_named(own_hub: Hub) -> None:
    own_hub.answer = 302, {"Location": "/login"}, b""
    with pytest.raises(InputError, match=r"out of reach: .*[Rr]edirect"):
        load_backbone(PUBLISHED, 0)


def test_weights_that_can_be_had_are_downloaded_and_loaded(own_hub: Hub, weights_of_resnet: Path) -> None:
    own_hub.answer = 200, {"X-Repo-Commit": COMMIT, "ETag": '"1"'}, weights_of_resnet.read_bytes()
    published = load_backbone(PUBLISHED, 0)
    from_file = load_backbone(BackboneParams(model="test_resnet", image_size=48, weights=str(weights_of_resnet)), 0)
    assert published.weights_sha256() == from_file.weights_sha256()
    assert [method for method, _ in own_hub.asked] == ["GET", "HEAD", "GET"]


def test_a_download_that_began_and_ends_too_early_is_not_taken_for_wrong_settings(
    own_hub: Hub, weights_of_resnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_hub.answer = 200, {"X-Repo-Commit": COMMIT, "ETag": '"1"'}, weights_of_resnet.read_bytes()

    def break_off(*_: Any, **__: Any) -> str:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", break_off)
    message = refusal()
    assert f"the download from {own_hub.address}{FILE} broke off: " in message
    assert "run the same command again" in message


@pytest.mark.parametrize(
    ("number", "names"),
    [(errno.ENOSPC, []), (errno.ENOSPC, ["blob"]), (errno.EROFS, ["blob"]), (errno.EACCES, ["blob"])],
)
def test_a_cache_that_cannot_be_written_is_no_fault_of_the_network(
    own_hub: Hub,
    weights_of_resnet: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    names: list[str],
) -> None:
    own_hub.answer = 200, {"X-Repo-Commit": COMMIT, "ETag": '"1"'}, weights_of_resnet.read_bytes()

    def fail(*_: Any, **__: Any) -> str:
        raise OSError(number, "no", *names)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    assert f"cannot be kept in {tmp_path}: no" in refusal()


def test_a_hub_that_stays_silent_is_not_waited_for(own_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_PATIENCE_S", 0.3)
    own_hub.delay_s = 1.5
    message = refusal()
    assert f"{own_hub.address}{FILE} sent nothing for 0.3 seconds" in message
    assert "HF_HUB_ETAG_TIMEOUT" in message


@pytest.mark.parametrize(
    ("params", "licence"),
    [
        ({"model": "vit_small_patch16_dinov3.lvd1689m"}, "dinov3-license"),
        ({"model": "resnet50.a1_in1k"}, "apache-2.0"),
        ({"model": "resnet50.a1_in1k", "weights": "mine.safetensors"}, "not stated"),
        ({"model": "resnet50.a1_in1k", "pretrained": False}, "not pretrained"),
    ],
)
def test_the_licence_of_weights_is_the_one_that_timm_states(params: dict[str, Any], licence: str) -> None:
    assert hub.licence_of(BackboneParams(**params)) == licence


def test_more_patience_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub._patience() == hub._PATIENCE_S < 10
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 60)
    assert hub._patience() == 60


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_hub_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = f"http://user:secret@127.0.0.1:{closed_port()}"
    point_at(address, monkeypatch, tmp_path)
    message = refusal()
    assert f"out of reach: {address.replace('user:secret@', '')}{FILE} does not answer (Connection refused)" in message
    assert "secret" not in message
    assert "Remedy: connect once" in message


def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_at("https://huggingface.co", monkeypatch, tmp_path)
    proxy = f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("https_proxy", f"http://user:secret@{proxy}")
    message = refusal()
    assert f"out of reach: the proxy {proxy} does not answer (Connection refused)" in message
    assert "Remedy: correct https_proxy, or unset it" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "have your network's administrators"), (407, "write user and password into"), (502, "have your network's")],
)
def test_a_proxy_that_answers_but_lets_nothing_through_is_named(
    own_hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, remedy: str
) -> None:
    own_hub.answer = status, {}, b""
    point_at("https://huggingface.co", monkeypatch, tmp_path)
    monkeypatch.setenv("https_proxy", own_hub.address)
    message = refusal()
    assert f"out of reach: the proxy {own_hub.address.removeprefix('http://')} answers {status} " in message
    assert remedy in message


def test_a_host_that_the_proxy_is_not_for_is_asked_directly(own_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "answers 404" in refusal()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "is not known (Name or service not known)"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "does not answer (Network is unreachable)"),
        (TimeoutError("timed out"), "sent nothing for 8 seconds"),
    ],
)
def test_what_keeps_the_network_away_is_told_by_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, said: str
) -> None:
    point_at("http://hub.invalid", monkeypatch, tmp_path)
    monkeypatch.setattr(socket, "create_connection", raising(error))
    assert said in refusal()


def test_a_certificate_that_is_not_trusted_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_at("http://hub.invalid", monkeypatch, tmp_path)
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate in certificate chain"
    monkeypatch.setattr(socket, "create_connection", raising(error))
    message = refusal()
    assert "is not trusted (self-signed certificate in certificate chain)" in message
    assert "SSL_CERT_FILE" in message


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_an_endpoint_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_at("hub", monkeypatch, tmp_path)
    assert "hub/timm/test_resnet" in refusal()


def test_retries_of_a_download_are_logged_by_the_client_alone() -> None:
    conf = yaml.safe_load((Path(__file__).parents[2] / "conf/logging.yml").read_text())
    assert conf["loggers"]["huggingface_hub"] == {"propagate": False}
