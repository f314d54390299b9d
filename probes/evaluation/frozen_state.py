"""The state in which a network is probed, and back again: evaluation mode, plain kernels, chosen statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from probes.evaluation.compiled import plain_functions
from probes.evaluation.products import multiplying

__all__ = ["left_as_found", "mixes_examples", "probing"]

_STATISTICS = ("running_mean", "running_var")


@contextmanager
def left_as_found(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no compiled functions inside; afterwards, by whatever way out, all is as before."""
    modes = [(module, module.training) for module in network.modules()]
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices), plain_functions():
        try:
            network.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


def mixes_examples(network: nn.Module, batchnorm: str) -> bool:
    """Whether an example's output depends on the other examples, by batch norm with batch statistics."""
    return batchnorm == "batch" and any(isinstance(module, _BatchNorm) for module in network.modules())


@contextmanager
def probing(
    network: nn.Module, *, batchnorm: str = "running", precision: str = "full", matmul: str = "torch"
) -> Iterator[None]:
    """Evaluation mode and differentiable, repeatable kernels inside; afterwards everything is as it was found.

    * Modes and the random state, as :func:`left_as_found`.
    * Attention runs in plain matrix products: no fused kernel, which cannot be differentiated twice, and no
      fast path, which differs with gradients on and off. Recurrent layers run without cuDNN, which
      has no gradient in evaluation mode.
    * What a call leaves behind in a module's attributes (recurrent layers' list of weights, the weight that the
      hooks of ``torch.nn.utils.weight_norm`` and ``spectral_norm`` compute) is put back.
    * Products of float32 matrices take the route ``matmul``, and TF32 is off unless ``precision`` is "tf32".
    * With ``batchnorm`` "batch" norm layers forget their running statistics for the time being.
    """
    with ExitStack() as stack:
        stack.enter_context(left_as_found(network))
        stack.enter_context(_attributes_kept(network))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_without_fast_paths(network))
        stack.enter_context(multiplying(matmul, tf32=precision == "tf32"))
        if batchnorm == "batch":
            stack.enter_context(_batch_statistics(network))
        yield


@contextmanager
def _attributes_kept(network: nn.Module) -> Iterator[None]:
    """Tensors, and lists of them, in modules' plain attributes are afterwards the same objects as before."""
    kept: list[tuple[dict[str, Any], str, Any, list[Any] | None]] = []
    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                kept.append((vars(module), name, value, None))
            elif isinstance(value, list) and any(isinstance(item, Tensor) for item in value):
                kept.append((vars(module), name, value, list(value)))
    try:
        yield
    finally:
        for attributes, name, value, items in kept:
            attributes[name] = value
            if items is not None:
                value[:] = items


@contextmanager
def _without_fast_paths(network: nn.Module) -> Iterator[None]:
    recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
    attention, cudnn = torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        if recurrent:
            torch.backends.cudnn.enabled = False
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(attention)
        if recurrent:
            torch.backends.cudnn.enabled = cudnn


@contextmanager
def _batch_statistics(network: nn.Module) -> Iterator[None]:
    """Without running statistics batch and instance norm use those of the batch, in evaluation mode too."""
    norms = [module for module in network.modules() if isinstance(module, _NormBase)]
    kept = [
        ({name: module._buffers.get(name) for name in _STATISTICS}, module.track_running_stats)
        for module in norms
    ]
    try:
        for module in norms:
            module._buffers.update(dict.fromkeys(_STATISTICS))
            module.track_running_stats = False
        yield
    finally:
        for module, (buffers, tracked) in zip(norms, kept, strict=True):
            module._buffers.update(buffers)
            module.track_running_stats = tracked
