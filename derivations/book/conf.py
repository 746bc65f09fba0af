"""Settings of Sphinx for the book."""

import socket
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen

sys.path.insert(0, str(Path(__file__).parents[2]))

from sphinxcontrib import katex  # noqa: E402


def formula_server(folder: Path, timeout: float) -> tuple[Popen, socket.socket]:
    """KaTeX behind a Unix socket: over TCP each formula would wait 40 ms for a delayed acknowledgement. The socket's file is
    there before anybody listens, so that connecting is tried until it is not refused."""
    path, end = folder / "katex.sock", time.monotonic() + timeout
    process = Popen(katex.KaTeXServer.build_command(socket=path), stdin=PIPE, stdout=PIPE, cwd=folder)
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
            return process, connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > end:
                process.kill()
                raise katex.KaTeXServer.timeout_error(timeout) from None
            time.sleep(0.01)


katex.KaTeXServer.start_server_process = formula_server
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 120.0
katex.KATEX_DEFAULT_OPTIONS = {"throwOnError": True, "strict": "error", "maxSize": 50}  # what does not parse stops the build

project = "refbnn: derivations"
author = "The refbnn developers"
project_copyright = "the refbnn developers, MIT licence"
html_title = "refbnn: derivations"
language = "en"

extensions = ["myst_nb", "sphinxcontrib.katex", "derivations.book.addresses"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "code": "code/{{path}}.html#{{fragment}}"}

katex_prerender = True
katex_css_path = "katex.min.css"

html_theme = "furo"
html_static_path = []  # filled from the sources by derivations.book.addresses
html_css_files = ["book.css"]
html_show_search_summary = False  # summaries are fetched, which browsers refuse for files
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = True
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
