"""Size limits that keep the package readable. CONTRIBUTING.md describes the rooms, pyproject.toml the import rules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cifar_cnn

PACKAGE = Path(cifar_cnn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = ("backbones", "losses", "metrics", "optim", "tta", "data", "classifier")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Names of the functions of a file and the lines of their bodies, without the docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def lines_of_code(path: Path) -> int:
    """The lines that hold code: no blank line, comment or docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    text = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return sum(1 for n, line in text if line.strip() and not line.strip().startswith("#") and n not in docstrings)


def test_files_have_at_most_300_lines() -> None:
    assert {str(path.relative_to(PACKAGE)): lines(path) for path in FILES if lines(path) > 300} == {}


def test_functions_have_at_most_40_lines() -> None:
    long = {f"{path.relative_to(PACKAGE)}:{name}": n for path in FILES for name, n in functions(path) if n > 40}
    assert long == {}


@pytest.mark.parametrize(
    ("pattern", "most"), [("classifier.py", 200), ("data/sources/*.py", 150)], ids=["classifier", "source"]
)
def test_central_files_are_short(pattern: str, most: int) -> None:
    found = list(PACKAGE.glob(pattern))
    assert found
    assert {path.name: lines(path) for path in found if lines(path) > most} == {}


def test_the_command_line_class_is_thin() -> None:
    classes = [
        node
        for path in (PACKAGE / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and "LightningCLI" in {getattr(base, "id", "") for base in node.bases}
    ]
    assert len(classes) == 1
    assert (classes[0].end_lineno or 0) - classes[0].lineno < 120


def test_the_core_is_short() -> None:
    core = [path for path in FILES if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in CORE]
    assert sum(map(lines, core)) <= 2150
    assert sum(map(lines_of_code, core)) <= 1300
