"""Where computing happens: device, ranks and the collectives, through Accelerate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import nn


class Place:
    """One process among `world`; all ranks run the same cell in step.

    Attributes:
        accelerator: Accelerate's own object.
        rank: This process, 0 <= rank < world.
        world: Number of processes that share a cell.
        device: Where tensors live.
    """

    def __init__(self) -> None:
        """Join the process group that torchrun or accelerate launch prepared, or stand alone."""
        # Without a GPU the ranks find each other only if Accelerate is told that the CPU is meant.
        cpu = not torch.cuda.is_available()
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            cpu=cpu, mixed_precision="no", gradient_accumulation_steps=1, kwargs_handlers=[unused]
        )
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device

    def wrap(self, machine: nn.Module) -> nn.Module:
        """Move a module here and, among several ranks, wrap it so that gradients are averaged."""
        machine.to(self.device)
        if self.world == 1:
            return machine
        wrapped: nn.Module = self.accelerator.prepare_model(machine)
        return wrapped

    def gather(self, items: Sequence[Any]) -> list[Any]:
        """Return the items of all ranks, on every rank, in rank order."""
        if self.world == 1:
            return list(items)
        return list(gather_object(list(items)))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all ranks, on every rank."""
        if self.world == 1:
            return tensor
        total: torch.Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return total

    def from_first(self, item: Any) -> Any:
        """Return rank 0's item on every rank."""
        if self.world == 1:
            return item
        return broadcast_object_list([item])[0]

    def release(self) -> None:
        """Forget the modules of the last cell."""
        self.accelerator.free_memory()

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group; every exit path calls this."""
        self.accelerator.end_training()


def under_launcher() -> bool:
    """Return whether a launcher (torchrun, accelerate launch) started this process as one of several ranks."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
