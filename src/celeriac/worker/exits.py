"""Exit statuses by which a runner tells its supervisor why it ended. Numbers only."""

from __future__ import annotations

#: It has run as many tasks, or grown as large, as one may: nothing is wrong, and the next may begin.
RECYCLED = 75
