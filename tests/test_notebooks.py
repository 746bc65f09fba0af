"""The notebooks: every one runs, every labelled equation is executed and leads to code and tests, stored outputs are whole."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import refbnn
from derivations.book import generated, sources
from tests import equations
from tests.equations import REPOSITORY, read, source, tags

NOTEBOOKS = sorted((REPOSITORY / "derivations").glob("*.ipynb"))

EXERCISES = re.compile(r"^## (?:[0-9b.]+ )?Exercises$", re.MULTILINE)

# Wrapped around the code of a notebook: notes the label of every check that passed.
PRELUDE = """
import json as _json, sys as _sys
import refbnn.testing as _testing
_labels = set()
def _noting(check):
    def noted(label, *arguments, **options):
        result = check(label, *arguments, **options)
        _labels.add(label)
        return result
    return noted
_testing.check, _testing.check_zero = _noting(_testing.check), _noting(_testing.check_zero)
"""
EPILOGUE = """
open(_sys.argv[1], "w").write(_json.dumps(sorted(_labels)))
"""


def cells(notebook: dict, kind: str) -> list[dict]:
    """The cells of a kind."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def run(notebook: dict, folder: Path) -> set[str]:
    """Run the code cells as one script in a process of its own; the labels whose checks passed."""
    script, labels = folder / "notebook.py", folder / "labels.json"
    code = "\n\n".join(source(cell) for cell in cells(notebook, "code"))
    script.write_text(PRELUDE + code + EPILOGUE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, labels], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return set(json.loads(labels.read_text()))


def faults_of_text(notebook: dict) -> list[str]:
    """What is wrong with the stored notebook: repeated tags, cells that were not run or failed, checks without stored output."""
    found = [f"tag {tag} occurs twice" for tag in sorted(set(tags(notebook))) if tags(notebook).count(tag) > 1]
    printed = []
    for number, cell in enumerate(cells(notebook, "code")):
        if cell["execution_count"] != number + 1:
            found.append(f"code cell {number + 1} was not executed in order: execution count {cell['execution_count']}")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"code cell {number + 1} has a stored error: {output['ename']}")
            printed.append("".join(output.get("text", "")))
    stored = set(re.findall(r"^\(([^)]*)\) (?:holds|vanishes)", "\n".join(printed), re.MULTILINE))
    return found + [f"tag {tag} has no stored check" for tag in sorted(set(tags(notebook)) - stored)]


def faults_of_run(notebook: dict, executed: set[str]) -> list[str]:
    """Tags that no check executes, and checked labels that no equation has."""
    known = set(tags(notebook))
    never = [f"never executed: {tag}" for tag in sorted(known - executed)]
    return never + [f"no equation: {label}" for label in sorted(executed - known)]


def citations(root: Path) -> dict[str, str]:
    """Every label that the package cites, comments included, with the file that does."""
    return {
        label: str(path.relative_to(root))
        for path in sorted(root.rglob("*.py"))
        for label in equations.cited(path.read_text(encoding="utf-8"))
    }


def exercises(notebook: dict) -> list[tuple[str, list[str]]]:
    """The exercises at the end, each with the code cells of its answer: a title opens one, a heading after them ends the last."""
    found, inside = [], False
    for cell in notebook["cells"]:
        text = source(cell)
        if cell["cell_type"] == "code" and found and inside:
            found[-1][1].append(text)
        elif cell["cell_type"] == "markdown":
            inside = (inside or bool(EXERCISES.search(text))) and not (found and text.startswith("## "))
            solved = re.match(r"\*\*Solution (\d+)\.\*\*", text)
            if solved:  # all exercises first, then their solutions
                found.append((solved.group(1), []))
            elif inside and "**Solution 1.**" not in equations.text_of(notebook):
                found += [(number, []) for number in re.findall(r"^\*\*(\d+)\. ", text, re.MULTILINE)]
    return found


def faults_of_teaching(notebook: dict) -> list[str]:
    """What a reader misses: what is presupposed, exercises whose answers are executed and can fail, words for every figure."""
    found = [] if generated.presupposed(notebook) else ["the first cell does not say what is **Presupposed.**"]
    asked = exercises(notebook)
    if [number for number, _ in asked] != [str(i + 1) for i in range(len(asked))] or len(asked) < 2:
        found.append(f"expected exercises 1, 2, ..., at least two, found {[number for number, _ in asked]}")
    found += [f"the answer to exercise {number} is not executed, or cannot fail" for number, answer in asked
              if not any(re.search(r"\b(check|check_zero|assert)\b", code) for code in answer)]
    spoken = [text for cell, text in zip(notebook["cells"], generated.alternatives(notebook)) if sources.draws(cell)]
    found += ["a figure has no caption with a *Description:* beside it" for text in spoken if not text]
    return found + [f"an alternative text that cannot be read aloud: {text}" for text in spoken if re.search(r"[\\$]", text)]


