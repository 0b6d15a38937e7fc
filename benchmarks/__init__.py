"""Measurements: ``python -m benchmarks.NAME`` prints one JSON object; ``python -m benchmarks`` a table of them."""
