"""Which device, which precision, which scale, one seed: chosen here and nowhere else."""

import os
import platform
import random
import subprocess
from pathlib import Path

import numpy as np
import torch

from resnets import processes

SCALES = ("quick", "hour", "full")
DEVICES = ("cuda", "mps", "cpu")


def best_device() -> torch.device:
    """`RESNETS_DEVICE` if it is set, else the first of CUDA, Apple's MPS and the CPU that is there.

    Of several processes on a machine with GPUs each has its own.

    Raises:
        ValueError: `RESNETS_DEVICE` names a device that is not there, or there are more processes
            than GPUs.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    kind = os.environ.get("RESNETS_DEVICE") or next(kind for kind in DEVICES if there[kind])
    if kind not in DEVICES:
        raise ValueError(f"there is no device {kind!r}: choose one of {', '.join(DEVICES)}")
    if not there[kind]:
        raise ValueError(
            f"no {kind} device is found here: choose another one, or install a driver and a build "
            "of PyTorch that know it (python -m torch.utils.collect_env shows what it sees)"
        )
    own = processes.local_rank()
    if kind == "cuda" and own is not None:
        if own >= torch.cuda.device_count():
            raise ValueError(
                f"process {own} has no GPU of its own, since {torch.cuda.device_count()} are "
                "found: start as many processes on a machine as it has GPUs (--nproc-per-node)"
            )
        return torch.device("cuda", own)
    return torch.device(kind)


def default_scale() -> str:
    """`RESNETS_SCALE` if it is set, else `full` on a GPU and `quick` on a CPU.

    `quick` takes minutes on two CPU cores, `hour` is what fits into an hour there, and
    `full` is meant for a GPU.

    Raises:
        ValueError: `RESNETS_SCALE` names no scale.
    """
    scale = os.environ.get("RESNETS_SCALE")
    if scale is None:
        return "quick" if best_device().type == "cpu" else "full"
    return check_scale(scale)


def conditions(scale: str) -> str:
    """A line or two for the top of a notebook: scale, hardware, version, and how to choose."""
    device = best_device()
    line = f"Scale {scale!r} on {hardware(device)}, torch {torch.__version__}."
    if device.type == "cpu":
        return (
            f"{line}\nNo GPU was found, so networks and trainings are small. "
            "Colab offers one under Runtime, Change runtime type."
        )
    if scale == "full":
        return (
            f"{line}\nThis is the long form. For the short one run this before, and restart: "
            "%env RESNETS_SCALE=quick"
        )
    return line


def check_scale(scale: str) -> str:
    """Return `scale`, or raise `ValueError` where there is none of that name."""
    if scale not in SCALES:
        raise ValueError(f"there is no scale {scale!r}: choose one of {', '.join(SCALES)}")
    return scale


def precision(device: torch.device) -> torch.dtype:
    """The type that convolutions and matrix products are computed in.

    bfloat16 where a CUDA device multiplies it in hardware, float32 elsewhere: emulated bfloat16 is
    slower than float32.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, dtype: torch.dtype | None = None) -> torch.autocast:
    """A context in which the forward pass runs in `dtype`, or in `precision(device)`."""
    dtype = dtype or precision(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators (every device)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def hardware(device: torch.device) -> str:
    """The name of the hardware behind `device`, as it stands beside a result."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        name = f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"
    if device.type == "mps":
        name += ", MPS"
    return name + processes.description()


def _cpu_name() -> str:
    """What the system calls the processor; where it has no name for it, its architecture."""
    system = platform.system()
    if system == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if system == "Windows":
        import winreg  # on Windows alone

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as processor:
            return winreg.QueryValueEx(processor, "ProcessorNameString")[0].strip()
    if system == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
