"""Extension of Sphinx: every equation and every section has an address, and what mentions one leads there.

In the notebooks an equation ends with \\tag{label} and is mentioned as (label); sections begin with their number
and are mentioned as "section 4.2", chapters as "chapter 4". Labels are unique over all notebooks, so that this is enough.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from docutils import nodes
from sphinxcontrib import katex

_TAG = re.compile(r"\\tag\{([^}]*)\}")
_NUMBER = re.compile(r"(\d+b?\.\d+)\s")
_HEADING = re.compile(r"^#+ (\d+b?\.\d+) ", re.MULTILINE)
_MENTION = re.compile(r"\(([a-z0-9-]+)\)|[Cc]hapters?\s(\d+b?)\b(?!\.\d)|[Ss]ections?\s(\d+b?\.\d+)\b")
_OPAQUE = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.reference, nodes.title, nodes.raw)


def equation_id(tag: str) -> str:
    """The address of an equation on its page, of a step as well."""
    return "eq-" + re.sub(r"[^a-z0-9]+", "-", tag)


def targets_of(name: str, text: str) -> dict[str, str]:
    """Everything in a chapter that may be mentioned: {mention: page#address}."""
    found = {f"({tag})": f"{name}#{equation_id(tag)}" for tag in _TAG.findall(text)}
    found |= {f"section {number}": f"{name}#section-{number.replace('.', '-')}" for number in _HEADING.findall(text)}
    return found | {f"chapter {name.split('_')[0].lstrip('0')}": name}


def markdown(path: Path) -> str:
    """The prose of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def collect(app) -> None:
    """Before anything is read: what may be mentioned, where fonts are, which Node.js sets the mathematics."""
    source = Path(app.srcdir)
    app.targets = {}
    for path in sorted(source.glob("*.ipynb")):
        app.targets |= targets_of(path.stem, markdown(path))
    app.config.html_static_path.append(str(source / "static"))
    katex.NODEJS_BINARY = app.config.katex_node


def mention(found: re.Match) -> str:
    """The key in `targets_of` of something mentioned."""
    label, chapter, section = found.groups()
    return f"({label})" if label else f"chapter {chapter}" if chapter else f"section {section}"


def elsewhere(text: str) -> bool:
    """Whether what follows a text is a chapter or section of a cited work: right after its year."""
    return bool(re.search(r"\b(?:(?:19|20)\d\d[a-z]?|PRML)[),]*\s+$", text))


def pieces(text: str, uri) -> list[nodes.Node]:
    """Text cut into plain stretches and links; uri(key) is None where nothing of that name exists."""
    found, done = [], 0
    for match in _MENTION.finditer(text):
        target = None if elsewhere(text[:match.start()]) else uri(mention(match))
        if target is not None:
            found += [nodes.Text(text[done:match.start()]),
                      nodes.reference("", match.group(), internal=True, refuri=target, classes=["mention"])]
            done = match.end()
    return [*found, nodes.Text(text[done:])]


def address(doctree: nodes.document) -> None:
    """Give the equations and the sections of a page their addresses."""
    for block in doctree.findall(nodes.math_block):
        block["ids"] += [equation_id(tag) for tag in _TAG.findall(block.astext())]
    for section in doctree.findall(nodes.section):
        number = _NUMBER.match(section.next_node(nodes.title).astext())
        if number:
            section["ids"].append(f"section-{number.group(1).replace('.', '-')}")


def opaque(node: nodes.Node | None) -> bool:
    """Whether text in a node is to stay as it is: code, formulas, links, titles, and lists of sources, which cite other books."""
    if node is None:
        return False
    cites = isinstance(node, nodes.section) and node.next_node(nodes.title).astext() == "Sources"
    return cites or isinstance(node, _OPAQUE) or opaque(node.parent)


def connect(app, doctree: nodes.document, page: str) -> None:
    """Addresses and links of one page."""
    address(doctree)

    def uri(key: str) -> str | None:
        target, _, anchor = app.targets.get(key, "").partition("#")
        return app.builder.get_relative_uri(page, target) + (anchor and f"#{anchor}") if target else None

    for text in list(doctree.findall(nodes.Text)):
        if not opaque(text.parent):
            text.parent.replace(text, pieces(text.astext(), uri))


def setup(app) -> dict:
    """Called by Sphinx."""
    app.add_config_value("katex_node", "node", "env")
    app.connect("builder-inited", collect, priority=100)
    app.connect("doctree-resolved", connect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
