"""Measurements of celeriac beside its peers, run by hand: `python -m benchmarks`. Nothing in `src` imports this."""
