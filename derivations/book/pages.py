"""What can be wrong with finished pages, read off their HTML: links, alternative texts, the network, mathematics left raw."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADING = {"img": "src", "script": "src", "source": "src", "iframe": "src", "link": "href"}
_RAW = re.compile(r"\$\$|(?<!\\)\$[^$\s][^$]*\$|\\(?:tag|frac|operatorname|mathcal|begin)(?![a-z])")
_QUIET = {"script", "style", "annotation", "pre", "code"}  # where a dollar or a backslash is meant


class Page(HTMLParser):
    """The places, links, pictures and the text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.places, self.links, self.loads, self.silent, self.text = {"", "top"}, [], [], [], []
        self._quiet = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note what a tag names, leads to, loads."""
        given = dict(attributes)
        self.places |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(_LOADING.get(tag)):
            self.loads.append(given[_LOADING[tag]])
        if tag == "img" and not (given.get("alt") or "").strip():
            self.silent.append(given.get("src", ""))
        if tag in _QUIET:
            self._quiet.append(tag)

    def handle_endtag(self, tag):
        """Leave what is quiet."""
        if self._quiet and self._quiet[-1] == tag:
            self._quiet.pop()

    def handle_data(self, data):
        """Note text that a reader sees."""
        if not self._quiet:
            self.text.append(data)


def _is_outside(load: str) -> bool:
    parts = urlsplit(load)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _leads_nowhere(link: str, page: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target not in pages:
        return not target.is_file()
    return unquote(parts.fragment) not in pages[target].places


def faults(book: Path) -> list[str]:
    """Everything wrong, a line a fault."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(book.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(book.resolve()).as_posix()
        found += [f"{name}: loads {load} from a network" for load in page.loads if _is_outside(load)]
        found += [f"{name}: {link} leads nowhere" for link in dict.fromkeys(page.links + page.loads)
                  if not (urlsplit(link).scheme or _is_outside(link)) and _leads_nowhere(link, path, pages)]
        found += [f"{name}: no alternative text for {source}" for source in page.silent]
        found += [f"{name}: raw mathematics: {raw.group()[:60]}" for raw in _RAW.finditer("".join(page.text))]
    styles = {path: path.read_text(encoding="utf-8") for path in sorted(book.rglob("*.css"))}
    return found + [f"{path.name}: loads {url} from a network" for path, text in styles.items()
                    for url in re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]*)", text)]
