"""A page as the standard library's HTML parser sees it: elements with attributes and text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    children: list[Element] = field(default_factory=list)
    pieces: list[str | Element] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def text(self) -> str:
        parts = [p if isinstance(p, str) else p.text for p in self.pieces]
        return " ".join(" ".join(parts).replace("\xa0", " ").split())

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items()}
        return [
            e
            for e in self.walk()
            if e.tag == tag and all(e.attributes.get(k) == v for k, v in wanted.items())
        ]

    def rows(self) -> list[list[str]]:
        """Texts of a table's body cells."""
        return [[cell.text for cell in row.all("td")] for row in self.all("tr") if row.all("td")]


class Page(HTMLParser):
    """The parsed page; unbalanced tags fail."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.root = Element("document", {})
        self._open = self.root

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls(html)
        page.feed(html)
        page.close()
        assert page._open is page.root, f"<{page._open.tag}> is not closed"
        return page

    def section(self, name: str) -> Element:
        return next(e for e in self.root.walk() if e.attributes.get("id") == name)

    def has_section(self, name: str) -> bool:
        return any(e.attributes.get("id") == name for e in self.root.walk())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = self._add(tag, attrs)
        if tag not in VOID:
            self._open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.tag == tag, f"</{tag}> closes <{self._open.tag}>"
        assert self._open.parent is not None
        self._open = self._open.parent

    def handle_data(self, data: str) -> None:
        self._open.pieces.append(data)

    def _add(self, tag: str, attrs: list[tuple[str, str | None]]) -> Element:
        element = Element(tag, {k: v or "" for k, v in attrs}, self._open)
        self._open.children.append(element)
        self._open.pieces.append(element)
        return element
