"""Pages of source code, so that the book leads to the function and to the test without a network."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_PAGE = """---
orphan: true
nosearch: true
---

# {name}

```{{raw}} html
{code}
```
"""
_LINK = re.compile(r"\[`([^`\]]*)`\]\(\.\./((?:refbnn|tests)/[^)#]*\.py)\)")


def line_of(text: str, name: str) -> int:
    """The line where the last part of a dotted name is defined, 1 where nothing of that name is."""
    *within, last = name.split(".")
    body = ast.parse(text).body
    for part in within:
        inner = [node.body for node in body if getattr(node, "name", None) == part]
        body = inner[0] if inner else body  # parts that are modules open nothing
    return next((node.lineno for node in body if getattr(node, "name", None) == last), 1)


def redirected(text: str, repository: Path) -> tuple[str, set[str]]:
    """Links to source files as links to their pages, and the files that they lead to."""
    files = set()

    def address(link: re.Match) -> str:
        name, file = link.groups()
        files.add(file)
        line = line_of((repository / file).read_text(encoding="utf-8"), name)
        return f"[`{name}`](code:{file}#line-{line})"

    return _LINK.sub(address, text), files


def page(file: str, repository: Path) -> str:
    """The page of one source file, Markdown for Sphinx."""
    text = (repository / file).read_text(encoding="utf-8")
    form = HtmlFormatter(lineanchors="line", anchorlinenos=True, linenos="inline")
    return _PAGE.format(name=file, code=highlight(text, PythonLexer(), form).replace("\n\n", "\n&#8203;\n"))
