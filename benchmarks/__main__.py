"""Run the short benchmarks one after the other and print one Markdown table.

``--all`` adds the networks that take longest. Options after ``--`` are passed to each benchmark, for example
``-- --root DIR --rounds 7``.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._commands import ROOT

# Options that make each benchmark short; --all omits them.
SHORT: dict[str, list[str]] = {
    "input_pipeline": [],
    "framework_overhead": ["--configs", "simple_cnn_a"],
    "training": ["--configs", "simple_cnn_a", "resnet18_lab"],
    "roofline": [],
    "inference": [],
    "startup": [],
    "memory": [],
}


def main() -> None:
    """Run the benchmarks and print the table; if one fails, print its error output."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"run only these: {', '.join(SHORT)}")
    parser.add_argument("--all", action="store_true", help="also measure the networks that take longest")
    parser.add_argument("--json", type=Path, help="write the benchmarks' JSON objects to this file, as a list")
    own, passed = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, passed = own[:at], own[at + 1 :]
    options = parser.parse_args(own)
    if unknown := set(options.names) - set(SHORT):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; available: {', '.join(SHORT)}")

    results = []
    for name in options.names or SHORT:
        print(f"{name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *([] if options.all else SHORT[name]), *passed]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if finished.returncode:
            print(finished.stderr[-3000:], file=sys.stderr)
            sys.exit(f"{' '.join(command)} exited with status {finished.returncode}")
        results.append(json.loads(finished.stdout))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """One row for each comparison, followed by a line about the machine."""
    lines = [
        "| benchmark | | ours | compared to | ratio | goal | met |",
        "| --- | --- | ---: | --- | ---: | --- | --- |",
    ]
    for result in results:
        for row in result["comparisons"]:
            precision = f", {row['precision']}" if "precision" in row else ""
            low, high = row["ratio_spread"]
            cells = [
                result["benchmark"],
                f"{row['name']}{precision}",
                f"{_number(row['ours']['median'])} {row['unit']}",
                f"{_number(row['other']['median'])} {row['unit']}: {row['other']['form']}",
                f"{row['ratio']:.3f} ({low:.3f} to {high:.3f})",
                row["goal"] or "",
                {True: "yes", False: "no", None: ""}[row["met"]],
            ]
            lines.append(f"| {' | '.join(cells)} |")
    machine = results[0]["machine"]
    rounds = sorted({len(row["ours"]["values"]) for result in results for row in result["comparisons"]})
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = f"{machine['gpu']}, " if machine["gpu"] else ""
    lines += [
        "",
        f"Median of {' or '.join(map(str, rounds))} measurements of each side, with the spread of the ratio in "
        f"parentheses. {where}"
        f"{machine['cpu']} ({', '.join(machine['matrix_instructions'])}), {machine['cores']} cores, "
        f"{machine['threads']} threads; {versions}.",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main()
