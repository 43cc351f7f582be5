"""Energy that GPUs of this machine have taken, from NVIDIA's own counters."""

import contextlib
import ctypes
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"


class EnergyMeter:
    """Reads the counters of some GPUs.

    A counter belongs to its GPU: whoever else computes there is counted too.

    Args:
        visible: The GPUs, as ``CUDA_VISIBLE_DEVICES`` would name them; None = all.
    """

    def __init__(self, visible: str | None) -> None:
        self._library = _load()
        self._handles = [] if self._library is None else _handles(self._library, visible)

    def read_j(self) -> float | None:
        """Joules since the driver was loaded; None where no GPU counts them."""
        total_mj = 0
        for handle in self._handles:
            counted = ctypes.c_ulonglong()
            if self._library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(counted)):
                return None
            total_mj += counted.value
        return total_mj / 1000 if self._handles else None


def _load() -> Any:
    """The library that the driver brings, ready for questions; None on a machine without."""
    with contextlib.suppress(OSError):
        library = ctypes.CDLL(_LIBRARY)
        if library.nvmlInit_v2() == 0:
            return library
    return None


def _handles(library: Any, visible: str | None) -> list[ctypes.c_void_p]:
    """The visible GPUs; none of them if one cannot be found, as part of a sum says nothing."""
    if visible is None:
        count = ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        names = [str(index) for index in range(count.value)]
    else:
        names = [name.strip() for name in visible.split(",") if name.strip()]
    handles = []
    for name in names:
        handle = ctypes.c_void_p()
        if name.isdecimal():
            failed = library.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(handle))
        else:
            failed = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
        if failed:
            return []
        handles.append(handle)
    return handles
