"""From each labelled equation of the notebooks to the function that implements it and the test that holds it, and back.

Back is easy: a docstring says `Eq. (label)`, and a label stands in one notebook only. Forth is a table in the notebook's last
cell, read off those docstrings after a notebook, a function or a test has changed by

    python -m tests.equations derivations/02_likelihoods.ipynb ...

Written by hand is only the line of lemmas, equations that no function implements: `**Lemmas:** (label), (label).`; the command
keeps it. A notebook without a map gets one, in which every equation that no docstring cites is a lemma: look whether it is.
The tests want what a table says to be true and every equation to lead somewhere; a table may lag behind further citations.

No display stands without an address. One that is no result of its own is a step towards one, \\tag{label, step 2}: it leads where
(label) leads, and the check of (label) executes what the steps arrive at. The command makes a step towards the next equation of
every display that has no tag: look whether that is where it leads.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
TITLE = "## From equation to code and test"
HEAD = (
    "Read off the docstrings, where functions and tests cite `Eq. (label)`, by `python -m tests.equations`; "
    "the tests hold it against them. Lemmas are used in the text, and no function implements them; "
    "where no test of the package holds one either, the check below it does. "
    "A display tagged (label, step i) is a step of the derivation of (label), and leads where that leads."
)
LEMMA, CHECK = "lemma", "the check in this notebook"
_LABEL = r"\([a-z0-9-]+\)"
TAG = r"\\tag\{[^}]*\}"
_OTHER_DISPLAYS = r"\\\[|\\begin\{(?:equation|align|gather|multline|eqnarray)\*?\}"
_CITATION = re.compile(rf"Eqs?\.\s+({_LABEL}(?:(?:,|,?\s+and)\s+{_LABEL})*)")

Places = dict[str, list[tuple[str, str]]]  # label: [(file, name of the citing object)]


def cited(text: str) -> list[str]:
    """The labels in `Eq. (a)` and `Eqs. (a), (b) and (c)`."""
    return [label for group in _CITATION.findall(text) for label in re.findall(r"\(([^)]*)\)", group)]


def docstrings(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of a module, whose name is empty, and of everything defined in it."""
    yield prefix, ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield from docstrings(node, f"{prefix}.{node.name}" if prefix else node.name)


def citations(root: Path, pattern: str, base: Path = REPOSITORY) -> Places:
    """Every label in a docstring of the files below root that match the pattern, with where it is cited."""
    places: Places = {}
    for path in sorted(root.rglob(pattern)):
        for name, text in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            for label in dict.fromkeys(cited(text)):
                places.setdefault(label, []).append((path.relative_to(base).as_posix(), name))
    return places


def unused(path: Path, name: str) -> bool:
    """Whether a function of a test file is neither a test nor mentioned anywhere else in the file."""
    function = name.split(".")[-1]
    mentions = re.findall(rf"\b{function}\b", path.read_text(encoding="utf-8"))
    return bool(name) and not function.startswith("test_") and len(mentions) < 2


def in_code() -> Places:
    """Labels cited by the package."""
    return citations(REPOSITORY / "refbnn", "*.py")


def in_tests() -> Places:
    """Labels cited by the tests."""
    return citations(REPOSITORY / "tests", "test_*.py")


# -- notebooks --------------------------------------------------------------------------------------------------------------


