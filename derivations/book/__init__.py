"""The book of the derivations: `python -m derivations.book DIR` turns the stored notebooks into pages that need no network.

    sources.py     from the repository to the sources that Sphinx reads: alternative texts, links, the order of the chapters
    listings.py    a page for every source file that a table leads to, with a place to jump to on every line
    addresses.py   extension of Sphinx: equations and sections get addresses, "(label)" and "chapter 4" lead to them
    conf.py        the settings of Sphinx; mathematics is set while building
    pages.py       what can be wrong with the finished pages, read off their HTML
    browser.py     what can be wrong with them in a browser: `python -m derivations.book.browser DIR`

Nothing is executed. What does not resolve, does not parse as mathematics or lacks an alternative text stops the build.
"""
