"""All designs, in the order of their families."""

from __future__ import annotations

from .awkward import AWKWARD
from .designs import DIAGNOSTIC, EXACT
from .real import REAL
from .structured import STRUCTURED

DESIGNS = DIAGNOSTIC + EXACT + AWKWARD + REAL + STRUCTURED
BY_ID = {design.id: design for design in DESIGNS}
if len(BY_ID) < len(DESIGNS):
    raise ValueError("two designs have one id")
