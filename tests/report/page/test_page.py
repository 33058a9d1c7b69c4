"""The report page: every number leads to its file, nothing is loaded, and an edited file is named."""

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.report.figures.catalogue import FIGURES as CATALOGUE
from dmgan.report.page.content import Page, Paragraph, Section
from dmgan.report.page.figures import encode
from dmgan.report.page.html import to_html
from dmgan.report.page.write import write_report
from tests.report.made_metrics import TRAINING
from tests.report.page.made_results import FIGURES, RESULTS, edit_metric, make_results
from tests.report.page.parsed_page import Element, parse


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with results/, and the report page of its data set."""
    home = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_report(make_results())
    return home


@pytest.fixture
def home(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def page(home) -> Element:
    return parse(read("report"))


def read(name: str) -> str:
    return (RESULTS / "report" / f"{name}.html").read_text(encoding="utf-8")


def facts(source: Element) -> dict[str, str]:
    """The facts of the first file of a source."""
    entries = source.all("dl")[0]
    return dict(zip([each.text for each in entries.all("dt")], [each.text for each in entries.all("dd")], strict=True))


def sources(page: Element) -> dict[str, Element]:
    return {each.attributes["id"]: each for each in page.all("section", "source")}


def test_every_number_of_this_run_leads_to_its_value_and_file(page):
    by_anchor, numbers = sources(page), page.all("a", "number")
    assert len(numbers) > 100
    for number in numbers:
        found = facts(by_anchor[number.attributes["href"].removeprefix("#")])
        key = found["entry"].removeprefix("metrics, ")
        measure = json.loads(Path(found["file"]).read_text())["metrics"][key]
        assert float(found["value"]) == measure["value"]
        shown = number.text.split(" ± ")[0]
        decimals = len(shown.partition(".")[2])
        assert abs(float(shown) - measure["value"]) <= 0.5 * 10**-decimals + 1e-9 or "e" in shown, number.text
        assert found["checked"] == "matches its run"


def test_the_first_table_holds_real_images_and_models_with_all_their_numbers(page):
    (table,) = [each for each in page.all("figure", "table") if each.attributes["id"] == "results"]
    rows = [each for body in table.all("tbody") for each in body.all("tr")]
    assert [row.all("th")[0].text for row in rows] == ["Real test images", "AttnGAN", "DM-GAN"]
    for row in rows:
        assert len(row.all("a", "number")) == len(row.all("td")) == 3  # IS, FID, R-precision
    assert page.all("section")[0].all("h2")[0].text == "Results"


def test_a_source_shows_the_protocol_and_links_to_the_file(page):
    source = next(each for each in sources(page).values() if each.all("h3")[0].text == "FID(species) of DM-GAN")
    assert "reference num images 800" in source.text and "feature network species-classifier" in source.text
    (link,) = source.all("a", "file")
    assert (RESULTS / "report" / link.attributes["href"]).resolve() == (RESULTS / "dmgan/seed0/metrics.json").resolve()


@pytest.mark.parametrize("name", ["report", "table2", "comparisons"])
def test_nothing_is_loaded_from_outside(home, name):
    page = parse(read(name))
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for image in page.all("img"):
        assert image.attributes["src"].startswith("data:image/")
    for link in page.all("a"):
        assert not re.match(r"\w+:|//", link.attributes["href"])
    style = page.all("style")[0].text
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in read(name)


def test_anchors_are_unique_and_every_link_within_the_page_has_one(page):
    ids = re.findall(r' id="([^"]+)"', read("report"))
    assert len(ids) == len(set(ids))
    inside = {each.attributes["href"][1:] for each in page.all("a") if each.attributes["href"].startswith("#")}
    assert inside - {"closed"} <= set(ids)  # "closed" is no place: its link closes a source without scrolling


def test_every_figure_has_its_alt_text(page):
    images = page.all("img")
    assert len(images) == len(FIGURES)
    for name, image in zip(FIGURES, images, strict=True):
        assert image.attributes["alt"] == CATALOGUE[name].alt_text("synthbirds", ["dmgan", "attngan"])
        assert (image.attributes["width"], image.attributes["height"]) == ("90", "60")


def test_methods_failures_and_references_are_said(page):
    said = {each.all("h2")[0].text: each.text for each in page.all("section") if each.all("h2")}
    methods = said["Methods"]
    assert "2,700 training images of 450 classes and 900 test images of 150 classes" in methods
    assert "8 epochs, batches of 12, Adam with learning rates 0.0008 (generator) and 0.001 (discriminators)" in methods
    assert "2,000 images for captions of the test split, drawn with seed 100" in methods
    assert "Trained on cpu, 1 process, float32" in methods and "torch 2.14.1" in methods
    assert "Run time of all jobs together: 13 min (1 job)." in methods  # not those of another data set, synthbirds-64
    assert "AttnGAN: diversity(species) is 0.04" in said["Failures"]
    assert "A control that should lose ranks before a model: Noise" in said["Failures"]
    assert "@inproceedings{zhu2019dmgan" in said["References"] and "xu2018attngan" in said["References"]
    assert "train synthbirds-dmgan-seed0" in said["Reproducibility"] and "c0ffee" in said["Reproducibility"]
    assert "altered" not in said["Reproducibility"].split("Verification")[1].split(".")[0]


def test_the_methods_of_a_set_without_classes_name_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_report(make_results(classes=None))
    assert "2,700 training images and 900 test images, 36,000 captions" in read("report")


def test_the_pdf_has_pages(home):
    pdf = (RESULTS / "report" / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    if shutil.which("pdfinfo") is None:
        pytest.skip("pdfinfo is missing")
    told = subprocess.run(["pdfinfo", RESULTS / "report" / "report.pdf"], capture_output=True, text=True, check=True)
    assert int(re.search(r"Pages: +(\d+)", told.stdout).group(1)) >= 5
    assert "Text-to-image GANs on synthbirds" in told.stdout


def test_a_hand_edited_value_is_said_where_it_stands(made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    edit_metric(RESULTS / "dmgan/seed0/metrics.json", "FID(species)", 12.0)
    files = [str(path) for path in sorted(RESULTS.glob("*/*/metrics.json"))]
    assert main(["report", "--metrics", *files, "--results", str(RESULTS), "--out", str(RESULTS / "report")]) == 0
    page = parse(read("report"))
    marked = [each for each in page.all("a", "number") if "altered" in each.attributes["class"]]
    assert any(each.text == "12.00 ± 0.40" for each in marked)
    of_file = [
        facts(each) for each in sources(page).values() if facts(each)["file"].endswith("dmgan/seed0/metrics.json")
    ]
    assert all(each["checked"].startswith("does not match its run: its content is not the one") for each in of_file)
    warning = page.all("header")[0].all("div", "warning")[0].text
    assert "results/synthbirds/dmgan/seed0/metrics.json: its content is not the one that was written" in warning
    assert "FID(species): its value 12 is not the one that was computed, 20" in warning
    others = [facts(each) for each in sources(page).values() if "attngan" in facts(each)["file"]]
    assert others and all(each["checked"] == "matches its run" for each in others)


def test_files_of_another_kind_are_refused_by_one_line(home, capsys):
    assert main(["report", "--metrics", "results/synthbirds/dmgan/seed0/metrics.json", "--results", "nowhere",
                 "--out", "out"]) == 1  # fmt: skip
    assert "nowhere: is not a folder; give the results of a data set" in capsys.readouterr().err


def test_text_is_escaped():
    page = Page("<b>", "", (Section("a", "A & B", (Paragraph("<script>"),)),), ())
    assert "<script>" not in to_html(page) and escape("A & B") in to_html(page)


def test_a_large_figure_is_reduced_until_it_fits(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(400, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 700_000
    image, kind, size = encode(tmp_path / "noise.png", 60_000)
    assert len(image) <= 60_000 and kind == "webp" and size[0] / size[1] == 1.5
    whole, kind, size = encode(tmp_path / "noise.png", 4_000_000)
    assert (kind, size) == ("png", (600, 400)) and whole == (tmp_path / "noise.png").read_bytes()


def test_the_page_fits_a_screen_of_400_px(home, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is missing")
    html = re.sub(r"<meta http-equiv[^>]*>", "", read("report"))
    frame = f'<iframe id="frame" style="border:0" width="400" height="900" srcdoc="{escape(html)}"></iframe>'
    report = "document.body.dataset.widths = [root.scrollWidth, root.clientWidth]"
    script = f"<script>onload = () => {{ const root = frame.contentDocument.documentElement; {report} }}</script>"
    (tmp_path / "frame.html").write_text(f"<!doctype html><body>{frame}{script}</body>", encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom"]  # fmt: skip
    command = [chromium, *flags, (tmp_path / "frame.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    scroll, client = map(int, re.search(r'data-widths="(\d+),(\d+)"', shown).groups())
    assert scroll <= client <= 400
    assert Path(RESULTS / "report" / "report.html").stat().st_size < 15_000_000


def test_every_table_has_a_page_of_its_own(home):
    for name in ("results", "table1", "table2", "mdsp-table1", "measures", "comparisons", "controls"):
        page = parse(read(name))
        assert len(page.all("figure", "table")) == 1
        for number in page.all("a", "number"):
            assert number.attributes["href"].removeprefix("#") in sources(page)
    assert TRAINING in read("comparisons")
