"""A page as a test reads it: its links, images and sources, by html.parser."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "br", "img", "link", "input", "hr"}


@dataclass
class Element:
    """An element with its attributes, children and own text."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: list["Element"] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text below the element."""
        return " ".join("".join([*self.texts, *(f" {each.text}" for each in self.children)]).split())

    def all(self, tag: str, kind: str = "") -> list["Element"]:
        """Return the elements below with this tag and class."""
        found = [] if self.tag != tag or kind not in self.attributes.get("class", "").split() and kind else [self]
        return found + [each for child in self.children for each in child.all(tag, kind)]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.current = Element("", {})

    def handle_starttag(self, tag: str, attrs: list) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.current)
        self.current.children.append(element)
        if tag not in _VOID:
            self.current = element

    def handle_endtag(self, tag: str) -> None:
        assert self.current.tag == tag, f"</{tag}> ends <{self.current.tag}>"
        self.current = self.current.parent

    def handle_data(self, data: str) -> None:
        self.current.texts.append(data)


def parse(html: str) -> Element:
    """Return the page; AssertionError if its elements are not nested."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.current is parser.root
    return parser.root
