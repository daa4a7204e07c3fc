"""What `case` put into the environment for workers and clients."""

from __future__ import annotations

import os

URL = os.environ["BENCH_URL"]
RESULTS = os.environ["BENCH_RESULTS"] == "1"
