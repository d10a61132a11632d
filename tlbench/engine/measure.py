"""What a cell costs and what computed it: time, peak memory, FLOPs, hardware, versions."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tlbench import __version__
from tlbench.canonical import digest
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision, instruction_set

PACKAGES = ("accelerate", "datasets", "numpy", "peft", "scikit-learn", "tokenizers", "torch", "transformers")


class Clock:
    """Wall-clock seconds by section of a cell."""

    def __init__(self) -> None:
        """Start."""
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, section: str) -> None:
        """Add the time since the last lap to a section."""
        now = time.perf_counter()
        self.seconds[section] = self.seconds.get(section, 0.0) + now - self._last
        self._last = now

    def move(self, source: str, target: str, seconds: float) -> None:
        """Count seconds of one section in another, once it is known what they were."""
        moved = min(seconds, self.seconds.get(source, 0.0))
        self.seconds[source] = self.seconds.get(source, 0.0) - moved
        self.seconds[target] = self.seconds.get(target, 0.0) + moved

    def total(self) -> dict[str, float]:
        """Return all sections and their total, rounded to milliseconds."""
        return {name: round(s, 3) for name, s in {**self.seconds, "total": time.perf_counter() - self._start}.items()}


class PeakMemory:
    """Peak memory of one cell: of the device, or of the process with the high-water mark reset first."""

    def __init__(self, place: Place) -> None:
        """Reset the high-water mark."""
        self.device = place.device
        self.method = "ru_maxrss of the process (earlier cells included)"
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.method = "torch.cuda.max_memory_allocated"
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.method = "VmHWM of the process, reset before the cell"
        except OSError:
            pass

    def read(self) -> int:
        """Return the peak in bytes."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        if self.method.startswith("VmHWM"):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def numerics(place: Place, precision: Precision) -> dict[str, Any]:
    """Return what answered: two records with equal `class` were computed with the same arithmetic."""
    facts = {
        "dtype": precision,
        "device": place.device.type if place.device.type == "cpu" else torch.cuda.get_device_name(place.device),
        "isa": instruction_set() if place.device.type == "cpu" else "",
        "world": place.world,
        "threads": torch.get_num_threads(),
        "dropout": "stream" if place.device.type == "cpu" else "torch",
        "versions": {
            name: ".".join(metadata.version(name).split(".")[:2])
            for name in ("torch", "transformers", "tokenizers", "peft")
        },
    }
    return {"class": digest(facts, 16), **facts}


def without_numerics() -> dict[str, Any]:
    """Return the numerics of a learner whose arithmetic does not depend on the device."""
    return {"class": "none", "dtype": "float64", "device": "cpu"}


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Return hardware, system, package versions and tlbench's own version and commit."""
    return {
        "hardware": hardware(),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "tlbench": __version__,
        **_commit(),
    }


@lru_cache(maxsize=1)
def hardware() -> str:
    """Return a short name of the hardware class: time and memory compare only inside it."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name} x {os.cpu_count()} ({instruction_set()})"


def _commit() -> dict[str, Any]:
    """Return the commit of a source checkout and whether it was changed; `None` for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(changed)}


def contended(workers: int) -> bool:
    """Return whether other work ran beside this cell, so that its time means little."""
    return workers > 1 or os.getloadavg()[0] > (os.cpu_count() or 1) + 0.5
