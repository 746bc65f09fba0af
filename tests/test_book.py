"""The book of the derivations: what is generated is true, links lead somewhere, and what is wrong with a page is found."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from derivations.book import generated, listings, pages, sources
from tests.equations import REPOSITORY

TOOLS = ("sphinx", "myst_nb", "furo", "sphinxcontrib.katex")


def missing_tools() -> list[str]:
    """What the build needs and this environment lacks."""
    found = [name for name in TOOLS if not importable(name)]
    return found + [program for program in ("node", "npm") if shutil.which(program) is None]


def importable(name: str) -> bool:
    """Whether a module can be imported, without importing it."""
    parent = name.rpartition(".")[0]
    return (not parent or importable(parent)) and importlib.util.find_spec(name) is not None


needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"the extra [book] is not installed: {missing_tools()}")
needs_browser = pytest.mark.skipif(not importable("playwright"), reason="Playwright is not installed")


# -- what is generated ------------------------------------------------------------------------------------------------------


def test_what_is_generated_from_the_notebooks_is_what_is_stored():
    assert generated.stale() == [], "run python -m derivations.book.generated"


CAPTION = "**Figure 1.1.** A line $\\theta\\le2$. *Description:* it rises."


def notebook(title="# 1. One", presupposed="Arithmetic.", caption=CAPTION):
    """A small notebook with one figure and one equation."""
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
    opening = f"{title}\n\nWhat it is about.\n\n**Presupposed.** {presupposed}\n\n**Notation.** None."
    table = "**Lemmas:** none.\n\n| equation | function | test |\n|---|---|---|\n| (one) | lemma | `t` |"
    about = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": about, "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": [opening]},
        {"cell_type": "markdown", "metadata": {}, "source": ["## 1.1 Why\n", caption]},
        {"cell_type": "code", "metadata": {}, "source": ["plot()"], "outputs": [picture], "execution_count": 1},
        {"cell_type": "markdown", "metadata": {}, "source": [table]}]}


@pytest.fixture
def folder(tmp_path):
    """A folder of derivations with two notebooks, everything generated."""
    here = tmp_path / "derivations"
    here.mkdir()
    for name in ("01_one", "02_two"):
        (here / f"{name}.ipynb").write_text(json.dumps(notebook(title=f"# {name[1]}. {name[3:]}")), encoding="utf-8")
    (here / "README.md").write_text("Order:\n\n<!-- chapters -->\n<!-- end of chapters -->\n", encoding="utf-8")
    generated.update(here)
    return here


def test_updating_makes_everything_true(folder):
    assert generated.stale(folder) == []
    readme, equations = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "EQUATIONS.md"))
    assert "| [1. one](01_one.ipynb) | Arithmetic. |\n| [2. two](02_two.ipynb) |" in readme
    assert "2 equations, 0 of them" in equations
    assert "## [2. two](02_two.ipynb)" in equations and "| (one) | lemma | `t` |" in equations


@pytest.mark.parametrize("changed, stale", [
    ({"title": "# 2. Another"}, ["README.md", "EQUATIONS.md"]), ({"presupposed": "Algebra."}, ["README.md"]),
    ({"caption": "**Figure 1.1.** Two lines. *Description:* they rise."}, ["02_two.ipynb"])])
def test_a_notebook_that_moved_on_is_caught(folder, changed, stale):
    moved = notebook(**{"title": "# 2. two"} | changed)
    moved["cells"][2]["metadata"]["alt"] = "Figure 1.1: A line θ≤2. The text beside it describes it."
    (folder / "02_two.ipynb").write_text(json.dumps(moved), encoding="utf-8")
    assert generated.stale(folder) == stale


def test_an_equation_that_the_map_lacks_is_caught(folder):
    more = generated.read(folder)["01_one.ipynb"]
    more["cells"][-1]["source"].append("\n| (two) | lemma | `u` |")
    (folder / "01_one.ipynb").write_text(json.dumps(more), encoding="utf-8")
    assert generated.stale(folder) == ["EQUATIONS.md"]


def test_a_picture_of_the_project_that_is_not_the_notebook_s_is_caught(folder, monkeypatch):
    drawing = generated.read(folder)["01_one.ipynb"]
    drawing["cells"][2]["id"] = "line"
    (folder / "01_one.ipynb").write_text(json.dumps(drawing), encoding="utf-8")
    monkeypatch.setattr(generated, "PICTURES", {"line.png": ("01_one.ipynb", "line"), "other.png": ("09_none.ipynb", "line")})
    assert generated.stale(folder) == ["line.png"]
    generated.update(folder)
    assert generated.stale(folder) == [] and (folder / "line.png").read_bytes().startswith(b"\x89PNG")
    (folder / "line.png").write_bytes(b"another")
    assert generated.stale(folder) == ["line.png"]


def test_a_caption_above_or_below_its_figure_is_found_and_used_once():
    def cell(text):
        return {"cell_type": "markdown", "metadata": {}, "source": [text]}

    figure = notebook()["cells"][2]
    first, second = ("**Figure 1.%d.** Number %d. *Description:* it rises." % (i, i) for i in (1, 2))
    below = [figure, cell(first), figure, cell(second)]
    above = [cell(first), figure, cell(second), figure]
    expected = [f"Figure 1.{i}: Number {i}. The text beside it describes it." for i in (1, 2)]
    for cells in (below, above):
        assert [text for text in generated.alternatives({"cells": cells}) if text] == expected
    assert generated.alternatives({"cells": [figure]}) == [""]


@pytest.mark.parametrize("markdown, spoken", [
    (r"Error against $\log n$, *fast*", "Error against log n, fast"), (r"$p(y\mid\theta)^\beta$", "p(y|θ)^β"),
    (r"$g=\sum_{nk}v_{nk}$ and `ggn`", "g=Σ_nk v_nk and ggn"), (r"$\mathcal L$ of $f=v\tanh(wx)$", "L of f=v tanh(wx)")])
def test_alternative_texts_can_be_read_aloud(markdown, spoken):
    assert generated.plain(markdown) == spoken


# -- sources ----------------------------------------------------------------------------------------------------------------


def test_chapters_are_in_the_order_of_reading():
    names = [path.stem.split("_")[0] for path in sources.chapters(REPOSITORY)]
    assert names[:4] == ["01", "02", "02b", "03"] and names == sorted(names) and names.index("11b") == names.index("11") + 1


def test_a_link_to_a_function_leads_to_its_line():
    text, files = listings.redirected("[`curvature.ggn`](../refbnn/curvature.py)", REPOSITORY)
    line = int(text.rpartition("#line-")[2].rstrip(")"))
    lines = (REPOSITORY / "refbnn/curvature.py").read_text(encoding="utf-8").splitlines()
    assert files == {"refbnn/curvature.py"} and lines[line - 1].startswith("def ggn(")


def test_lines_of_methods_are_those_of_their_class():
    text = "class A:\n    def f(self): ...\n\n\nclass B:\n    def f(self): ...\n"
    assert [listings.line_of(text, name) for name in ("module.A.f", "module.B.f", "B", "module")] == [2, 6, 5, 1]


def test_what_a_notebook_shows_is_written_for_sphinx(folder, tmp_path):
    sources.write(sources.chapters(folder.parent), folder.parent, tmp_path / "source")
    stored = json.loads((tmp_path / "source" / "01_one.ipynb").read_text(encoding="utf-8"))
    assert stored["cells"][2]["metadata"]["mystnb"]["image"]["alt"].startswith("Figure 1.1: A line")
    index = (tmp_path / "source" / "index.md").read_text(encoding="utf-8")
    assert index.index("01_one\n") < index.index("02_two\n") < index.index("EQUATIONS\n")


# -- finished pages ---------------------------------------------------------------------------------------------------------

WHOLE = """<html><head><link href="style.css"><script src="a.js"></script></head><body><h1 id="top">One</h1>
<a href="#top">up</a><a href="two.html#part">there</a><img src="line.png" alt="A line."><pre>cost: $5 or $6, \\frac</pre>
<span class="katex"><annotation>\\frac12</annotation>1/2</span></body></html>"""


@pytest.fixture
def book(tmp_path):
    """Two pages without faults."""
    (tmp_path / "one.html").write_text(WHOLE, encoding="utf-8")
    (tmp_path / "two.html").write_text('<p id="part">Part</p><a href="https://example.org">a source</a>', encoding="utf-8")
    for name in ("style.css", "a.js", "line.png"):
        (tmp_path / name).write_text("", encoding="utf-8")
    return tmp_path


def test_whole_pages_have_no_faults(book):
    assert pages.faults(book) == []


@pytest.mark.parametrize("old, new, fault", [
    ('alt="A line."', "", "one.html: no alternative text for line.png"),
    ('alt="A line."', 'alt=" "', "one.html: no alternative text for line.png"),
    ("two.html#part", "two.html#parts", "one.html: two.html#parts leads nowhere"),
    ("two.html#part", "three.html", "one.html: three.html leads nowhere"),
    ('href="#top"', 'href="#tip"', "one.html: #tip leads nowhere"),
    ("line.png", "lines.png", "one.html: lines.png leads nowhere"),
    ("a.js", "https://cdn.example.org/a.js", "one.html: loads https://cdn.example.org/a.js from a network"),
    ("a.js", "//cdn.example.org/a.js", "one.html: loads //cdn.example.org/a.js from a network"),
    ("there", "there is $x_1$ more", "one.html: raw mathematics: $x_1$"),
    ("there", "see \\frac12", "one.html: raw mathematics: \\frac")])
def test_a_fault_planted_in_a_page_is_caught(book, old, new, fault):
    assert old in WHOLE
    (book / "one.html").write_text(WHOLE.replace(old, new), encoding="utf-8")
    assert fault in pages.faults(book)


def test_a_font_from_a_network_is_caught(book):
    (book / "style.css").write_text('@font-face { src: url("https://fonts.example.org/a.woff2") }', encoding="utf-8")
    assert pages.faults(book) == ["style.css: loads https://fonts.example.org/a.woff2 from a network"]


# -- the tools --------------------------------------------------------------------------------------------------------------


def built(folder: Path, prose: str) -> list[str]:
    """What the build says of a book whose first chapter holds some prose."""
    from derivations.book.__main__ import build

    first = folder / "01_one.ipynb"
    changed = json.loads(first.read_text(encoding="utf-8"))
    changed["cells"][1]["source"].append(f"\n\n{prose}\n")
    first.write_text(json.dumps(changed), encoding="utf-8")
    return build(sources.chapters(folder.parent), folder.parent / "book")


@needs_tools
def test_a_small_book_is_built_with_its_mathematics_set_and_its_links_made(folder):
    prose = "$$1+1=2 \\tag{one}$$\n\nIt follows from (one), see section 1.1, that $\\theta=2$; in 2006, section 1.1 said it."
    assert built(folder, f"{prose}\n\n## Sources\n\n* A book, section 1.1.") == []
    page = (folder.parent / "book" / "01_one.html").read_text(encoding="utf-8")
    assert 'id="eq-one"' in page and '#eq-one">(one)</a>' in page and '#section-1-1">section 1.1</a>' in page
    assert page.count("#section-1-1") == 1  # what the book of 2006 and the sources mention is not ours
    assert 'id="section-1-1"' in page and 'class="katex"' in page and 'alt="Figure 1.1: A line θ≤2.' in page


@needs_tools
@pytest.mark.parametrize("prose, complaint", [
    ("$\\frac{1$", "KaTeX"), ("[there](nowhere.md)", "nowhere.md"), ("![a picture](nothing.png)", "nothing.png"),
    ("[there](#no-such-place)", "no-such-place")])
def test_what_does_not_resolve_or_parse_stops_the_build(folder, capfd, prose, complaint):
    assert built(folder, prose) != []
    assert complaint in capfd.readouterr().err


@pytest.mark.slow
@needs_tools
@needs_browser
def test_the_book_opens_without_a_network_wide_and_narrow_light_and_dark(tmp_path):
    from derivations.book import browser
    from derivations.book.__main__ import build

    assert build(sources.chapters(REPOSITORY), tmp_path) == []
    assert browser.faults(tmp_path, "leapfrog", "11b_hamiltonian_monte_carlo") == []


@needs_browser
@pytest.mark.parametrize("body, fault", [
    ("<p>whole</p>", None),
    ('<img src="x.png" alt="x">', "picture does not load"), ("<img>", "no alternative text"),
    ('<p style="width: 900px">wide</p>', "in a window of 380"), ("<p>$x_1$</p>", "raw mathematics"),
    ('<p style="color: #bbb">faint</p>', "contrast"), ("<script>console.error('no')</script>", "console: no"),
    ("<script>nothing()</script>", "script: "), ('<img alt="x" src="http://127.0.0.1:9/x.png">', "asks the network")])
def test_a_fault_planted_in_a_page_is_seen_in_the_browser(tmp_path, body, fault):
    from playwright.sync_api import sync_playwright

    from derivations.book import browser

    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><body><article>{body}</article>', encoding="utf-8")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.executable())
        with browser.window(chromium, (380, 800), "light") as (tab, wrong):
            found = browser.look(tab, wrong, page, None)
        chromium.close()
    assert any(fault in line for line in found) if fault else found == []
