"""Defaults that depend on the machine; ``benchmarks/`` holds the measurements behind them."""

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

from cifar_cnn.compat import cpu_multiplies_bfloat16


def best_precision(accelerator: str = "auto") -> str:
    """The fastest precision that trains as well as float32 on the device selected by ``accelerator``.

    ``bf16-mixed`` on CUDA devices with bfloat16 and on CPUs that multiply it in hardware (AMX or AVX512_BF16), else
    ``32-true``: on other CPUs bfloat16 is slower than float32.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "mps" or (accelerator in ("auto", "gpu") and torch.backends.mps.is_available()):
        return "32-true"
    return "bf16-mixed" if cpu_multiplies_bfloat16() else "32-true"


def configure_hardware() -> None:
    """Configure the process for fast training without losing accuracy at the precision in use.

    On a GPU: TensorFloat-32 and cuDNN's search for the fastest convolutions. On a CPU: at most one thread per core, and
    freed memory stays with the process.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    cores = available_cores()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
    keep_freed_memory()


# From glibc's malloc.h; see mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make the allocator keep freed memory for the next step instead of returning it to the system.

    glibc maps each large block, such as the activations of a step, and unmaps it when it is freed, so the system has to
    clear all its pages in every step. Measured on 2 cores: 12 % (ResNet-18) to 68 % (SimpleCNN) more images per
    second, for up to 25 % more memory.

    Returns:
        Whether the allocator is glibc's and accepted the settings.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def available_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Number of CPU cores that this process may use, given its affinity and its container's quota; at least 1.

    Args:
        quota_file: file with quota and period in microseconds, as written by Linux control groups (version 2).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # not Linux, or no control groups (version 2)
        pass
    return max(cores, 1)
