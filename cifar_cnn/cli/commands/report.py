"""``cifar-cnn report``: write the report of a run."""

from argparse import Namespace

from cifar_cnn.analysis.report import write_report
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.folders import is_best
from cifar_cnn.runs.run import RunFolder, find_run


def run(options: Namespace) -> int:
    """Write the report; return the exit status.

    Raises:
        InputError: there is no such run, or its folder is not writable.
    """
    found = RunFolder(*find_run(options.run))
    if not is_best(found.checkpoint):
        raise InputError(
            f"a report always uses the run's best checkpoint, not {found.checkpoint.name}: give the folder "
            f"{relative(found.folder)}"
        )
    try:
        path = write_report(found)
    except OSError as error:
        raise InputError(f"cannot write the report of {found.folder}: {error.strerror or error}") from error
    print(f"Report  {relative(path)}")
    return 0
