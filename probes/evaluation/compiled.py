"""Networks that went through ``torch.compile``, as they were before.

What is compiled can be neither watched nor differentiated twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["plain_functions", "taken_apart", "uncompiled", "uncompiled_names"]

T = TypeVar("T")

_WRAPPER = "_orig_mod"


def uncompiled_names(named: Mapping[str, T]) -> dict[str, T]:
    """Anything by the names of a compiled network's tensors, by their names before."""
    return {".".join(part for part in name.split(".") if part != _WRAPPER): named[name] for name in named}


def taken_apart(network: nn.Module) -> tuple[nn.Module, list[Callable[[], object]]]:
    """The network before compilation, with no compiled module inside any more.

    Returns:
        The network itself or what it was made of, and what undoes the change, to be called from the last to the first.
    """
    undo: list[Callable[[], object]] = []
    found = _inner(network)
    for module in found.modules():
        for name, inner in list(module._modules.items()):
            if inner is not None and _inner(inner) is not inner:
                undo.append(partial(module._modules.__setitem__, name, inner))
                module._modules[name] = _inner(inner)
        if module._compiled_call_impl is not None:  # of Module.compile()
            undo.append(partial(setattr, module, "_compiled_call_impl", module._compiled_call_impl))
            module._compiled_call_impl = None
    return found, undo


@contextmanager
def uncompiled(network: nn.Module) -> Iterator[nn.Module]:
    """The network before compilation; afterwards it is as it was found."""
    with ExitStack() as after:
        found, undo = taken_apart(network)
        for step in undo:
            after.callback(step)
        yield found


def plain_functions() -> AbstractContextManager[object]:
    """Inside, compiled functions run as they were written."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):  # before torch 2.6
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def _inner(network: nn.Module) -> nn.Module:
    """What a compiled network was made of; any other network itself."""
    compilers: Any = sys.modules.get("torch._dynamo.eval_frame")  # loaded by whoever compiles
    compiled = compilers is not None and isinstance(network, compilers.OptimizedModule)
    return getattr(network, _WRAPPER) if compiled else network
