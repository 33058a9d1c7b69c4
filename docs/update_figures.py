"""Write docs/figures.md from the table of dmgan/report/figures/catalogue.py: python -m docs.update_figures"""

from pathlib import Path

from dmgan.report.figures.attention import CAPTIONS, NEARLY_UNIFORM
from dmgan.report.figures.catalogue import FIGURES

_PAGE = """# Figures

Made by `python -m docs.update_figures` from the table in `dmgan/report/figures/catalogue.py`.

The workflow draws the figures of every data set into `results/{{dataset}}/figures/`, as PNG and as PDF with text that
can be searched. A figure is drawn if the models that it shows were trained; models that were not run are named in one
line of the figure. Captions and noises are the same in all figures of images: those of the first sampled test images,
drawn at random and not selected. Every model has one colour in all charts and in MLflow, and a line and a mark that no
other model has, so that a chart can be read in grey.

Three subcommands draw them from finished runs; RUN is a run folder:

    python -m dmgan figures --runs RUN RUN ... --data results/data/synthbirds --out figures
    python -m dmgan curves --runs RUN RUN ... --metrics RUN/metrics.json RUN/metrics.json ... --out figures
    python -m dmgan failures --metrics RUN/metrics.json --images RUN/images --data results/data/synthbirds --out figures

`figures --figures NAME ...` draws some of them.

Attention is called nearly uniform if the entropy of its weights is {uniform} or more of the greatest possible entropy:
over the words at a pixel (KVM-GAN as printed: over the pixels of a word), as the mean over pixels and {captions}
captions. Figure 6 and `words` print the value of every refinement.

The last column is the least width in pixels at which all text of a figure can be read on a screen.

| file | figure | content | drawn with | px |
|---|---|---|---|---|
{rows}
"""


def page() -> str:
    """Return the page that lists the figures."""
    rows = [
        f"| `{name}` | {each.heading} | {each.caption_text('the data set')} | {each.drawn_with} | {each.minimum_px} |"
        for name, each in FIGURES.items()
    ]
    return _PAGE.format(rows="\n".join(rows), uniform=NEARLY_UNIFORM, captions=CAPTIONS)


if __name__ == "__main__":
    Path(__file__).with_name("figures.md").write_text(page(), encoding="utf-8")
