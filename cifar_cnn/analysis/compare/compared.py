"""The result of a comparison: the networks, each pair, and the ensemble."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cifar_cnn.analysis.compare import tables
from cifar_cnn.analysis.compare.ensemble import Ensemble, ensemble_of
from cifar_cnn.analysis.compare.networks import Network, Pair, pairs_of
from cifar_cnn.analysis.statistics import LEVEL, MARGIN, holm
from cifar_cnn.base.errors import InputError


@dataclass(frozen=True)
class Compared:
    """The result of a comparison.

    Attributes:
        command: the command line that produced it; empty for a comparison in Python.
        networks: the networks, with their runs.
        failures: the reason for each failed task, by the name of the task.
        margin: networks whose accuracies differ by less than this count as equivalent; from 0 to 1.
        with_ensemble: whether to add the ensemble of all runs.
    """

    command: str
    networks: list[Network]
    failures: dict[str, str]
    margin: float = MARGIN
    with_ensemble: bool = False

    @cached_property
    def pairs(self) -> list[Pair]:
        """All pairs of networks, with their differences."""
        return pairs_of(self.networks, self.margin)

    @cached_property
    def holm_p(self) -> list[float | None]:
        """The p value of each pair, adjusted for the number of pairs; None for pairs without one."""
        adjusted = iter(holm([each.p for _, _, each in self.pairs if each.p is not None]))
        return [None if each.p is None else next(adjusted) for _, _, each in self.pairs]

    @cached_property
    def ensemble(self) -> Ensemble | str | None:
        """The ensemble of all runs, or the reason why there is none; None if it was not asked for."""
        try:
            return ensemble_of(self.networks) if self.with_ensemble else None
        except InputError as error:
            return str(error)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table of networks as plain data; the ensemble is the last one."""
        ensemble = [self.ensemble.summary()] if isinstance(self.ensemble, Ensemble) else []
        return [*(network.summary() for network in self.networks), *ensemble]

    @property
    def notes(self) -> list[str]:
        """Notes for readers of the table of networks."""
        notes = tables.notes(self.networks)
        if isinstance(self.ensemble, Ensemble):
            low, high = self.ensemble.interval
            notes.append(
                f"{self.ensemble.name.capitalize()}: the mean of their probabilities; {LEVEL:.0%} confidence interval "
                f"of its accuracy over test images (Wilson): {low:.2%} to {high:.2%}."
            )
        elif self.ensemble is not None:
            notes.append(f"There is no ensemble: {self.ensemble}.")
        return notes

    @property
    def texts(self) -> list[str]:
        """The tables and notes as paragraphs of text."""
        pairs = tables.pair_table(self.pairs, self.holm_p, self.margin) if self.pairs else ""
        paragraphs = [tables.network_table(self.rows), tables.option_table(self.networks), pairs, *self.notes]
        return [text for text in paragraphs if text]
