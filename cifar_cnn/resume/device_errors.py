"""Failures of a device and of its memory, in one line."""

import re

import torch

from cifar_cnn.base.errors import causes
from cifar_cnn.resume.library_errors import went_through_own_code

_NO_MEMORY = r"out of memory|can't allocate memory"
_FAILURE = r"^(CUDA|cuDNN|HIP|MIOpen) error|(CUBLAS|CUDNN)_STATUS_"


def device_failure(error: BaseException) -> str | None:
    """What failed and what to do; None for any other exception.

    A failure that is reported in the user's own code may be its mistake, such as an index out of range, so this
    function returns None for it; but not for a lack of memory.
    """
    # Lightning moves the network to the CPU afterwards, which raises a second exception after a failure of a GPU.
    for each in reversed([each for each in causes(error) if isinstance(each, RuntimeError)]):
        first_line = str(each).strip().partition("\n")[0]
        if isinstance(each, torch.OutOfMemoryError) or re.search(_NO_MEMORY, first_line):
            return f"{_missing_memory(str(each))}: lower data.batch_size or data.eval_batch_size"
        is_of_a_device = isinstance(each, torch.AcceleratorError) or re.search(_FAILURE, first_line)
        if is_of_a_device and not went_through_own_code(error):
            return f"the device failed: {first_line.rstrip('.')}"
    return None


def _missing_memory(message: str) -> str:
    """``not enough GPU memory for another 2.00 GiB``, as far as the message tells."""
    memory = "GPU memory" if message.startswith(("CUDA", "HIP", "MPS", "XPU")) else "memory"
    amount = re.search(r"[Tt]ried to allocate ([\d.]+) ?(\w+)", message)
    if not amount:
        return f"not enough {memory}"
    number, unit = amount.groups()
    asked = f"{int(number) / 2**30:.2f} GiB" if unit == "bytes" else f"{number} {unit}"
    return f"not enough {memory} for another {asked}"
