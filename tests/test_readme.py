"""The README: its tree is the tree, its commands name what exists, and its Python runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import refbnn

REPOSITORY = Path(__file__).parent.parent
PACKAGE = Path(refbnn.__file__).parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GLYPHS = str.maketrans("│├└─|", "     ")


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def tree_block(text: str) -> str:
    """The fenced block that starts with `refbnn/`."""
    found = [block for block in blocks(text, r"\w*") if block.startswith("refbnn/")]
    assert len(found) == 1, f"expected one block that starts with refbnn/, found {len(found)}"
    return found[0]


def listed(block: str) -> set[str]:
    """Paths below refbnn/ that the tree names: indentation is depth, names end in ".py" or "/", two spaces end the names."""
    found, folders = set(), []
    for line in block.splitlines()[1:]:
        line = line.translate(GLYPHS)
        depth = len(line) - len(line.lstrip())
        names = re.split(r"[,\s]+", re.split(r"\s{2,}|\s#", line.strip())[0])
        names = [name for name in names if name.endswith((".py", "/", ".json", ".md"))]
        if depth == 0 and names:
            break  # the next folder of the repository
        while folders and folders[-1][0] >= depth:
            folders.pop()
        parent = folders[-1][1] if folders else ""
        found |= {parent + name for name in names}
        if len(names) == 1 and names[0].endswith("/"):
            folders.append((depth, parent + names[0]))
    return found


def actual(root: Path) -> set[str]:
    """Every module and every folder below the package, as the tree spells them."""
    found = set()
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        if "__pycache__" in relative:
            continue
        if path.suffix == ".py" and path.name != "__init__.py":
            found.add(relative)
        if path.is_dir():
            found.add(relative + "/")
    return found


def disagreements(block: str, root: Path) -> list[str]:
    """What the tree lacks and what it names in vain. A folder that is named without any of its files stands for them."""
    named, there = listed(block), actual(root)
    opened = {name.rpartition("/")[0] + "/" if "/" in name else "" for name in (n.rstrip("/") for n in named)}

    def expected(path):
        parent = path.rstrip("/").rpartition("/")[0]
        return not parent or parent + "/" in opened

    missing = [f"missing: {path}" for path in sorted(there - named) if expected(path)]
    absent = [f"absent: {path}" for path in sorted(named - there) if not (root / path).exists()]
    return missing + absent


def test_the_tree_in_the_readme_is_the_tree_of_the_package():
    assert disagreements(tree_block(README), PACKAGE) == []


TREE = """refbnn/
  shapes.py     the letters of axes, see mlp.py
  -- 1 objects
  mlp.py, loss.py
  likelihoods/  one file each
  conform/      cases and the kit
    case.py     one case
    adapters/   peers
"""


@pytest.fixture
def small_tree(tmp_path):
    """The tree above as files."""
    for name in ("shapes", "mlp", "loss", "__init__", "likelihoods/normal", "conform/__init__", "conform/case",
                 "conform/adapters/torch"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def test_a_true_tree_is_accepted_with_or_without_lines_drawn(small_tree):
    assert disagreements(TREE, small_tree) == []
    drawn = TREE.replace("    case", "│   ├── case").replace("    adapters", "│   └── adapters").replace("  mlp", "├── mlp")
    drawn = re.sub(r"^  (shapes|likelihoods|conform)", r"├── \1", drawn, flags=re.MULTILINE)
    assert disagreements(drawn, small_tree) == []


@pytest.mark.parametrize("planted", ["mlp.py, ", "    case.py     one case\n", "  likelihoods/  one file each\n"])
def test_a_module_or_folder_that_the_tree_forgets_is_caught(small_tree, planted):
    assert disagreements(TREE.replace(planted, ""), small_tree) != []


@pytest.mark.parametrize("planted", ["  ghost.py  not there\n", "  ghosts/\n"])
def test_a_module_or_folder_that_is_absent_is_caught(small_tree, planted):
    assert [line for line in disagreements(TREE + planted, small_tree) if line.startswith("absent: ghost")]


def test_a_new_module_is_caught(small_tree):
    (small_tree / "conform" / "run.py").write_text("")
    assert disagreements(TREE, small_tree) == ["missing: conform/run.py"]


@pytest.mark.parametrize("code", [block for block in blocks(README, "python") if "import" in block])
def test_python_in_the_readme_runs(code, tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_that_the_readme_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", README) if "://" not in link]
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
