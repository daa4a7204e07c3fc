"""`python -m celeriac` is the command `celeriac`, and nothing more."""

from __future__ import annotations

from .cli.main import main

if __name__ == "__main__":
    main()