def read(path: Path) -> dict:
    """A notebook as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def text_of(notebook: dict) -> str:
    """The text of all cells that are not code."""
    return "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")


def tags(notebook: dict) -> list[str]:
    """The labels of the equations, in order; steps are none."""
    return [tag for tag in re.findall(r"\\tag\{([^}]*)\}", text_of(notebook)) if ", step " not in tag]


def steps(notebook: dict) -> dict[str, list[str]]:
    """For every label that has steps their numbers, in order."""
    found = {}
    for label, number in re.findall(r"\\tag\{([^},]*), step ([^}]*)\}", text_of(notebook)):
        found.setdefault(label, []).append(number)
    return found


def faults_of_displays(notebook: dict) -> list[str]:
    """Displayed equations without an address: no tag, a step of nothing, steps that are not numbered 1, 2, ... in order."""
    text = text_of(notebook)
    inside = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    outside = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    found = [f"a display has {len(re.findall(TAG, display))} tags: {' '.join(display.split())[:60]}"
             for display in inside if len(re.findall(TAG, display)) != 1]
    found += [f"a display not between $$: {other}" for other in re.findall(_OTHER_DISPLAYS, outside)]
    for label, numbers in steps(notebook).items():
        if label not in tags(notebook):
            found.append(f"steps towards {label}, which is no equation")
        if numbers != [str(i + 1) for i in range(len(numbers))]:
            found.append(f"steps towards {label} are numbered {', '.join(numbers)}")
    return found


def map_of(notebook: dict) -> str | None:
    """The text of the last cell if it is a map."""
    text = source(notebook["cells"][-1]) if notebook["cells"] else ""
    return text if _lemma_line(text) else None


def lemmas(notebook: dict) -> list[str]:
    """The labels that the map names as lemmas."""
    return re.findall(r"\(([^)]*)\)", _lemma_line(map_of(notebook) or "").partition("**Lemmas:**")[2])


def generated(notebook: dict, code: Places, tests: Places) -> str:
    """The map as it should be: the line of lemmas as it stands, then a row an equation."""
    rows = [
        f"| ({tag}) | {_links(code.get(tag, []), LEMMA)} | {_links(tests.get(tag, []), CHECK)} |"
        for tag in tags(notebook)
    ]
    line = _lemma_line(map_of(notebook) or "**Lemmas:** none.")
    return "\n".join([TITLE, "", HEAD, "", line, "", "| equation | function | test |", "|---|---|---|", *rows])


def faults_of_map(notebook: dict, code: Places, tests: Places) -> list[str]:
    """Equations that lead nowhere, lemmas that are none, and rows that the docstrings do not bear out."""
    known, named = tags(notebook), lemmas(notebook)
    found = [f"{tag}: no docstring of refbnn cites it, and it is not named a lemma"
             for tag in known if tag not in code and tag not in named]
    found += [f"{tag}: named a lemma, but cited by {code[tag][0]}" for tag in named if tag in code]
    found += [f"{tag}: named a lemma, but no equation" for tag in named if tag not in known]
    found += [f"{tag}: no test cites what {code[tag][0]} implements" for tag in known if tag in code and tag not in tests]
    stands, right = _rows(map_of(notebook) or ""), _rows(generated(notebook, code, tests))
    return found + [f"{tag}: its row is not what the docstrings say: run python -m tests.equations"
                    for tag in known if not _is_true(stands.get(tag, [set(), set()]), right[tag])]


def tag_steps(notebook: dict) -> None:
    """Make every display without a tag a step towards the next equation, in place."""
    counts = {label: len(numbers) for label, numbers in steps(notebook).items()}
    to_come = tags(notebook)
    for cell in notebook["cells"]:
        pieces = source(cell).split("$$")
        if cell["cell_type"] == "markdown" and len(pieces) % 2:
            for place in range(1, len(pieces), 2):
                tag = re.search(TAG, pieces[place])
                if tag is None and to_come:
                    counts[to_come[0]] = counts.get(to_come[0], 0) + 1
                    pieces[place] += rf" \tag{{{to_come[0]}, step {counts[to_come[0]]}}}"
                elif tag and tag.group()[5:-1] in to_come[:1]:
                    to_come.pop(0)
            cell["source"] = "$$".join(pieces).splitlines(keepends=True)


def update(path: Path, code: Places, tests: Places) -> None:
    """Write the map into the last cell of a notebook and tag its steps; the format of the file stays as it is."""
    notebook = read(path)
    tag_steps(notebook)
    if map_of(notebook) is None:
        names = [f"({tag})" for tag in tags(notebook) if tag not in code]
        line = f"**Lemmas:** {', '.join(names) or 'none'}."
        notebook["cells"].append({"cell_type": "markdown", "id": "equations", "metadata": {}, "source": [line]})
    notebook["cells"][-1]["source"] = generated(notebook, code, tests).splitlines(keepends=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _lemma_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.startswith("**Lemmas:**")), "")


def _rows(text: str) -> dict[str, list[set[str]]]:
    """For every label of a table the functions and the tests in its row."""
    rows = re.findall(r"^\| \(([^)]*)\) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    return {tag: [set(cell.split("<br>")) for cell in cells] for tag, *cells in rows}


def _is_true(row: list[set[str]], right: list[set[str]]) -> bool:
    """Whether a row names functions and tests, and only such as cite the equation."""
    functions, tests = row
    return bool(functions and tests) and functions <= right[0] and tests <= right[1] | {CHECK}


def _links(places: list[tuple[str, str]], otherwise: str) -> str:
    return "<br>".join(f"[{_name(file, name)}](../{file})" for file, name in places) or otherwise


def _name(file: str, name: str) -> str:
    module = file.removeprefix("refbnn/").removesuffix(".py").replace("/", ".")
    return f"`{name}`" if file.startswith("tests/") and name else f"`{module}{'.' * bool(name)}{name}`"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        update(Path(argument), in_code(), in_tests())
        print("\n".join(f"{argument}: {fault}" for fault in faults_of_map(read(Path(argument)), in_code(), in_tests())))
