"""Import a student's file and find the answer to an exercise in it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from cifar_cnn.lab.checking import check_object, guarded
from cifar_cnn.lab.exercises import Exercise
from cifar_cnn.lab.findings import Finding, Outcome, finding
from cifar_cnn.lab.processes import SECONDS
from cifar_cnn.lab.student import raised

_MODULE = "lab"  # the name by which commands import it, so that it can refer to itself


def check_file(path: Path, exercise: Exercise, seconds: float = SECONDS) -> Outcome:
    """Import a file into this process and check one exercise.

    Args:
        path: the student's file.
        exercise: the exercise.
        seconds: time limit, for the import and for the check.
    """
    try:
        with guarded(seconds):
            module = _imported(path)
    except BaseException as error:  # even KeyboardInterrupt: Ctrl-C does not reach this process
        return Outcome(exercise.number, "failed", (_about(error),), imported=False)
    if not hasattr(module, exercise.name):
        return Outcome(exercise.number, "failed", (finding("missing", name=exercise.name),))
    return check_object(getattr(module, exercise.name), exercise, seconds)


def _imported(path: Path) -> ModuleType:
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that no student's file shadows a library
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules.pop(_MODULE, None)
    return module


def _about(error: BaseException) -> Finding:
    # Python 3.10 raises a ValueError for null bytes, later versions a SyntaxError.
    if isinstance(error, UnicodeError) or (isinstance(error, (SyntaxError, ValueError)) and "null bytes" in str(error)):
        return finding("not_utf8")
    found = raised(error, "")
    key = {"exits": "import_exits", "too_long": "import_too_long"}.get(found.key, "no_import")
    return finding(key, **found.values)
