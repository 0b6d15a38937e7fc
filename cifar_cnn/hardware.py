"""Defaults that depend on the machine, each chosen from a measurement by ``benchmarks/``."""

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

from cifar_cnn.compat import cpu_has_matrix_units


def best_precision(accelerator: str = "auto") -> str:
    """The fastest of the precisions that train as well as float32 on the device that ``accelerator`` will choose.

    ``bf16-mixed`` on CPUs with matrix units for bfloat16 (AMX) and on CUDA devices that have it, else ``32-true``: on
    other CPUs bfloat16 is slower than float32.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "mps" or (accelerator in ("auto", "gpu") and torch.backends.mps.is_available()):
        return "32-true"
    return "bf16-mixed" if cpu_has_matrix_units() else "32-true"


def use_all_of_the_hardware() -> None:
    """Settings of the process that make training faster and no less exact than the precision in use.

    On a GPU TensorFloat-32 and cuDNN's search for the fastest convolutions; on a CPU no more threads than cores, and
    memory that stays with the process.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    cores = available_cores()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
    keep_freed_memory()


# glibc's malloc.h; what they do is in mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the allocator keep what is freed for the next step instead of handing it back to the system.

    A step's activations are large, and glibc maps each such block anew and unmaps it when it is freed: the system then
    clears every page of it in every step. Measured on 2 cores: 12 % (ResNet-18) to 68 % (SimpleCNN) more images a
    second, for up to a quarter more memory.

    Returns:
        Whether the allocator is glibc's and has taken the settings.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def available_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPU cores that this process may use, by its affinity and its container's quota; at least 1.

    Args:
        quota_file: holds quota and period in microseconds, as Linux's control groups of version 2 write them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no Linux, or no control groups of version 2
        pass
    return max(cores, 1)
