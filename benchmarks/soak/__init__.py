"""Minutes of faults, by hand: `python -m benchmarks.soak --help`. Its figures are kept in `benchmarks/soak.md`."""
