"""`python -m tests.certify`."""

import sys

from .generate import main

sys.exit(main())
