"""Where computing happens: device, ranks and the collectives, through Accelerate."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import nn

from tlbench.errors import RankLostError, UnsupportedError, UserError, sentence

Made = TypeVar("Made")


class AgreedMemoryError(UserError):
    """Some rank ran out of memory, and every rank knows."""


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory is full, on a GPU or on the CPU."""
    return isinstance(error, AgreedMemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class _Fault:
    """An error on its way to the other ranks: not every exception can be sent."""

    rank: int
    kind: type[Exception]
    text: str

    @classmethod
    def of(cls, error: Exception, rank: int) -> _Fault:
        unsupported = isinstance(error, UnsupportedError)
        kind = UnsupportedError if unsupported else AgreedMemoryError if out_of_memory(error) else UserError
        return cls(rank, kind, str(error) if unsupported else sentence(error))


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
        if not cpu:
            _repeatable()
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            cpu=cpu, mixed_precision="no", gradient_accumulation_steps=1, kwargs_handlers=[unused]
        )
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device
        self._agreed: Exception | None = None

    def wrap(self, machine: nn.Module) -> nn.Module:
        """Move a module here and, among several ranks, wrap it so that gradients are averaged."""
        self.in_step(lambda: machine.to(self.device))
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

    def in_step(self, work: Callable[[], Made]) -> Made:
        """Do work that waits for no other rank; if it fails on one of them, every rank raises the same error.

        Raises:
            AgreedMemoryError: the first rank that failed ran out of memory.
            UnsupportedError: it met a combination that has no meaning.
            UserError: anything else went wrong there. A process that is alone raises the error itself.
        """
        if self.world == 1:
            return work()
        made: list[Made] = []
        mine: list[_Fault] = []
        try:
            made.append(work())
        except Exception as error:
            mine.append(_Fault.of(error, self.rank))
        # Only now, when the error is forgotten and with it the tensors of its frames.
        faults: list[_Fault] = self.gather(mine)
        if not faults:
            return made[0]
        first = faults[0]
        alike = [fault.text for fault in faults] == [first.text] * self.world
        self._agreed = first.kind(first.text if alike else f"rank {first.rank} of {self.world}: {first.text}")
        raise self._agreed

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let no error of this rank through that the others do not raise as well.

        The others may wait for this rank inside a collective and could not be told, so it must end: then theirs
        fails too, or the launcher ends them.

        Raises:
            RankLostError: an error that `in_step` did not raise, among several ranks.
        """
        try:
            yield
        except Exception as error:
            if self.world == 1 or error is self._agreed:
                raise
            raise RankLostError(
                f"rank {self.rank} of {self.world} fell out of step with the others ({sentence(error)}): give the same "
                "command again, which starts this cell once more"
            ) from error

    def from_first(self, item: Any) -> Any:
        """Return rank 0's item on every rank."""
        if self.world == 1:
            return item
        return broadcast_object_list([item])[0]

    def release(self) -> None:
        """Forget the modules of the last cell and give the device's memory back.

        On a CPU alone reference counts have freed them by now, and a collection would walk every task's examples; but
        the C library keeps what was freed, so that each cell would begin with the memory of those before.
        """
        if self.world > 1 or self.device.type != "cpu":
            self.accelerator.free_memory()
        if self.device.type == "cpu":
            _trim()

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group; every exit path calls this."""
        self.accelerator.end_training()


def _repeatable() -> None:
    """Let a GPU compute the same numbers twice where that refuses no model; must come before its first product.

    cuBLAS needs a workspace of fixed size for it. New memory is not filled with NaN, which is for debugging and would
    launch a kernel for each tensor. cuDNN's attention is left out: its gradients may differ from run to run, and it
    plans each new shape of a batch anew.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.enable_cudnn_sdp(False)


def _trim() -> None:
    """Give freed memory back to the system, where the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
