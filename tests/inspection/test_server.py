"""The page of `serve`: it is built, listens on this machine only, and loads nothing from another server."""

import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from dmgan.errors import UserError
from dmgan.inspection.inspector import ComparedWith
from dmgan.inspection.playground import Playground
from dmgan.inspection.runs import find_runs
from dmgan.inspection.server import build_page, serve
from tests.conftest import CPU
from tests.paths import ROOT

pytestmark = pytest.mark.slow  # gradio takes seconds to import


@pytest.fixture(scope="module")
def playground(results) -> Playground:
    pytest.importorskip("gradio")
    return Playground(find_runs([results]), ComparedWith(), CPU, seconds=300)


@pytest.fixture(scope="module")
def address(results):
    """The address of a server that a subcommand started on a free port."""
    pytest.importorskip("gradio")
    words = [sys.executable, "-m", "dmgan", "serve", str(results), "--port", "0", "--device", "cpu", "--threads", "1"]
    server = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(server.stderr.readline, "")
        line = next((each for each in lines if each.startswith("http://")), "")
        assert line, "the server ended"
        yield line.split()[0]
    finally:
        server.terminate()
        server.wait(timeout=60)


def get(address: str, host: str | None = None) -> tuple[str, dict[str, str]]:
    request = urllib.request.Request(address, headers={} if host is None else {"Host": host})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read().decode(), {key.lower(): value for key, value in response.headers.items()}


def test_the_server_listens_on_loopback_only(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        listening += [row[1] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]
    assert listening == [f"0100007F:{port:04X}"]  # 127.0.0.1, and nothing else


def test_the_page_loads_nothing_from_another_server(address):
    text, headers = get(address)
    assert "Text-to-image GANs" in text
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"([^\"]+)\"", text)
    assert loaded and not [each for each in loaded if re.match(r"(https?:)?//", each)]
    assert "default-src 'self'" in headers["content-security-policy"]
    theme, _ = get(f"{address}theme.css")
    assert not re.search(r"url\(['\"]?(https?:)?//|@import", theme)


def test_another_host_name_is_refused(address):
    with pytest.raises(urllib.error.HTTPError) as error:
        get(address, host="birds.example")
    assert error.value.code == 400
    assert get(address, host="localhost")[0]


def test_the_page_has_its_inputs_and_calls_the_function(playground):
    blocks = build_page(playground)
    labels = {each.label for each in blocks.blocks.values() if getattr(each, "label", None)}
    assert {"Caption", "Models", "Noise seeds", "Scores against the caption", "Nearest training image"} <= labels
    assert not blocks.analytics_enabled
    answers = [each.fn for each in blocks.fns.values() if each.name == "answer"]
    html = list(answers[0]("a red bird", list(playground.runs), "1", False, False, False))[-1]
    assert html.count('class="dmgan-card"') == 2


def test_a_taken_port_is_a_clear_error(playground, address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(UserError, match=rf"--port {port}: cannot be opened .*; give another port, or 0"):
        serve(playground, port)


def test_without_gradio_the_extra_is_named(results, tmp_path):
    (tmp_path / "gradio.py").write_text("raise ImportError('no such package')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from dmgan.__main__ import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "serve", str(results), "--device", "cpu"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.endswith("pip install 'dmgan-reproduction[serve]'\n")
