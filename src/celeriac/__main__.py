"""`python -m celeriac` is the command `celeriac`, and nothing more."""

from __future__ import annotations

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
