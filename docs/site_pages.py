"""Pages of the documentation site that are not in docs/: README files, and pages of packages from their docstrings.

A hook of mkdocs (mkdocs.yml). Links are written for a reader of the repository; this hook rewrites them for the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {  # file of the repository: page of the site
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "baselines/README.md": "baselines.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/reliability.md": "reliability.md",
    "results/README.md": "results-folder.md",
    "workflow/config/README.md": "configuration.md",
}
PICTURES = "benchmarks/results"  # of benchmarks/README.md
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_INTERVAL = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]")


def packages() -> list[str]:
    """Return the names with a page of their own: the Python interface, the packages of dmgan/, and baselines."""
    return ["dmgan.api", *sorted(f"dmgan.{path.parent.name}" for path in ROOT.glob("dmgan/*/__init__.py")), "baselines"]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the packages to the navigation."""
    config.nav.append({"Code": [{name: f"code/{name}.md"} for name in packages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the pictures that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / PICTURES).glob("*.png")):
        files.append(File.generated(config, f"{PICTURES}/{path.name}", abs_src_path=str(path)))
    for name in packages():
        files.append(File.generated(config, f"code/{name}.md", content=f"# {name}\n\n::: {name}\n"))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrite the links of a page for the site, and keep intervals such as [6.81, 7.31] on one line."""
    sources = {target: source for source, target in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = _LINK.sub(lambda match: site_link(source, *match.groups()), markdown)
    return _INTERVAL.sub(r"[\1,&nbsp;\2]", markdown)


def site_link(source: str, picture: str, text: str, target: str) -> str:
    """Return a Markdown link of the repository's file `source` as the site has it.

    picture: "!" or "". A link to a file that is not on the site becomes its text; a link to no file stays as it is.
    """
    path, _, anchor = target.partition("#")
    if "://" in target or not path:
        return f"{picture}[{text}]({target})"
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if file in PAGES:
        place = PAGES[file]
    elif file.startswith("docs/"):
        place = file.removeprefix("docs/")
    elif file.startswith(f"{PICTURES}/") and file.endswith(".png"):
        place = file
    elif (ROOT / file).exists():
        return text
    else:
        return f"{picture}[{text}]({target})"
    return f"{picture}[{text}]({place}{f'#{anchor}' if anchor else ''})"
