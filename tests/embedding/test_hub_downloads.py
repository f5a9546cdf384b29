"""Published weights as users get them: Skinbit in a process of its own, and a hub on this machine that it asks."""

import hashlib
import http.server
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from skinbit.config import BackboneParams
from skinbit.embedding.backbones import load_backbone

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal of its own")]

REPOSITORY = Path(__file__).parents[2]
TINY = "test_resnet.r160_in1k"
COMMIT = "0" * 40
ANY_CHUNK = 10 * 2**20
"""The client keeps what it has received in pieces of this size."""

LOAD = """
import logging.config, resource, sys, yaml
from skinbit.config import BackboneParams
from skinbit.embedding.backbones import load_backbone
from skinbit.errors import InputError
logging.config.dictConfig(yaml.safe_load(open("conf/logging.yml")))
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    print(load_backbone(BackboneParams(model=sys.argv[1], image_size=int(sys.argv[2])), 0).weights_sha256())
except InputError as error:
    sys.exit(f"Error: {error.message}")
"""


@dataclass
class Hub:
    """A hub that has one file of weights, which another host hands out, as the real one's does.

    Attributes:
        address: Of the hub.
        content: What is handed out.
        sha256: What the hub states about it.
        refusal: Status and error code of every answer; none: the file.
        breaks: After so many bytes each of the next connections ends.
        resets: Whether it ends with a reset, as at a firewall.
        asked: Method, path and range of every request for the file.
    """

    address: str
    content: bytes = b""
    sha256: str = ""
    refusal: tuple[int, str] | None = None
    breaks: list[int] = field(default_factory=list)
    resets: bool = False
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def serve(self, file: Path) -> None:
        """Hand out a file."""
        self.content = file.read_bytes()
        self.sha256 = hashlib.sha256(self.content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub, wanted = self.hub, self.headers.get("Range", "")
        kind = "file" if self.path.startswith("/large/") else "name" if "/resolve/main/model.saf" in self.path else ""
        if not kind:  # the client may also ask what agents there are
            self.send_error(404)
            return
        hub.asked.append((self.command, kind, wanted))
        if hub.refusal is not None:
            self.answer(hub.refusal[0], {"X-Error-Code": hub.refusal[1]})
        elif kind == "name":
            place = f"{hub.address.replace('127.0.0.1', 'localhost')}/large/{hub.sha256}"
            stated = {"X-Repo-Commit": COMMIT, "X-Linked-ETag": f'"{hub.sha256}"', "X-Linked-Size": len(hub.content)}
            self.answer(302, {"Location": place, **stated})
        else:
            self.hand_out(wanted)

    do_HEAD = do_GET  # noqa: N815

    def hand_out(self, wanted: str) -> None:
        size = len(self.hub.content)
        start, _, last = wanted.removeprefix("bytes=").partition("-")
        begin, end = int(start or 0), int(last or size - 1) + 1
        of_whole = {"Content-Range": f"bytes {begin}-{end - 1}/{size}"} if wanted else {}
        name = 'inline; filename="model.safetensors";'
        length = {"Content-Length": end - begin, "Content-Disposition": name, "ETag": '"of-the-other-host"'}
        sent = self.hub.content[begin:end]
        is_broken = end == size and self.hub.breaks and self.command == "GET"
        self.answer(206 if wanted else 200, of_whole | length, sent[: self.hub.breaks.pop(0)] if is_broken else sent)
        if is_broken and self.hub.resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            os.close(self.connection.detach())

    def answer(self, status: int, headers: dict[str, Any], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing: who has read enough hangs up."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Server(("127.0.0.1", 0), Handler)
    own = Hub(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("OwnHandler", (Handler,), {"hub": own})
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield own
    server.shutdown()
    server.server_close()


@dataclass
class Ended:
    """What a process printed, and what a person at its terminal saw."""

    code: int
    printed: str
    seen: str


Load = Callable[..., Ended]


@pytest.fixture
def load(hub: Hub, tmp_path: Path) -> Load:
    """Load published weights in a new process, as a user who has set HF_ENDPOINT and HF_HOME alone."""

    def run(model: str = TINY, size: int = 48, most_bytes: int | None = None, **variables: str) -> Ended:
        own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        own.pop("HF_HUB_OFFLINE")
        own |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
        terminal, inside = pty.openpty()
        termios.tcsetwinsize(inside, (24, 80))
        command = [sys.executable, "-c", LOAD, model, str(size), *([] if most_bytes is None else [str(most_bytes)])]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=own | variables, stdout=subprocess.PIPE, stderr=inside)
        os.close(inside)
        seen = read_to_the_end(terminal)
        printed = process.communicate()[0].decode().strip()
        return Ended(process.returncode, printed, seen.replace("\r\n", "\n"))

    return run


def read_to_the_end(terminal: int) -> str:
    seen = b""
    try:
        while part := os.read(terminal, 65536):
            seen += part
    except OSError:  # how a terminal ends
        pass
    finally:
        os.close(terminal)
    return seen.decode()


def refusal(ended: Ended, tmp_path: Path) -> str:
    """Return the one message, of a process that used no weights and left none."""
    assert ended.code == 1
    assert ended.printed == ""
    assert "Traceback" not in ended.seen
    assert ended.seen.count("Error: ") == ended.seen.count("Remedy: ") == 1
    assert not list(tmp_path.glob("home/**/*.incomplete"))
    return ended.seen.partition("Error: ")[2]


@pytest.fixture(scope="module")
def tiny(weights_of_resnet: Path) -> Path:
    return weights_of_resnet


@pytest.fixture(scope="module")
def large(weights_of_resnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in a file of several pieces."""
    path = tmp_path_factory.mktemp("large") / "model.safetensors"
    save_file(load_file(weights_of_resnet), path, {"filled": "up" * ANY_CHUNK})
    return path


def of_file(model: str, size: int, path: Path) -> str:
    return load_backbone(BackboneParams(model=model, image_size=size, weights=str(path)), 0).weights_sha256()


def test_the_first_run_downloads_with_a_progress_bar_and_later_ones_ask_nobody(
    hub: Hub, load: Load, tiny: Path
) -> None:
    hub.serve(tiny)
    first = load()
    assert first.printed == of_file(TINY, 48, tiny)
    assert f"downloading the weights of {TINY}, once" in first.seen
    assert "model.safetensors: 100%" in first.seen
    assert [request[:2] for request in hub.asked].count(("GET", "file")) == 2  # the first bytes, then all
    hub.asked.clear()
    again, offline = load(), load(HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert again.printed == offline.printed == first.printed
    assert again.seen == offline.seen == ""
    assert hub.asked == []


def test_a_connection_that_breaks_in_the_middle_goes_on_where_it_broke(hub: Hub, load: Load, large: Path) -> None:
    hub.serve(large)
    hub.breaks = [ANY_CHUNK + 1000]
    ended = load()
    assert ended.printed == of_file(TINY, 48, large)
    assert hub.asked[-1] == ("GET", "file", f"bytes={ANY_CHUNK}-")


def test_a_connection_that_is_reset_is_one_message_and_the_next_run_downloads_anew(
    hub: Hub, load: Load, large: Path, tmp_path: Path
) -> None:
    hub.serve(large)
    hub.breaks, hub.resets = [1000], True
    message = refusal(load(), tmp_path)
    assert f"the download from {hub.address}/timm/{TINY}/resolve/main/model.safetensors broke off: " in message
    assert "Remedy: run the same command again" in message
    assert load().printed == of_file(TINY, 48, large)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", ("answers 401, not authorised", "HF_TOKEN")),
        (404, "RepoNotFound", ("answers 404, not found", "HF_ENDPOINT")),
    ],
)
def test_a_refusal_of_the_hub_is_one_message(
    hub: Hub, load: Load, tmp_path: Path, status: int, code: str, said: tuple[str, ...]
) -> None:
    hub.refusal = status, code
    message = refusal(load(), tmp_path)
    assert [part for part in said if part not in message] == []
    assert len(hub.asked) == 1


def test_a_full_disk_is_named_with_the_folder_that_is_full(hub: Hub, load: Load, tiny: Path, tmp_path: Path) -> None:
    hub.serve(tiny)
    message = refusal(load(most_bytes=100_000), tmp_path)
    assert f"cannot be kept in {tmp_path}/home/hub: " in message
    assert "Remedy: let HF_HOME name a folder on a disk with space" in message


def test_a_file_of_the_right_size_with_other_bytes_is_never_used(
    hub: Hub, load: Load, tiny: Path, tmp_path: Path
) -> None:
    hub.serve(tiny)
    right, middle = hub.content, len(hub.content) // 2
    hub.content = right[:middle] + bytes([right[middle] ^ 1]) + right[middle + 1 :]
    said = f"their SHA-256 is {hashlib.sha256(hub.content).hexdigest()}, and the hub states {hub.sha256}"
    assert said in refusal(load(), tmp_path)
    kept = tmp_path / "home/hub" / f"models--timm--{TINY}"
    assert not [path for path in kept.rglob("*") if path.name in ("model.safetensors", hub.sha256)]
    wrong, hub.content = hub.content, right
    assert load().printed == of_file(TINY, 48, tiny)
    (kept / "blobs" / hub.sha256).write_bytes(wrong)  # as a disk that fails, or a run that was killed, may leave it
    assert said in refusal(load(HF_HUB_OFFLINE="1"), tmp_path)


@pytest.mark.parametrize(
    "model",
    ["resnet50.a1_in1k", "vit_base_patch16_224.augreg2_in21k_ft_in1k", "vit_small_patch14_dinov2.lvd142m"],
)
def test_a_default_backbone_is_downloaded_and_loaded_completely(
    hub: Hub, load: Load, tmp_path: Path, model: str
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        source = timm.create_model(model, pretrained=False).state_dict()
    save_file(source, path := tmp_path / "published.safetensors")
    hub.serve(path)
    ended = load(model, 224)
    loaded = load_backbone(BackboneParams(model=model, image_size=224, weights=str(path)), 0)
    assert ended.printed == loaded.weights_sha256()
    if "dinov2" in model:  # its own 518 pixels are 37 patches a side, 224 are 16
        assert source["pos_embed"].shape == (1, 1 + 37**2, 384)
        source["pos_embed"] = resample_abs_pos_embed(source["pos_embed"], new_size=[16, 16], num_prefix_tokens=1)
    tensors = loaded.module.state_dict()
    assert len(tensors) > 100
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, source[name])] == []