def needs_map(path: Path) -> bool:
    """Whether a notebook must end with the map to code and tests: chapters 1 to 9, and all that have one."""
    return path.stem < "10" or equations.map_of(read(path)) is not None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_executes_exactly_its_labelled_equations(path, tmp_path):
    notebook = read(path)
    assert faults_of_run(notebook, run(notebook, tmp_path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_whole(path):
    assert faults_of_text(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_displayed_equation_has_a_label_or_is_a_step_towards_one(path):
    assert equations.faults_of_displays(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_presupposes_has_exercises_and_words_for_its_figures(path):
    assert faults_of_teaching(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_stores_its_figures(path):
    drawn = [output for cell in cells(read(path), "code") for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert drawn, "no figure is stored"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_code_of_a_notebook_is_plain_python(path):
    for cell in cells(read(path), "code"):
        ast.parse(source(cell))


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_labels_are_unique_over_all_notebooks():
    labels = [tag for path in NOTEBOOKS for tag in tags(read(path))]
    assert sorted(labels) == sorted(set(labels))


def test_every_equation_that_the_package_cites_is_labelled_in_a_notebook():
    labels = {tag for path in NOTEBOOKS for tag in tags(read(path))}
    cited = citations(Path(refbnn.__file__).parent)
    assert len(cited) > 10
    assert {label: path for label, path in cited.items() if label not in labels} == {}


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if needs_map(path)], ids=lambda path: path.stem)
def test_every_equation_leads_to_the_function_and_the_test_that_cite_it(path):
    assert equations.faults_of_map(read(path), equations.in_code(), equations.in_tests()) == []


def test_every_equation_that_a_test_cites_is_labelled_in_a_notebook():
    labels = {tag for path in NOTEBOOKS for tag in tags(read(path))}
    assert {label: places for label, places in equations.in_tests().items() if label not in labels} == {}


def test_whatever_cites_an_equation_in_a_test_file_is_run():
    places = [place for found in equations.in_tests().values() for place in found]
    assert [place for place in places if equations.unused(REPOSITORY / place[0], place[1])] == []


# -- planted faults ---------------------------------------------------------------------------------------------------------


def small_notebook(markdown=r"$$1+1=2 \tag{one}$$", code='from refbnn.testing import check\ncheck("one", 1 + 1, 2)', **changes):
    """A notebook of two cells."""
    stored = [{"output_type": "stream", "name": "stdout", "text": ["(one) holds to 16.0 digits\n"]}]
    cell = {"cell_type": "code", "execution_count": 1, "source": [code], "outputs": stored, **changes}
    return {"cells": [{"cell_type": "markdown", "source": [markdown]}, cell]}


def test_a_whole_notebook_has_no_faults(tmp_path):
    assert faults_of_text(small_notebook()) == []
    assert faults_of_run(small_notebook(), run(small_notebook(), tmp_path)) == []


def test_a_missing_tag_is_caught(tmp_path):
    notebook = small_notebook(markdown="$$1+1=2$$")
    assert faults_of_run(notebook, run(notebook, tmp_path)) == ["no equation: one"]


def test_a_tag_that_nothing_executes_is_caught(tmp_path):
    notebook = small_notebook(markdown=r"$$1+1=2 \tag{one}$$ $$2+2=4 \tag{two}$$")
    assert faults_of_run(notebook, run(notebook, tmp_path)) == ["never executed: two"]
    assert faults_of_text(notebook) == ["tag two has no stored check"]


def test_a_check_in_a_branch_that_is_not_taken_does_not_count(tmp_path):
    notebook = small_notebook(code='from refbnn.testing import check\nif False:\n    check("one", 1, 1)')
    assert faults_of_run(notebook, run(notebook, tmp_path)) == ["never executed: one"]


def test_a_check_that_fails_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="relative error"):
        run(small_notebook(code='from refbnn.testing import check\ncheck("one", 1 + 1, 3)'), tmp_path)


def test_a_stored_error_is_caught():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
    assert "code cell 1 has a stored error: ValueError" in faults_of_text(small_notebook(outputs=[error]))


@pytest.mark.parametrize("count", [None, 2])
def test_cells_that_were_not_run_in_order_are_caught(count):
    assert faults_of_text(small_notebook(execution_count=count))


def test_a_tag_used_twice_is_caught():
    assert "tag one occurs twice" in faults_of_text(small_notebook(markdown=r"\tag{one} \tag{one}"))


def test_a_display_without_a_tag_is_caught():
    assert equations.faults_of_displays(small_notebook()) == []
    assert equations.faults_of_displays(small_notebook(markdown=r"$$1+1=2 \tag{one}$$ so $$2+2=4$$")) == [
        "a display has 0 tags: 2+2=4"]
    assert equations.faults_of_displays(small_notebook(markdown=r"\begin{align}1+1&=2\end{align}")) == [
        r"a display not between $$: \begin{align}"]


def test_a_step_needs_no_check_of_its_own_but_an_equation_that_has_one(tmp_path):
    notebook = small_notebook(markdown=r"$$1+1=1+1 \tag{one, step 1}$$ $$1+1=2 \tag{one}$$")
    assert equations.faults_of_displays(notebook) == [] and faults_of_run(notebook, run(notebook, tmp_path)) == []
    astray = small_notebook(markdown=r"$$1+1=1+1 \tag{two, step 1}$$ $$1+1=2 \tag{one}$$")
    assert equations.faults_of_displays(astray) == ["steps towards two, which is no equation"]
    assert equations.faults_of_displays(small_notebook(markdown=r"$$1=1 \tag{one, step 2}$$ $$1+1=2 \tag{one}$$")) == [
        "steps towards one are numbered 2"]


def test_the_tool_makes_steps_of_displays_without_a_tag():
    notebook = small_notebook(markdown=r"$$1+1=1+1$$ so $$1+1=2 \tag{one}$$ and $$2+1=1+2$$ makes $$2+1=3 \tag{two}$$")
    equations.tag_steps(notebook)
    assert equations.faults_of_displays(notebook) == []
    assert equations.steps(notebook) == {"one": ["1"], "two": ["1"]} and tags(notebook) == ["one", "two"]


TAUGHT = ["# 1. One\n\n**Presupposed.** Sums.", "## Exercises\n\n**1. Add.** What is 1 + 1? *Answer.* 2.", "assert 1 + 1 == 2",
          "**2. Subtract.** What is 1 − 1? *Answer.* 0.", "check_zero('nothing', 1 - 1, 1)", "## Sources"]


def taught(old="", new=""):
    """A notebook with two exercises; strings that begin with a statement are code."""
    kinds = ["code" if text.startswith(("assert", "check")) else "markdown" for text in TAUGHT]
    return {"cells": [{"cell_type": kind, "metadata": {}, "source": [text.replace(old, new)], "outputs": []}
                      for kind, text in zip(kinds, TAUGHT)]}


def test_a_notebook_that_teaches_has_no_faults():
    assert faults_of_teaching(taught()) == []
    assert [number for number, _ in exercises(taught("## Exercises", "## 3.7 Exercises"))] == ["1", "2"]


@pytest.mark.parametrize("old, new, fault", [
    ("**Presupposed.**", "**You need:**", "the first cell does not say what is **Presupposed.**"),
    ("assert 1 + 1 == 2", "print(1 + 1)", "the answer to exercise 1 is not executed, or cannot fail"),
    ("check_zero", "print", "the answer to exercise 2 is not executed, or cannot fail"),
    ("**2. Subtract.**", "**3. Subtract.**", "expected exercises 1, 2, ..., at least two, found ['1', '3']"),
    ("**2. Subtract.**", "Subtract.", "expected exercises 1, 2, ..., at least two, found ['1']"),
    ("## Exercises", "## Questions", "expected exercises 1, 2, ..., at least two, found []")])
def test_a_notebook_that_does_not_teach_is_caught(old, new, fault):
    assert fault in faults_of_teaching(taught(old, new))


def test_exercises_with_solutions_behind_them_all_are_found():
    apart = taught()
    apart["cells"][1]["source"] = ["## Exercises\n\n**1. Add.** 1 + 1?\n\n**2. Subtract.** 1 − 1?"]
    apart["cells"].insert(2, {"cell_type": "markdown", "source": ["**Solution 1.** 2."]})
    apart["cells"][4]["source"] = ["**Solution 2.** 0."]
    assert faults_of_teaching(apart) == []
    apart["cells"][5]["source"] = ["print(0)"]
    assert faults_of_teaching(apart) == ["the answer to exercise 2 is not executed, or cannot fail"]


@pytest.mark.parametrize("caption, fault", [
    ("**Figure 1.1.** A line. *Description:* it rises.", None), ("A line that rises.", "a figure has no caption"),
    ("**Figure 1.1.** A line, {\\bf bold} $\\x. *Description:* it rises.", "an alternative text that cannot be read aloud")])
def test_a_figure_without_words_is_caught(caption, fault):
    shown = taught()
    picture = {"output_type": "display_data", "data": {"image/png": ""}}
    shown["cells"][1:1] = [{"cell_type": "code", "source": ["plot()"], "outputs": [picture]},
                           {"cell_type": "markdown", "source": [caption]}]
    found = faults_of_teaching(shown)
    assert any(fault in line for line in found) if fault else found == []


def test_citations_are_read_from_docstrings(tmp_path):
    (tmp_path / "module.py").write_text('"""G, Eq. (ggn), and\nEq.\n(two-lines)."""\n')
    assert citations(tmp_path) == {"ggn": "module.py", "two-lines": "module.py"}


# -- planted faults of the map ----------------------------------------------------------------------------------------------

CODE = {"one": [("refbnn/sum.py", "add")]}
TESTS = {"one": [("tests/test_sum.py", "test_add"), ("tests/test_sum.py", "test_more")]}


def mapped_notebook(text=None, markdown=r"$$1+1=2 \tag{one}$$ $$2+2=4 \tag{two}$$", lemmas="(two)"):
    """A notebook with a map, as the tool writes it unless `text` says otherwise."""
    notebook = {"cells": [{"cell_type": "markdown", "source": [markdown]},
                          {"cell_type": "markdown", "source": [f"**Lemmas:** {lemmas}."]}]}
    notebook["cells"][-1]["source"] = [text or equations.generated(notebook, CODE, TESTS)]
    return notebook


def faults(notebook, code=CODE, tests=TESTS):
    return equations.faults_of_map(notebook, code, tests)


def test_a_true_map_has_no_faults():
    assert faults(mapped_notebook()) == []
    row = equations.map_of(mapped_notebook()).splitlines()[-2]
    assert row == ("| (one) | [`sum.add`](../refbnn/sum.py) | "
                   "[`test_add`](../tests/test_sum.py)<br>[`test_more`](../tests/test_sum.py) |")


def test_a_map_may_lag_behind_a_further_citation():
    more = {"one": [*CODE["one"], ("refbnn/sum.py", "Sum.add")]}
    assert faults(mapped_notebook(), code=more) == []
    assert faults(mapped_notebook(), tests={**TESTS, "two": [("tests/test_sum.py", "test_two")]}) == []


def test_an_equation_that_nothing_cites_is_caught_unless_it_is_a_lemma():
    assert faults(mapped_notebook(lemmas="none")) == ["two: no docstring of refbnn cites it, and it is not named a lemma"]


def test_a_lemma_that_is_implemented_is_caught():
    assert faults(mapped_notebook(lemmas="(one), (two)")) == ["one: named a lemma, but cited by ('refbnn/sum.py', 'add')"]


def test_a_lemma_without_an_equation_is_caught():
    assert faults(mapped_notebook(lemmas="(two), (three)")) == ["three: named a lemma, but no equation"]


def test_an_implemented_equation_without_a_test_is_caught():
    assert "one: no test cites what ('refbnn/sum.py', 'add') implements" in faults(mapped_notebook(), tests={})


@pytest.mark.parametrize("moved", [
    {"code": {"one": [("refbnn/sum.py", "plus")]}}, {"tests": {"one": [("tests/test_sum.py", "test_plus")]}}])
def test_a_function_or_test_that_was_renamed_is_caught(moved):
    assert faults(mapped_notebook(), **moved) == ["one: its row is not what the docstrings say: run python -m tests.equations"]


def test_a_missing_row_is_caught():
    lines = equations.map_of(mapped_notebook()).splitlines()
    assert faults(mapped_notebook("\n".join(lines[:-1]))) == [
        "two: its row is not what the docstrings say: run python -m tests.equations"]


def test_a_notebook_without_a_map_is_caught():
    assert faults(small_notebook()) == ["one: its row is not what the docstrings say: run python -m tests.equations"]


def test_citations_in_docstrings_are_found_with_the_function_that_makes_them(tmp_path):
    (tmp_path / "test_it.py").write_text(
        'class A:\n    def f(self):\n        """Eqs. (a), (b) and\n        (c)."""\n\n\ndef helper():\n    """Eq. (d)."""\n'
        '\n\ndef test_it():\n    text = "Eq. (e)"\n')
    found = equations.citations(tmp_path, "*.py", tmp_path)
    assert found == {label: [("test_it.py", "A.f")] for label in "abc"} | {"d": [("test_it.py", "helper")]}
    assert equations.unused(tmp_path / "test_it.py", "helper") and not equations.unused(tmp_path / "test_it.py", "test_it")


def test_the_tool_adds_a_map_and_keeps_the_line_of_lemmas(tmp_path):
    path = tmp_path / "notebook.ipynb"
    notebook = mapped_notebook()
    path.write_text(json.dumps({"cells": notebook["cells"][:1]}))
    equations.update(path, CODE, TESTS)
    assert faults(read(path)) == [] and equations.lemmas(read(path)) == ["two"]
    equations.update(path, {**CODE, "two": CODE["one"]}, TESTS)
    assert equations.lemmas(read(path)) == ["two"]
