"""Downloads, against a server that cuts, lies, redirects and refuses."""

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.storage import downloads as assets
from dmgan.storage.downloads import ASSETS, Asset, fetch, find
from tests.commands.test_command_line import error_line
from tests.paths import ROOT

CONTENT = bytes(range(256)) * 8192  # 2 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Behaviour:
    """How the server answers, and what it was asked."""

    def __init__(self):
        self.content, self.etag, self.ranges, self.kind = CONTENT, '"one"', True, "application/octet-stream"
        self.cuts: list[int] = []  # bytes after which each of the next answers is cut
        self.statuses: list[int] = []  # of the next answers
        self.length, self.stated = True, ""  # whether the length is sent; what is sent in its place
        self.asked: list[dict] = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told: Behaviour = self.server.behaviour
        told.asked.append(dict(self.headers))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            return self.end_headers()
        if self.path != "/file":
            return self.send_error(404)
        if told.statuses:
            return self.send_error(told.statuses.pop(0))
        start, status = 0, 200
        fresh = self.headers.get("If-Range") in (None, told.etag)
        if told.ranges and fresh and "Range" in self.headers:
            start, status = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")), 206
            if start >= len(told.content):
                return self.send_error(416)
        body = told.content[start:]
        self.send_response(status)
        self.send_header("Content-Type", told.kind)
        if told.stated:
            self.send_header("Content-Length", told.stated)
        elif told.length:
            self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(told.content) - 1}/{len(told.content)}")
        if told.etag:
            self.send_header("ETag", told.etag)
        self.end_headers()
        self.wfile.write(body[: told.cuts.pop(0)] if told.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(assets, "_BACKOFF", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.behaviour = Behaviour()
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, args=[0.02], daemon=True).start()
        yield running
        running.shutdown()


def asset(server, sha256=SHA256, size=2_097_152, path="/file") -> Asset:
    return Asset("thing", "thing.bin", "a thing", server.url + path, "http://page", "free", "cry", size, sha256)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


DONE = {"thing.bin", "thing.bin.origin.json"}


@pytest.mark.parametrize("path", ["/file", "/moved"])
def test_a_file_comes_whole(server, tmp_path, path):
    assert fetch(asset(server, path=path), tmp_path / "to").read_bytes() == CONTENT
    assert names(tmp_path / "to") == DONE


def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.behaviour.cuts = [1_000_000, 500_000]
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT
    ranges = [(asked.get("Range"), asked.get("If-Range")) for asked in server.behaviour.asked]
    assert ranges == [(None, None), ("bytes=1000000-", '"one"'), ("bytes=1500000-", '"one"')]
    assert names(tmp_path) == DONE


def test_a_later_call_goes_on(server, tmp_path):
    server.behaviour.cuts = [700_000] + [0] * 20
    with pytest.raises(UserError, match=r"gave up after 5 attempts: connection lost at 700,000 of .* are kept"):
        fetch(asset(server), tmp_path)
    assert (tmp_path / "thing.bin.part").stat().st_size == 700_000 and not (tmp_path / "thing.bin").exists()
    server.behaviour.cuts = []
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT
    assert server.behaviour.asked[-1]["Range"] == "bytes=700000-"


def test_a_part_that_is_whole_needs_no_further_byte(server, tmp_path):
    (tmp_path / "thing.bin.part").write_bytes(CONTENT)
    state = {"url": server.url + "/file", "validator": '"one"', "total": len(CONTENT)}
    (tmp_path / "thing.bin.part.json").write_text(json.dumps(state))
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == DONE


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', ""])
def test_a_server_without_ranges_gives_the_file_anew(server, tmp_path, etag):
    server.behaviour.ranges, server.behaviour.etag, server.behaviour.cuts = False, etag, [1_500_000, 10]
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT


def test_a_server_that_cuts_for_ever_is_given_up(server, tmp_path):
    server.behaviour.ranges, server.behaviour.cuts = False, [1000] * 100
    with pytest.raises(UserError, match="gave up after 5 attempts"):
        fetch(asset(server), tmp_path)
    assert len(server.behaviour.asked) < 10


@pytest.mark.parametrize("more", [b"", b"more"])
@pytest.mark.parametrize("etag", ['"two"', ""])
def test_a_file_that_changed_in_between_is_not_spliced(server, tmp_path, etag, more):
    server.behaviour.etag = etag and '"one"'
    server.behaviour.cuts = [1_000_000] + [0] * 20
    with pytest.raises(UserError):
        fetch(asset(server, sha256=None, size=None), tmp_path)
    server.behaviour.content, server.behaviour.cuts, server.behaviour.etag = CONTENT[::-1] + more, [], etag
    assert fetch(asset(server, sha256=None, size=None), tmp_path).read_bytes() == CONTENT[::-1] + more


def test_wrong_bytes_are_deleted(server, tmp_path):
    server.behaviour.content = b"x" * len(CONTENT)
    with pytest.raises(
        UserError, match=r"the downloaded file has SHA-256 .*, not .*; it was deleted .*By hand: .*http://page"
    ):
        fetch(asset(server), tmp_path)
    assert names(tmp_path) == set()
    with pytest.raises(UserError, match="has 2,097,152 bytes, not 5"):
        fetch(asset(server, size=5), tmp_path)


def test_a_hash_known_by_its_ends_is_checked_there(server, tmp_path):
    fetch(asset(server, sha256=f"{SHA256[:8]}…{SHA256[-4:]}"), tmp_path)
    for wrong in (f"{SHA256[:8]}…nope", f"nope…{SHA256[-4:]}", "nope…"):
        with pytest.raises(UserError, match="exists, but has SHA-256"):
            fetch(asset(server, sha256=wrong), tmp_path)


def test_an_unknown_hash_is_recorded_and_holds_from_then_on(server, tmp_path, capsys):
    unknown = asset(server, sha256=None, size=None)
    fetch(unknown, tmp_path)
    assert "(recorded in thing.bin.origin.json" in capsys.readouterr().err
    record = json.loads((tmp_path / "thing.bin.origin.json").read_text())
    assert record == {"url": server.url + "/file", "size": len(CONTENT), "sha256": SHA256}
    (tmp_path / "thing.bin").unlink()
    server.behaviour.content = CONTENT + b"!"
    with pytest.raises(UserError, match="as recorded in thing.bin.origin.json; it was deleted"):
        fetch(unknown, tmp_path)


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    fetch(asset(server), tmp_path)
    (tmp_path / "thing.bin").write_bytes(b"other")
    with pytest.raises(UserError, match="exists, but has 5 bytes, not 2,097,152; move it away"):
        fetch(asset(server), tmp_path)
    assert server.behaviour.asked == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_instead_of_the_file_is_told(server, tmp_path, kind):
    server.behaviour.content, server.behaviour.kind = b"\n<!DOCTYPE html><html>Quota exceeded</html>", kind
    with pytest.raises(UserError, match=r"sends a web page instead of the file .* If the link is dead: cry"):
        fetch(asset(server, sha256=None, size=None), tmp_path)
    assert names(tmp_path) == set() and len(server.behaviour.asked) == 1


def test_a_dead_link_is_told_at_once_and_a_busy_server_asked_again(server, tmp_path):
    with pytest.raises(UserError, match="the server answers 404 Not Found .*/gone.*If the link is dead: cry"):
        fetch(asset(server, path="/gone"), tmp_path)
    assert len(server.behaviour.asked) == 1 and names(tmp_path) == set()
    server.behaviour.statuses = [503, 429]
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT


def test_an_answer_of_unknown_length_needs_a_known_hash(server, tmp_path):
    server.behaviour.length = False
    with pytest.raises(UserError, match="does not send the file's size"):
        fetch(asset(server, sha256=None, size=None), tmp_path)
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT


def test_two_fetches_of_one_file_do_not_mix(server, tmp_path):
    import fcntl

    with open(tmp_path / "thing.bin.part", "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another fetch is writing this file"):
            fetch(asset(server), tmp_path)


def test_no_connection_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(assets, "_BACKOFF", 0.0)
    assert main(["fetch", "inception", "--to", str(tmp_path), "--url", "http://127.0.0.1:9/x"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("dmgan fetch: inception: gave up after 5 attempts: no connection (")
    assert names(tmp_path) == set()


# The table and the command line.


def test_every_asset_is_whole():
    assert len({each.name for each in ASSETS}) == len(ASSETS) == len({each.file for each in ASSETS})
    for each in ASSETS:
        assert all((each.file, each.description, each.page, each.licence, each.if_dead)), each.name
        assert each.url is None or each.url.startswith(("https://", "http://images.cocodataset.org/"))


def test_the_page_is_up_to_date():
    page = ROOT / "docs" / "assets.md"
    assert page.read_text(encoding="utf-8") == assets.page(), "run: python -m docs.update_assets"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["update_assets", "update_results", "update_full_demo"])
def test_the_makefile_starts_what_makes_the_pages(module):
    root = ROOT
    assert f"\tpython -m docs.{module}\n" in (root / "Makefile").read_text()
    importing = [sys.executable, "-c", f"import docs.{module}"]  # alone: what pytest adds to the path must not help
    assert subprocess.run(importing, cwd=root, capture_output=True, env={}).returncode == 0


def test_the_command_line(server, tmp_path, capsys):
    assert main(["fetch", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(each.name in listed and each.licence in listed for each in ASSETS)
    assert main(["fetch", "cub-images", "--to", str(tmp_path), "--url", server.url + "/moved"]) == 0
    assert (tmp_path / find("cub-images").file).read_bytes() == CONTENT
    capsys.readouterr()
    assert "unknown; known are cub-images" in error_line(capsys, "fetch", "cub")
    assert "no asset named" in error_line(capsys, "fetch")
    assert "is not an http or https address" in error_line(capsys, "fetch", "inception", "--url", "file:///etc/passwd")
    assert "download bird_DMGAN.pth by hand" in error_line(capsys, "fetch", "cub-dmgan", "--to", tmp_path)


@pytest.mark.parametrize("stated", ["9" * 5000, "\u00b2"])
def test_a_length_that_is_no_number_is_as_none(stated, server, tmp_path):
    """Python refuses to convert both of them, although both are digits."""
    server.behaviour.stated, server.behaviour.etag = stated, ""
    assert fetch(asset(server), tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_too_much_without_a_length_is_left(server, tmp_path):
    server.behaviour.length = False
    with pytest.raises(UserError, match="the server sends more than 1,000 bytes"):
        fetch(asset(server, size=1000), tmp_path)
    assert names(tmp_path) == set()
