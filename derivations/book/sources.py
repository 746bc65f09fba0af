"""From the repository to the sources that Sphinx reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

from derivations.book import listings

_CAPTION = re.compile(r"\*\*Figure ([0-9]+b?\.[0-9]+)\.\*\*(.*?)\*Description:\*", re.DOTALL)
_TOC = """

```{{toctree}}
:hidden:
:caption: {caption}

{names}
```
"""


def chapters(repository: Path) -> list[Path]:
    """The notebooks in reading order, which is that of their names."""
    return sorted((repository / "derivations").glob("*.ipynb"))


def caption(cell: dict) -> re.Match | None:
    """The number and the caption, if a cell has those of a figure."""
    return _CAPTION.search("".join(cell["source"]))


def draws(cell: dict) -> bool:
    """Whether the stored output of a cell holds a picture."""
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def with_alternative_texts(notebook: dict) -> dict:
    """The notebook with the alternative texts of its cells where MyST-NB looks for them."""
    for cell in notebook["cells"]:
        if draws(cell) and cell["metadata"].get("alt"):
            cell["metadata"]["mystnb"] = {"image": {"alt": cell["metadata"]["alt"]}}
    return notebook


def page_of(path: Path, repository: Path) -> tuple[dict, set[str]]:
    """A notebook as Sphinx is to read it, and the source files that it leads to."""
    notebook, files = json.loads(path.read_text(encoding="utf-8")), set()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text, found = listings.redirected("".join(cell["source"]), repository)
            cell["source"] = text.splitlines(keepends=True)
            files |= found
    return with_alternative_texts(notebook), files


def write(notebooks: list[Path], repository: Path, folder: Path) -> None:
    """Write everything that Sphinx reads into a new folder."""
    folder.mkdir(parents=True)
    files = set()
    for path in notebooks:
        notebook, found = page_of(path, repository)
        (folder / path.name).write_text(json.dumps(notebook), encoding="utf-8")
        files |= found
    start = notebooks[0].parent
    contents = _TOC.format(caption="Chapters", names="\n".join(path.stem for path in notebooks))
    contents += _TOC.format(caption="Appendix", names="EQUATIONS")
    for name, end, further in (("index", contents, "README"), ("EQUATIONS", "", "EQUATIONS")):
        text, found = listings.redirected((start / f"{further}.md").read_text(encoding="utf-8"), repository)
        (folder / f"{name}.md").write_text(text + end, encoding="utf-8")
        files |= found
    for file in sorted(files):
        target = folder / "code" / f"{file}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(listings.page(file, repository), encoding="utf-8")
