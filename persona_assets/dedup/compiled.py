"""Kernels: plain loops over arrays, compiled at their first call."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import FunctionType
from typing import Any


@cache
def compiled(kernel: Callable[..., Any], *, cached: bool = True) -> Callable[..., Any]:
    """Compile a kernel, and the functions of its own module that it calls, with numba.

    A kernel is an ordinary module-level function, so that importing it costs nothing. Machine code is
    cached beside the source, or in the user's cache where the installation is read-only; where
    neither can be written, each process compiles for itself. Kernels release the GIL.
    """
    numba = import_module("numba")
    if not isinstance(kernel, FunctionType):
        raise TypeError(f"{kernel!r} is not a plain function")
    scope = kernel.__globals__
    called = {
        name: compiled(scope[name], cached=False)
        for name in kernel.__code__.co_names
        if isinstance(scope.get(name), FunctionType) and scope[name].__module__ == kernel.__module__
    }
    linked = FunctionType(kernel.__code__, {**scope, **called}, kernel.__name__, kernel.__defaults__)
    dispatcher: Callable[..., Any] = numba.njit(linked, nogil=True, forceinline=not cached)
    if cached:
        # numba raises RuntimeError where it finds no place that it may write to
        with suppress(RuntimeError):
            dispatcher.enable_caching()  # type: ignore[attr-defined]
    return dispatcher
