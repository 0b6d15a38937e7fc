"""Speed and memory side by side with what everyone writes, and with what the hardware allows.

``python -m benchmarks.NAME`` prints one JSON object, ``python -m benchmarks`` a table of the short ones. They run from
the project's root, offline.
"""
