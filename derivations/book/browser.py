"""The finished book in a browser without a network: `python -m derivations.book.browser DIR [--pictures FOLDER]`.

Every page is opened as a file, wide and narrow, light and dark. Faults are errors on the console, requests for anything but
files, mathematics left raw or set wrongly, fonts or pictures that do not load, pictures without an alternative text, pages wider
than the window, text too faint to read, and a search that does not find.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

WINDOWS = ((1280, 900), (380, 800))
SCHEMES = ("light", "dark")
CONTRAST = 4.5  # WCAG 2, level AA
LOOK = (Path(__file__).parent / "look.js").read_text(encoding="utf-8")


def executable() -> str | None:
    """A Chromium of this machine; None where Playwright has to bring its own."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def window(browser, size: tuple[int, int], scheme: str) -> Iterator[tuple]:
    """A page in a window without a network, and the list of what goes wrong in it."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("requestfailed", lambda request: wrong.append(f"not loaded: {request.url}"))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else
            wrong.append(f"asks the network for {request.url}"))
    try:
        yield page, wrong
    finally:
        context.close()


def look(page, wrong: list[str], path: Path, picture: Path | None) -> list[str]:
    """What is wrong with one page as it stands in the window."""
    wrong.clear()
    page.goto(path.resolve().as_uri())
    page.evaluate("document.fonts.ready")
    found = [*wrong, *page.evaluate(LOOK, CONTRAST)]
    if picture is not None:
        page.screenshot(path=picture, full_page=True)
    return found


def search(page, wrong: list[str], book: Path, words: str, chapter: str) -> list[str]:
    """Look for words as a reader does: type them in the box of the first page, open what is found."""
    wrong.clear()
    page.goto((book / "index.html").resolve().as_uri())
    page.fill("input.sidebar-search", words)
    page.press("input.sidebar-search", "Enter")
    page.wait_for_selector("#search-results p.search-summary", timeout=10000)
    page.wait_for_timeout(500)
    links = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.getAttribute('href'))")
    found = list(wrong)
    if not any(link.startswith(chapter) for link in links):
        found.append(f"search for {words} does not find {chapter}, but {links[:5]}")
    return found


def faults(book: Path, words: str, chapter: str, pictures: Path | None = None) -> list[str]:
    """Everything wrong with the book in a browser, a line a fault; chapter must be among what a search for words finds."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable())
        for size in WINDOWS:
            for scheme in SCHEMES:
                with window(browser, size, scheme) as (page, wrong):
                    for path in sorted(book.glob("*.html")):
                        picture = pictures and pictures / f"{path.stem}-{size[0]}-{scheme}.png"
                        found += [f"{path.name}, {size[0]} {scheme}: {fault}" for fault in look(page, wrong, path, picture)]
        with window(browser, WINDOWS[0], "light") as (page, wrong):
            for path in sorted((book / "code").rglob("*.html")):
                found += [f"{path.name}: {fault}" for fault in look(page, wrong, path, None)]
            found += [f"search: {fault}" for fault in search(page, wrong, book, words, chapter)]
        browser.close()
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m derivations.book.browser", description="Open the book in a browser.")
    parser.add_argument("book", type=Path, help="where python -m derivations.book put the pages")
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of every page, wide and narrow, light and dark")
    given = parser.parse_args()
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    found = faults(given.book, "leapfrog", "11b_hamiltonian_monte_carlo", given.pictures)
    print("\n".join(found) or "Every page opens, wide and narrow, light and dark, without a network.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
