"""Whether images are kept in GPU memory."""

from typing import Any, Protocol, TypeVar

import torch


class _Movable(Protocol):
    @property
    def images(self) -> torch.Tensor: ...

    def to(self, device: torch.device) -> Any: ...


S = TypeVar("S", bound=_Movable)


def on_gpu_if_it_fits(image_set: S, device: torch.device) -> S:
    """Move an ImageSet to a GPU if its images take less than half of the free memory; the network needs the rest."""
    if device.type != "cuda":
        return image_set
    free, _ = torch.cuda.mem_get_info(device)
    return image_set.to(device) if image_set.images.nbytes < free / 2 else image_set
