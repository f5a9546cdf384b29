"""The server: for this machine and who holds the token; no path, no other site, nothing loaded from elsewhere."""

import io
from contextlib import closing

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from skinbit.decisions.answers import new_id
from skinbit.decisions.ledger import Ledger
from skinbit.errors import InputError
from skinbit.review.desk import Desk
from skinbit.review.server import make_app
from tests.review.samples import make_grouped, make_pictures

PORT, TOKEN = 8765, "t0ken"
HOST = f"127.0.0.1:{PORT}"
DATA = ("/state", "/certificate", "/groups?which=shared", "/photographs/0", "/thumbnails/0", "/alignments/0/1")


@pytest.fixture
def grouped(tmp_path):
    return make_grouped(tmp_path / "photographs")


@pytest.fixture
def client(grouped, tmp_path):
    with closing(Ledger(tmp_path / "decisions.sqlite")) as ledger:
        app = make_app(grouped, Desk(grouped, ledger, "Ada"), make_pictures(grouped), PORT, TOKEN)
        with TestClient(app, base_url=f"http://{HOST}", headers={"X-Skinbit-Token": TOKEN}) as opened:
            opened.ledger = ledger
            yield opened


def answer(**changes):
    return {"answer_id": new_id(), "verdict": "same lesion", "parts": [[0, 1]], "seen": 0} | changes


class TestAnswering:
    def test_the_page_asks_and_answers_are_kept(self, client):
        state = client.get("/state").json()
        assert state["question"]
        told = client.post("/answers", json=answer()).json()
        assert (told["answered"], len(client.ledger.answers())) == (1, 1)
        undone = client.post("/undo", json={"answer_id": new_id(), "undoes": told["last"]["answerId"]}).json()
        assert (undone["answered"], len(client.ledger.answers())) == (0, 2)

    def test_the_sample_is_asked_and_certifies(self, client):
        state = client.get("/state?view=sample").json()
        first, second = (photograph["row"] for photograph in state["question"]["photographs"])
        client.post("/answers", json=answer(verdict="different lesions", parts=[[first], [second]], view="sample"))
        assert client.get("/certificate").json()["found"]["n_sampled"] == 1
        assert client.get("/state?view=else").status_code == 422

    def test_a_stale_answer_is_one_clear_message(self, client):
        client.post("/answers", json=answer())
        refused = client.post("/answers", json=answer())
        assert refused.status_code == 412
        assert "answered meanwhile" in refused.json()["message"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"verdict": "undo"},
            {"parts": []},
            {"parts": [[]]},
            {"parts": [[0, -1]]},
            {"parts": [[0, 9]]},
            {"parts": [[0, 10**30]]},
            {"parts": [["../../etc/passwd", 1]]},
            {"parts": [[0], [1]]},
            {"answer_id": "1"},
            {"reviewer": "Eve"},
        ],
    )
    def test_what_is_no_answer_is_refused_and_not_written(self, client, wrong):
        refused = client.post("/answers", json=answer(**wrong))
        assert 400 <= refused.status_code < 500
        assert set(refused.json()) == {"message"}
        assert client.ledger.answers() == ()

    def test_a_ledger_that_cannot_be_written_is_one_message(self, client, monkeypatch):
        def refuse(answer):
            raise InputError("The ledger is in use.\n  Remedy: wait.")

        monkeypatch.setattr(client.ledger, "append", refuse)
        refused = client.post("/answers", json=answer())
        assert (refused.status_code, refused.json()["message"][:20]) == (503, "The ledger is in use")


