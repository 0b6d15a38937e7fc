"""The networks of a comparison, each with its runs, which differ only in seed or fold."""

import itertools
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar_cnn.analysis.compare.results import RunResult
from cifar_cnn.analysis.network.costs import macs_of
from cifar_cnn.analysis.statistics import MARGIN, Difference, Seed, difference
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.base.sizes import count_parameters
from cifar_cnn.runs.checkpoints import load_trained
from cifar_cnn.runs.folders import BEST
from cifar_cnn.runs.run import RunFolder


@dataclass
class Network:
    """A network of a comparison, with its runs.

    Attributes:
        name: name of the config; for given runs a name that is unique in the comparison.
        key: see :class:`RunResult`; empty for a config, whose runs are identified by its name.
        runs: the runs by seed, or by folder if they have no seed.
        parameters: number of parameters.
        macs: multiply-adds of its convolutions and matrix products for one image.
    """

    name: str
    key: str
    runs: dict[Seed, RunResult] = field(default_factory=dict)
    parameters: int = 0
    macs: int = 0

    @property
    def first(self) -> RunResult:
        """The first run."""
        return next(iter(self.runs.values()))

    def measure(self) -> None:
        """Count parameters and multiply-adds."""
        trained = load_trained(self.first.folder / "checkpoints" / BEST)
        backbone = trained.classifier.backbone
        self.parameters = count_parameters(backbone)
        self.macs = macs_of(backbone, (trained.channels, trained.image_size, trained.image_size))

    def accuracies(self) -> list[float]:
        """The test accuracy of each run."""
        return [run.test_accuracy for run in self.runs.values()]

    def summary(self) -> dict[str, Any]:
        """The row of the network in the tables, as plain data."""
        accuracies = self.accuracies()
        best = [value for run in self.runs.values() if (value := run.best_validation) is not None]
        return {
            "name": self.name,
            "n": len(accuracies),
            "test_accuracy_mean": statistics.mean(accuracies),
            "test_accuracy_sd": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "val_accuracy_mean": statistics.mean(best) if best else None,
            "parameters": self.parameters,
            "macs": self.macs,
            "epochs": statistics.mean(len(run.val_accuracy) for run in self.runs.values()),
            "training_seconds_mean": statistics.mean(run.seconds for run in self.runs.values()),
        }


Pair = tuple[Network, Network, Difference]


def group(results: list[tuple[Path, RunResult]], configs: set[str]) -> list[Network]:
    """Group runs by network, name the networks and measure them.

    Args:
        results: each run with the config or folder that the user gave for it.
        configs: names of all configs; networks of given runs get other names.

    Raises:
        InputError: the runs of a network were tested on different images.
    """
    networks: list[Network] = []
    for item, result in results:
        _network_for(networks, item, result).runs[result.number] = result
    of_runs = [network for network in networks if network.key]
    for network, name in zip(of_runs, names_of([network.first.folder for network in of_runs], configs), strict=True):
        network.name = name
    _check_images(networks)
    for network in networks:
        network.measure()
    return networks


def _network_for(networks: list[Network], item: Path, result: RunResult) -> Network:
    """Find the network that a run belongs to, or add a new one to ``networks``."""
    for network in networks:
        if item.is_file() and network.name == item.stem:
            return network
        if not item.is_file() and network.key == result.key and result.number not in network.runs:
            return network
    networks.append(Network(item.stem, "") if item.is_file() else Network("", result.key))
    return networks[-1]


def _check_images(networks: list[Network]) -> None:
    """Reject a network whose runs were tested on different images, since their mean would be meaningless."""
    for network in networks:
        first, *others = network.runs.values()
        if other := next((run for run in others if run.images != first.images), None):
            raise InputError(
                f"the runs of {network.name} were tested on different images ({relative(first.folder)} and "
                f"{relative(other.folder)}): delete the outdated test.json and compare again"
            )


def names_of(folders: list[Path], taken: set[str]) -> list[str]:
    """Name runs by their config; if that is not unique, add the name of the folder, or use its path.

    Args:
        folders: the folders of the runs.
        taken: names of other networks.
    """
    configs = [RunFolder(folder).label for folder in folders]
    longer = [
        f"{config}, {folder.name}" if config else folder.name for config, folder in zip(configs, folders, strict=True)
    ]
    forms = (configs, longer)
    names = []
    for index, folder in enumerate(folders):
        fits = (form[index] for form in forms if form[index] not in {"", *taken} and form.count(form[index]) == 1)
        names.append(next(fits, str(folder)))
    return names


def pairs_of(networks: list[Network], margin: float = MARGIN) -> list[Pair]:
    """Each pair of networks with its difference; see :func:`cifar_cnn.analysis.statistics.difference`."""
    return [(a, b, _difference(a, b, margin)) for a, b in itertools.combinations(networks, 2)]


def same_images(*networks: Network) -> bool:
    """Whether all runs of all networks were tested on the same images."""
    return len({run.images for network in networks for run in network.runs.values()}) == 1


def _difference(a: Network, b: Network, margin: float) -> Difference:
    a_accuracy, b_accuracy = ({seed: run.test_accuracy for seed, run in each.runs.items()} for each in (a, b))
    if not same_images(a, b):
        return difference(a_accuracy, b_accuracy, margin=margin)
    a_correct, b_correct = ({seed: run.correct for seed, run in each.runs.items()} for each in (a, b))
    return difference(a_accuracy, b_accuracy, a_correct, b_correct, margin)
