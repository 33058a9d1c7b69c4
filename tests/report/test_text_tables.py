"""Tables of sentences: characters of the sentences are neither Markdown nor LaTeX."""

from dmgan.report.tables.text_tables import TextColumn, TextTable, to_latex, to_markdown

SENTENCE = "r_new = o*g + r*(1-g), p(y|x) & 5 % ≠ 4 %"
TABLE = TextTable("Claims", "One claim.", (TextColumn("Claim", 0.5), TextColumn("Result", 0.5)), [(SENTENCE, "holds")])


def test_markdown_shows_the_characters_of_a_sentence():
    lines = to_markdown(TABLE).splitlines()
    assert lines[:4] == ["**Claims.** One claim.", "", "| Claim | Result |", "| --- | --- |"]
    assert lines[4].startswith(r"| r_new = o\*g + r\*(1-g), p(y\|x) ") and lines[4].endswith(" | holds |")
    assert "- A note\\*." in to_markdown(TABLE._replace(notes=["A note*."])).splitlines()


def test_latex_shows_the_characters_of_a_sentence():
    text = to_latex(TABLE._replace(notes=['A "note".']), "claims")
    assert r"  r\_new = o*g + r*(1-g), p(y" in text and r"\& 5 \% $\neq$ 4 \% & holds \\ \addlinespace" in text
    assert "\nA ``note''.\\par\n" in text
