"""``cifar-cnn ensemble``: test the mean of the probabilities of several runs."""

from argparse import Namespace
from pathlib import Path

from cifar_cnn.analysis.ensemble import RESULT, ensemble, ensemble_folder
from cifar_cnn.analysis.run import load_run
from cifar_cnn.base.paths import check_output_folder, relative
from cifar_cnn.runs.folders import RUNS


def run(options: Namespace) -> int:
    """Test the ensemble, print its scores and write them; return the exit status.

    Raises:
        InputError: there is no run, the runs do not fit together, or the folder holds other files or is not writable.
    """
    if options.output:
        check_output_folder(options.output, RESULT, "an ensemble")
    tested = ensemble([load_run(name) for name in options.runs])
    folder = options.output or ensemble_folder(tested, Path(RUNS))
    tested.write(folder)
    print("", *tested.lines(), "", f"Written to {relative(folder / RESULT)}", sep="\n")
    return 0
