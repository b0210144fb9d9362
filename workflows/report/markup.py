"""HTML that escapes by construction: text from a take can only enter as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

VOID_TAGS = {"img", "input", "meta", "br"}


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already."""

    html: str
    """As it goes into the page."""


Child = str | Markup | None


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """One element. Plain strings and attribute values are escaped; None is left out.

    Attribute names lose a trailing underscore, other underscores become hyphens: `class_="card"`, `data_name=...`.
    """
    head = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            head.append(name)
        elif value is not None and value is not False:
            head.append(f'{name}="{escape(str(value), quote=True)}"')
    opening = f"<{' '.join(head)}>"
    return Markup(opening if tag in VOID_TAGS else f"{opening}{join(children).html}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other."""
    parts = (child.html if isinstance(child, Markup) else escape(child) for child in children if child is not None)
    return Markup("".join(parts))


def table(headings: Iterable[str], rows: Iterable[Iterable[Child]], class_: str | None = None) -> Markup:
    """A table that scrolls by itself where the page is narrow."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    inner = element("table", element("thead", head), element("tbody", *body), class_=class_)
    return element("div", inner, class_="scroll")


def counted(count: int, noun: str) -> str:
    """A number and its noun: "1 frame", "8 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def sentence(text: str, command: str | None = None) -> Markup:
    """What is not there, and which command makes it."""
    made_by = () if command is None else (" ", element("code", command), " makes it.")
    return element("p", text, *made_by, class_="absent")
