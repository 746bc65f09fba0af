"""All designs, in the order of their families."""

from __future__ import annotations

from .designs import DIAGNOSTIC, EXACT

DESIGNS = DIAGNOSTIC + EXACT
