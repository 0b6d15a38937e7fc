"""Private names of libraries that this project uses, with the reason and the checked versions."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import typeshed_client
from jsonargparse import DefaultHelpFormatter
from jsonargparse._common import parsing_settings
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

# The launcher that starts the program again for each additional process. It is the only one with an attribute
# ``procs``, and no public property distinguishes it from the others (checked with lightning 2.6).
ScriptLauncher = _SubprocessScriptLauncher

# jsonargparse's global settings. set_parsing_settings changes them, but no public function returns them, so the former
# settings could not be restored, nor could the allowed import paths be read (checked with jsonargparse 4.53).
PARSING_SETTINGS = parsing_settings

# Private methods that this project overrides. An override has an effect only if the library still calls the method
# (checked with lightning 2.6 and jsonargparse 4.53).
OVERRIDDEN = (
    # The progress bar is updated at time intervals. The public refresh_rate counts steps.
    ("lightning.pytorch.callbacks.TQDMProgressBar", "_should_update"),
    # The help lists all known subclasses, and no setting shortens the list.
    ("jsonargparse.DefaultHelpFormatter", "_get_help_string"),
)

# The method with which torchvision's RandAugment, AutoAugment and TrivialAugmentWide apply an operation. Without it,
# the draws for an image cannot be separated from the operations (checked with torchvision 0.29).
APPLY_OPERATION = "_apply_image_or_video_transform"

# Functions that download pretrained weights and load them into their argument ``model``. Neither library can build a
# network for pretrained weights without calling them (checked with torchvision 0.29 and timm 1.0.31).
LOADERS_OF_PRETRAINED_WEIGHTS = (
    ("torchvision.models.densenet", "_load_state_dict"),  # renames the weights first
    ("timm.models._builder", "load_pretrained"),
)


# What torch.load(weights_only=True) needs to read NumPy arrays of integers from a .pt file. Files name the function
# that unpickling calls first by the module of their NumPy (checked with NumPy 1.26 to 2.4 and torch 2.12).
NUMPY_ARRAYS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(each)) for each in (np.int8, np.uint8, np.int16, np.int32, np.int64)),
    *((np.empty(0).__reduce__()[0], f"{module}.multiarray._reconstruct") for module in ("numpy._core", "numpy.core")),
]


@contextmanager
def discarding_init_args(discard: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Let ``discard`` decide which arguments to keep when jsonargparse replaces one class with another.

    jsonargparse keeps all arguments that the new class accepts, and no setting changes this (checked with 4.53; its
    issue 460).

    Args:
        discard: called with a parser or action, the previous value and the new value, both with a ``class_path``; it
            removes arguments from the previous value in place.
    """
    with mock.patch("jsonargparse._typehints.discard_init_args_on_class_path_change", discard):
        yield


@contextmanager
def reading_sys_path_here() -> Iterator[None]:
    """Let jsonargparse look for type stubs on the ``sys.path`` of this process.

    Otherwise it starts ``python -c "import sys, json; ..."`` to get it, which runs a json.py of the current folder. No
    setting changes this (checked with jsonargparse 4.53 and typeshed_client 2.15).
    """
    search = partial(typeshed_client.get_search_context, search_path=[Path(each) for each in sys.path if each])
    with mock.patch("typeshed_client.get_search_context", search):
        yield


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers in hardware (AMX or AVX512_BF16).

    False for versions of torch without ``torch.cpu.get_capabilities``.
    """
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class ShortHelpFormatter(DefaultHelpFormatter):
    """Omit lists of known subclasses that are too long to read, such as those of torch.nn.Module.

    jsonargparse adds the list in a private method of argparse, and neither library has a setting for it (checked with
    jsonargparse 4.53 and Python 3.11 to 3.13).
    """

    MOST = 30  # subclasses listed

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action)
        before, _, known = text.partition(", known subclasses: ")
        return f"{before})" if known.count(",") >= self.MOST else text
