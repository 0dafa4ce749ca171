"""Several processes that train one network together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m resnets run fashion --scale full --seed 0

The communication is `torch.distributed`'s. One process alone needs nothing of this.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

_sync_batch_norm = False


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0. Process 0 is the one that prints and writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_rank() -> int | None:
    """Which of this machine's processes this one is, and so which GPU is its own; alone, None."""
    rank = os.environ.get("LOCAL_RANK")
    return None if rank is None else int(rank)


def description() -> str:
    """What several processes add to the line that names the hardware; empty for one alone."""
    if count() == 1:
        return ""
    synchronized = ", synchronized batch normalization" if _sync_batch_norm else ""
    return f", {count()} processes{synchronized}"


@contextmanager
def joined(device: torch.device, sync_batch_norm: bool = False) -> Iterator[None]:
    """Join the processes that `torchrun` started, each with its own `device`; alone, do nothing.

    `sync_batch_norm` lets batch normalization see the whole batch and not each process's share.
    A process that fails inside ends without waiting for the others, and `torchrun` stops them.

    Raises:
        ValueError: this kind of device cannot exchange gradients, or not synchronize batch
            normalization.
    """
    global _sync_batch_norm
    if not distributed.is_torchelastic_launched():
        yield
        return
    backends = {"cuda": "nccl", "cpu": "gloo"}
    if device.type not in backends:
        raise ValueError(
            f"several processes cannot train on {device.type}: set RESNETS_DEVICE=cpu, or start "
            "one process without torchrun"
        )
    if sync_batch_norm and device.type == "cpu":
        raise ValueError(
            "PyTorch synchronizes batch normalization on GPUs only: leave it out on a CPU"
        )
    own = {"device_id": device} if device.type == "cuda" else {}
    distributed.init_process_group(backends[device.type], **own)
    _sync_batch_norm = sync_batch_norm
    yield
    distributed.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """Run the block in process 0, and in the others after it: they find what it downloaded."""
    if rank() > 0:
        distributed.barrier()
    yield
    if rank() == 0 and count() > 1:
        distributed.barrier()


def averaging(model: nn.Module, leaves_layers_out: bool = False) -> nn.Module:
    """`model` with gradients averaged over the processes; alone, the model itself.

    A model that leaves layers out in some steps must leave out the same ones in all processes.
    """
    if count() == 1:
        return model
    if _sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=leaves_layers_out,
    )


def share(*batch: Tensor) -> tuple[Tensor, ...]:
    """This process's part of a batch: every `count()`-th image, from its own rank on."""
    return tuple(part[rank() :: count()] for part in batch)


def summed(*numbers: Tensor) -> tuple[Tensor, ...]:
    """Each tensor of numbers, added up over the processes."""
    if count() > 1:
        for tensor in numbers:
            distributed.all_reduce(tensor)
    return numbers


def check_same(number: int, device: torch.device, what: str) -> None:
    """Raise `ValueError` unless all processes have the same `number`; `what` says of what."""
    (total,) = summed(torch.tensor(number, device=device))
    if total != number * count():
        raise ValueError(
            f"process {rank()} has {number} {what}, others have another number: let "
            "RESNETS_CHECKPOINTS name a folder that all machines share"
        )


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors, in place, with those of process 0."""
    if count() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)
