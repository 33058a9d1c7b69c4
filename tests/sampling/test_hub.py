"""Publishing on a model hub and loading from it, against a server of this machine that keeps what it is given."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest

import dmgan
from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.sampling.hub import local_folder, self_contained_copy
from dmgan.storage.files import read_json
from dmgan.storage.json_hash import seal_is_whole
from dmgan.storage.seals import write_sealed_json

REPOSITORY, COMMIT = "somebody/birds", "c" * 40


class Hub(BaseHTTPRequestHandler):
    """The parts of a hub that publishing and loading call; the server's `files` are those of the repository."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/api/models/") and "/preupload/" in self.path:
            wanted = json.loads(body)["files"]
            modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in wanted]
            return self.answer({"files": modes})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self.answer({"commitUrl": f"{self.address()}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        return self.answer({"url": self.address(), "errors": [], "warnings": []})

    def do_GET(self):
        name = self.path.partition("?")[0]
        if "/tree/" in name:
            paths = self.server.files.items()
            return self.answer([{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in paths])
        if name.startswith("/api/models/"):
            siblings = [{"rfilename": path} for path in self.server.files]
            return self.answer({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
        content = self.server.files.get(name.partition(f"/resolve/{COMMIT}/")[2])
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
        return None

    do_HEAD = do_GET

    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{REPOSITORY}"

    def answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on the loopback address, with an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    files = address + "/{repo_id}/resolve/{revision}/{filename}"
    constants = {"ENDPOINT": address, "HUGGINGFACE_CO_URL_TEMPLATE": files, "HF_HUB_CACHE": str(tmp_path / "cache")}
    for name, value in constants.items():  # read at import time from HF_ENDPOINT and HF_HOME
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    monkeypatch.setenv("HF_TOKEN", "of-this-test")
    yield server
    server.shutdown()
    server.server_close()


def test_a_published_run_generates_the_same_images(hub, run_folder, capsys):
    assert main(["hub-push", str(run_folder), REPOSITORY]) == 0
    assert f"{REPOSITORY}/commit/{COMMIT}" in capsys.readouterr().out
    assert {"README.md", "generator.safetensors", "options.json", "damsm/text_encoder.safetensors"} <= hub.files.keys()
    assert f'dmgan.load("hub:{REPOSITORY}")' in hub.files["README.md"].decode()
    caption = "a small red bird with a white belly"
    published, local = (
        dmgan.load(each, "cpu").generate(caption)[0].image for each in (f"hub:{REPOSITORY}", run_folder)
    )
    assert published.tobytes() == local.tobytes()


def test_the_copy_needs_no_other_file_and_names_no_path_of_this_machine(run_folder, tmp_path):
    self_contained_copy(run_folder, tmp_path)
    written = read_json(tmp_path / "options.json", "")
    assert written["damsm_folder"] == "damsm" and "data_folder" not in written and seal_is_whole(written)
    assert dmgan.load(tmp_path, "cpu").name == "dmgan"


def test_a_model_that_retrieves_is_not_published(run_folder, tmp_path):
    written = read_json(run_folder / "options.json", "") | {"model": "mdsp"}
    write_sealed_json(tmp_path / "options.json", written)
    with pytest.raises(UserError, match="retrieves its training images"):
        self_contained_copy(tmp_path, tmp_path / "copy")


@pytest.mark.parametrize("address", ["hub:birds", "hub:a/b/c", "hub:/"])
def test_an_address_that_is_no_model_is_refused(address):
    with pytest.raises(UserError, match="write OWNER/NAME"):
        local_folder(address)


def test_a_hub_that_does_not_answer_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="hub:somebody/nothing: could not be downloaded"):
        local_folder("hub:somebody/nothing")


def test_paths_are_left_as_they_are(tmp_path):
    assert local_folder(tmp_path) == tmp_path