class TestPictures:
    def test_photographs_are_full_and_without_metadata(self, client, grouped):
        response = client.get("/photographs/3")
        assert response.headers["content-type"] == "image/jpeg"
        image = Image.open(io.BytesIO(response.content))
        assert (image.size, dict(image.getexif())) == ((40, 30), {})
        assert Image.open(io.BytesIO(client.get("/thumbnails/3").content)).size == (16, 12)

    def test_a_photograph_that_has_changed_since_is_one_message_and_not_shown(self, client, tmp_path):
        Image.new("RGB", (40, 30), "red").save(tmp_path / "photographs" / "p003.png")
        (tmp_path / "photographs" / "p004.png").unlink()
        for row in (3, 4):
            refused = client.get(f"/photographs/{row}")
            assert refused.status_code == 409
            assert refused.json()["message"].startswith(f"The photograph p00{row}.png can no longer be used")
            assert str(tmp_path) not in refused.text

    @pytest.mark.parametrize(
        "row", ["9", "-1", "p003.png", "..%2f..%2fetc%2fpasswd", "..%2fstate", "1.5", "0x1", "/etc/passwd", "%00"]
    )
    @pytest.mark.parametrize("kind", ["photographs", "thumbnails", "alignments/0"])
    def test_nothing_is_read_by_a_path(self, client, kind, row):
        assert client.get(f"/{kind}/{row}").status_code in (404, 422)

    def test_without_keypoints_nothing_is_aligned(self, client):
        assert client.get("/alignments/0/1").json() is None


class TestSafety:
    @pytest.mark.parametrize("path", DATA)
    @pytest.mark.parametrize("token", ["", "T0ken", "é"])
    def test_nothing_is_told_without_the_token(self, client, path, token):
        refused = client.get(path, headers={"X-Skinbit-Token": token.encode()})
        assert (refused.status_code, set(refused.json())) == (401, {"message"})

    @pytest.mark.parametrize("path", ["/answers", "/undo"])
    def test_nothing_is_written_without_the_token(self, client, path):
        refused = client.post(path, json=answer(), headers={"X-Skinbit-Token": ""})
        assert (refused.status_code, "not written" in refused.json()["message"]) == (401, True)
        assert client.ledger.answers() == ()

    def test_the_page_itself_knows_neither_token_nor_photographs(self, client):
        page = client.get("/", headers={"X-Skinbit-Token": ""})
        assert page.status_code == 200
        assert TOKEN not in page.text
        assert "p000" not in page.text

    @pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "[::1]:8765"])
    @pytest.mark.parametrize("path", ["/", *DATA])
    def test_another_host_is_refused_as_after_dns_rebinding(self, client, path, host):
        assert client.get(path, headers={"Host": host}).status_code == 421

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"https://{HOST}"},
            {"Origin": f"http://localhost:{PORT}"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_another_site_is_refused(self, client, headers):
        assert client.post("/answers", json=answer(), headers=headers).status_code == 403
        assert client.get("/state", headers=headers).status_code == 403
        assert client.ledger.answers() == ()

    def test_the_page_may_be_opened_under_localhost(self, client):
        headers = {"Host": f"localhost:{PORT}", "Origin": f"http://localhost:{PORT}"}
        assert client.get("/state", headers=headers).status_code == 200

    @pytest.mark.parametrize(("port", "status"), [(80, 200), (8765, 421)])
    def test_port_80_is_left_out_by_browsers(self, grouped, port, status):
        client = TestClient(make_app(grouped, None, None, port, TOKEN), base_url="http://127.0.0.1")
        assert client.get("/").status_code == status

    def test_a_form_cannot_answer(self, client):
        refused = client.post("/answers", content=b"{}", headers={"Content-Type": "text/plain"})
        assert refused.status_code == 415

    def test_what_is_too_long_is_not_read(self, client):
        content = b"[" * 2_000_001
        refused = client.post("/answers", content=content, headers={"Content-Type": "application/json"})
        assert refused.status_code == 413

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/a", "/answers"])
    def test_there_is_nothing_else(self, client, path):
        assert client.get(path).status_code in (404, 405)

    @pytest.mark.parametrize("path", ["/", *DATA, "/none"])
    def test_every_response_forbids_frames_guesses_and_caches(self, client, path):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert (headers["referrer-policy"], headers["x-frame-options"]) == ("no-referrer", "DENY")
        assert "access-control-allow-origin" not in headers

    def test_the_page_runs_its_own_script_alone_and_speaks_with_its_server_alone(self, client):
        page = client.get("/").text
        policy = page.partition('Content-Security-Policy" content="')[2].partition('"')[0]
        assert policy.startswith(
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; connect-src 'self'; "
            "script-src 'sha256-"
        )
        assert "http" not in page.partition("<body>")[2]
