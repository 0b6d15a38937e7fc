"""Compare speed and memory with conventional scripts and with the limits of the hardware.

``python -m benchmarks.NAME`` runs one benchmark and prints a JSON object; ``python -m benchmarks`` runs the short ones
and prints a table. Run them from the root of the project; they need no network connection.
"""
