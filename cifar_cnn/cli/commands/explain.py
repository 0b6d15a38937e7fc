"""``cifar-cnn explain``: measure on trained networks what theory predicts."""

from argparse import Namespace

from cifar_cnn.analysis.explain import explain_runs
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.run import RunFolder, find_run


def run(options: Namespace) -> int:
    """Measure and write the results; return the exit status.

    Raises:
        InputError: there is no run, it has no images, or the folder is not writable.
    """
    if options.images < 2:
        raise InputError("--images must be 2 or more")
    runs = [RunFolder(*find_run(name)) for name in options.runs or [None]]
    output = explain_runs(runs, options.images, options.output)
    print(f"Figures and numbers: {relative(output)}")
    return 0
