"""Private names of libraries that this project uses, with the reason and the checked versions."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

# The launcher that runs the program again for each further process. Only it has the processes in ``procs``, and no
# public property distinguishes it from the other launchers (checked with lightning 2.6).
ScriptLauncher = _SubprocessScriptLauncher

# Private methods that this project overrides, which must exist to have an effect (checked with lightning 2.6
# and jsonargparse 4.53).
OVERRIDDEN = (
    # The bar is drawn by time. The public refresh_rate counts steps.
    ("lightning.pytorch.callbacks.TQDMProgressBar", "_should_update"),
    # The list of known subclasses in the help. There is no setting for it.
    ("jsonargparse.DefaultHelpFormatter", "_get_help_string"),
)

# Functions that download pretrained weights and load them into the network that is their argument ``model``. Neither
# library can make a network for pretrained weights without them (checked with torchvision 0.29 and timm 1.0.31).
LOADERS_OF_PRETRAINED_WEIGHTS = (
    ("torchvision.models.densenet", "_load_state_dict"),  # which renames the weights first
    ("timm.models._builder", "load_pretrained"),
)


@contextmanager
def discarding_init_args(discard: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Let ``discard`` decide which arguments to keep when jsonargparse replaces one class by another.

    jsonargparse (checked with 4.53) keeps all arguments that the new class accepts, without a setting for it (its
    issue 460).

    Args:
        discard: gets a parser or action, the previous value and the new one, both with a ``class_path``, and removes
            arguments from the previous one in place.
    """
    with mock.patch("jsonargparse._typehints.discard_init_args_on_class_path_change", discard):
        yield


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers in hardware (AMX or AVX512_BF16).

    Without ``torch.cpu.get_capabilities``, which older versions of torch lack, the answer is no.
    """
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class ShortHelpFormatter(DefaultHelpFormatter):
    """Omits the list of known subclasses where it is too long to read, as for torch.nn.Module.

    jsonargparse adds the list in a method that argparse calls private; neither library has a setting for it (checked
    with jsonargparse 4.53 and Python 3.11 to 3.13).
    """

    MOST = 30

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action)
        before, _, known = text.partition(", known subclasses: ")
        return f"{before})" if known.count(",") >= self.MOST else text
