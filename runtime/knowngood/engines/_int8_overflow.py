"""Whether this processor's fast int8 products saturate, which changes scores without a word.

x86 without VNNI adds two products of a uint8 and an int8 in 16 bits, where they may not fit.
ONNX Runtime then has a slower exact path, which it takes only on request.
"""

from __future__ import annotations

import platform
from pathlib import Path

_X86 = ("x86_64", "amd64", "i386", "i686", "x86")
_EXACT = frozenset({"avx512_vnni", "avx_vnni"})
_CPUINFO = Path("/proc/cpuinfo")


def int8_products_may_saturate(machine: str = "", cpuinfo: Path = _CPUINFO) -> bool:
    """True on x86 unless the processor is known to have VNNI; where nothing tells, it may.

    Args:
        machine: architecture; that of this machine if empty.
        cpuinfo: Linux's list of what each processor has.
    """
    if (machine or platform.machine()).lower() not in _X86:
        return False
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux, or no /proc
        return True
    flags = [line.split(":", 1)[1].split() for line in lines if line.startswith("flags")]
    return not flags or any(_EXACT.isdisjoint(of_cpu) for of_cpu in flags)
