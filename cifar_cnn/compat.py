"""Each private name of a library that this project uses: why, and the versions in which it was checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

# Functions that download pretrained weights and load them into the network that is their argument ``model``. Neither
# library can make a network for pretrained weights without them (checked with torchvision 0.29 and timm 1.0.31).
LOADERS_OF_PRETRAINED_WEIGHTS = (
    ("torchvision.models.densenet", "_load_state_dict"),  # which renames the weights first
    ("timm.models._builder", "load_pretrained"),
)


@contextmanager
def discarding_init_args(discard: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Let ``discard`` decide which arguments are kept when jsonargparse replaces one class by another.

    jsonargparse (checked with 4.53) keeps all that the new class accepts and has no setting for it (its issue 460).

    Args:
        discard: gets a parser or action, the former value and the new one, both with a ``class_path``, and removes
            arguments from the former one in place.
    """
    with mock.patch("jsonargparse._typehints.discard_init_args_on_class_path_change", discard):
        yield


def cpu_has_matrix_units() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (Intel AMX).

    torch (checked with 2.14) has no public function for this. Without the private one, the answer is no.
    """
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported and supported())
