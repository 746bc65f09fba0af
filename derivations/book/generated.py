"""What is stored but follows from the notebooks: `python -m derivations.book.generated` writes it, a test holds it true.

    derivations/README.md       its table of chapters: titles, and what each presupposes
    derivations/EQUATIONS.md    the maps at the ends of the notebooks, together
    derivations/answer.png      the figure of a notebook that the README of the project shows
    the notebooks               the alternative text of every figure, from the caption below it
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from derivations.book.sources import caption, chapters, draws

REPOSITORY = Path(__file__).parents[2]
_CHAPTERS = re.compile(r"(<!-- chapters -->\n).*?(<!-- end of chapters -->)", re.DOTALL)
PICTURES = {"answer.png": ("14_how_the_model_fails.ipynb", "answer-figure")}  # file: (notebook, id of the cell that draws it)
_SYMBOLS = {
    "theta": "θ", "lambda": "λ", "Lambda": "Λ", "sigma": "σ", "Sigma": "Σ", "beta": "β", "eta": "η", "mu": "μ", "nu": "ν",
    "alpha": "α", "tau": "τ", "rho": "ρ", "pi": "π", "varepsilon": "ε", "delta": "δ", "Delta": "Δ", "varphi": "φ", "Phi": "Φ",
    "gamma": "γ", "kappa": "κ", "omega": "ω", "ell": "ℓ", "sum": "Σ", "nabla": "∇", "partial": "∂", "sqrt": "√", "top": "T",
    "ast": "*", "star": "*", "infty": "∞", "cdot": "·", "times": "×", "pm": "±", "mid": "|", "le": "≤", "ge": "≥", "lt": "<",
    "gt": ">", "approx": "≈", "to": "→", "|": "‖", "lVert": "‖", "rVert": "‖", "Vert": "‖", ",": " ", ";": " ",
}
HEAD = """# From equation to code and test

Every displayed result of the notebooks has a label, (ggn) for instance. The code cell below it executes it; docstrings and tests
cite it as `Eq. (ggn)`. Here are the tables at the ends of the notebooks together: {equations} equations, {implemented} of them
implemented by a function of the package. Lemmas are used in the text, and no function implements them; where no test of the
package holds one either, the check in the notebook does. Written by `python -m derivations.book.generated`.
"""


# -- what a notebook says ---------------------------------------------------------------------------------------------------


def prose(notebook: dict) -> list[str]:
    """The cells that are not code."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def title(notebook: dict) -> str:
    """The title, with the number of the chapter."""
    return re.match(r"# (.*)", prose(notebook)[0]).group(1)


def presupposed(notebook: dict) -> str:
    """What a notebook presupposes, in one line; empty where it does not say."""
    found = re.search(r"^\*\*Presupposed\.\*\* (.*?)(?:\n\s*\n|\Z)", prose(notebook)[0], re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def rows(notebook: dict) -> list[str]:
    """The rows of the map at the end."""
    return [line for line in prose(notebook)[-1].splitlines() if line.startswith("| (")]


# -- what follows -----------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Markdown with mathematics as text that can be read aloud."""
    def formula(found: re.Match) -> str:
        spoken = re.sub(r"\\(?:mathsf|mathcal|mathbb|mathrm|operatorname|text|[bB]igg?[lr]?)\b\s*", "", found.group(1))
        spoken = re.sub(r"\\([A-Za-z]+|[|,;])\s?", lambda name: _SYMBOLS.get(name.group(1), f" {name.group(1)} "), spoken)
        return re.sub(r"[{}]", "", re.sub(r"([_^])\{([^}]*)\}", r"\1\2 ", spoken)).replace(" (", "(")

    return " ".join(re.sub(r"[*`]", "", re.sub(r"\$([^$]*)\$", formula, text)).split())


def alternatives(notebook: dict) -> list[str]:
    """For every cell the alternative text of its figure, by the caption above or below it; empty where there is none."""
    found, cells, used = [], notebook["cells"], set()
    for before, cell, after in zip([{"source": []}, *cells], cells, [*cells[1:], {"source": []}]):
        near = [words for words in (caption(before), caption(after)) if draws(cell) and words and words.group(1) not in used]
        used |= {words.group(1) for words in near[:1]}
        found.append(f"Figure {near[0].group(1)}: {plain(near[0].group(2))} The text beside it describes it." if near else "")
    return found


def table_of_chapters(notebooks: dict[str, dict]) -> str:
    """The reading order, {name of file: notebook}."""
    lines = [f"| [{title(notebook)}]({name}) | {presupposed(notebook)} |" for name, notebook in notebooks.items()]
    return "\n".join(["", "| chapter | presupposes |", "|---|---|", *lines, ""])


def map_of_equations(notebooks: dict[str, dict]) -> str:
    """The maps of all notebooks, one after the other."""
    known = [row for notebook in notebooks.values() for row in rows(notebook)]
    text = HEAD.format(equations=len(known), implemented=sum("| lemma |" not in row for row in known))
    for name, notebook in notebooks.items():
        head = [f"\n## [{title(notebook)}]({name})", "", "| equation | function | test |", "|---|---|---|"]
        text += "\n".join([*head, *rows(notebook), ""])
    return text


def with_chapters(readme: str, notebooks: dict[str, dict]) -> str:
    """The index with its table written anew."""
    table = table_of_chapters(notebooks)
    return _CHAPTERS.sub(lambda found: found.group(1) + table + found.group(2), readme)


def pictures(notebooks: dict[str, dict]) -> dict[str, bytes]:
    """The figures that are files too, {name of file: its bytes}."""
    return {file: base64.b64decode("".join(output["data"]["image/png"]))
            for file, (name, identity) in PICTURES.items() if name in notebooks
            for cell in notebooks[name]["cells"] if cell.get("id") == identity
            for output in cell["outputs"] if "image/png" in output.get("data", {})}


# -- the command ------------------------------------------------------------------------------------------------------------


def read(folder: Path) -> dict[str, dict]:
    """All notebooks in reading order."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in chapters(folder.parent)}


def stale(folder: Path = REPOSITORY / "derivations") -> list[str]:
    """What is stored but no longer follows from the notebooks."""
    notebooks, readme = read(folder), (folder / "README.md").read_text(encoding="utf-8")
    found = ["README.md"] if with_chapters(readme, notebooks) != readme else []
    found += ["EQUATIONS.md"] if map_of_equations(notebooks) != (folder / "EQUATIONS.md").read_text(encoding="utf-8") else []
    found += [file for file, drawn in pictures(notebooks).items()
              if not (folder / file).exists() or (folder / file).read_bytes() != drawn]
    return found + [name for name, notebook in notebooks.items()
                    if alternatives(notebook) != [cell["metadata"].get("alt", "") for cell in notebook["cells"]]]


def update(folder: Path = REPOSITORY / "derivations") -> None:
    """Write it all anew."""
    notebooks = read(folder)
    for name, notebook in notebooks.items():
        for cell, text in zip(notebook["cells"], alternatives(notebook)):
            cell["metadata"].pop("alt", None)
            cell["metadata"] |= {"alt": text} if text else {}
        (folder / name).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for file, drawn in pictures(notebooks).items():
        (folder / file).write_bytes(drawn)
    readme = folder / "README.md"
    readme.write_text(with_chapters(readme.read_text(encoding="utf-8"), notebooks), encoding="utf-8")
    (folder / "EQUATIONS.md").write_text(map_of_equations(notebooks), encoding="utf-8")


if __name__ == "__main__":
    update()
