"""LoRA adapters beside a base's linear layers: two more products per layer, with the scale folded into B.

peft's unmerged forward adds casts, scaling and dropout around the same two products, which raises the kernels per layer
from 12 to 32-40. Here `y = linear(x) + (x @ a.T) @ b.T` in the base's compute type; `b` is the adapter's B times its
factor.

All matrices of an adapter are in one tensor, padded with zeros to the largest rank seen. A captured graph, which needs
fixed addresses, switches adapters by copying `LoraLayers.nbytes` bytes on the device.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starling_server.engine.protocols import AdapterId
from starling_server.errors import AdapterError
from starling_server.models import lora
from starling_server.models.lora import Lora, Shape

STEP = 8
"""Ranks are rounded up to a multiple of this: 16 bytes in 16-bit types, the row alignment matrix kernels prefer."""


class LoraLinear(nn.Module):
    """A linear layer of the base with the active adapter's pair of matrices."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.pair: tuple[Tensor, Tensor] | None = None
        """A and B, shapes (rank, inputs) and (outputs, rank); None skips both products."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., inputs) to (..., outputs)."""
        out: Tensor = self.linear(x)
        if self.pair is not None:
            a, b = self.pair
            low = nn.functional.linear(x, a)
            out.view(-1, b.shape[0]).addmm_(low.view(-1, b.shape[1]), b.t())  # in place: `out` is not shared
        return out


class LoraLayers:
    """The adapters of one model, at most one of them active. A new `LoraLayers` on the same model replaces this one."""

    def __init__(self, model: nn.Module, fixed: bool = False) -> None:
        """With `fixed`, layers read the same addresses for every adapter and always compute both products.

        Without it, switching copies nothing, and the bare base skips both products.
        """
        self.version = 0
        """Incremented when layers are wrapped or addresses change."""
        self._model, self._fixed = model, fixed
        self._layers: dict[str, LoraLinear] = {}
        self._rank = 0
        self._kept: dict[AdapterId, Tensor] = {}
        self._ranks: dict[AdapterId, int] = {}
        self._slots: Tensor | None = None
        self._active: AdapterId | None = None
        _unwrap(model)

    @property
    def names(self) -> tuple[AdapterId, ...]:
        """Names of the adapters in memory."""
        return tuple(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of one adapter, which is also the size of a switch's copy with fixed addresses."""
        flat = next(iter(self._kept.values()), None)
        return flat.numel() * flat.element_size() if flat is not None else 0

    def need(self, path: Path) -> tuple[int, int]:
        """Bytes of the adapter in `path` alone, and of all adapters in memory including it; raises AdapterError."""
        outline = lora.outline(path)
        outline.check(self._shape)
        rank = max(self._rank, _padded(outline.rank))
        own = _padded(outline.rank) * sum(sum(pair.shape) for pair in outline.pairs.values())
        among = _size(rank, self._layers_with(outline.pairs))
        return own * self._dtype.itemsize, among * self._dtype.itemsize * (len(self._kept) + 1)

    def add(self, name: AdapterId, path: Path) -> None:
        """Load the adapter in the folder `path`; raises AdapterError if it is damaged, not a LoRA or does not fit."""
        try:
            outline = lora.outline(path)
            outline.check(self._shape)
            read = outline.read()
            self._grow(outline.rank, self._layers_with(outline.pairs))
            self._kept[name] = self._flat(read)
            self._ranks[name] = outline.rank
        except AdapterError as error:
            raise AdapterError(f"Adapter {name!r} cannot be loaded: {error}") from error
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise AdapterError(f"Adapter {name!r} does not fit into the free memory: serve fewer adapters.") from error
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):
                raise
            raise AdapterError(f"Adapter {name!r} does not fit into the free memory: serve fewer adapters.") from error

    def remove(self, name: AdapterId) -> None:
        """Unload an adapter."""
        if self._active == name:
            self.use(None)
        del self._kept[name], self._ranks[name]
        rank = max(self._ranks.values(), default=0)
        if not self._fixed and _padded(rank) <= self._rank // 2:  # shrink: a large rank pads all adapters
            self._lay_out(_padded(rank), self._layers)

    @torch.inference_mode()
    def use(self, name: AdapterId | None) -> None:
        """Activate this adapter, or the bare base with None; does nothing if it is already active."""
        if name == self._active:
            return
        if self._slots is not None:
            self._slots.copy_(self._kept[name]) if name else self._slots.zero_()
        else:
            self._point(self._kept[name] if name else None)
        self._active = name

    def _linear(self, module: str) -> Any:
        """The base's layer of this name; None if it does not exist."""
        try:
            layer = self._model.get_submodule(module)
        except AttributeError:
            return None
        return layer.linear if isinstance(layer, LoraLinear) else layer

    def _shape(self, module: str) -> Shape | None:
        """(outputs, inputs) of the base's layer of this name; zeros if it is not linear, None if it does not exist."""
        layer = self._linear(module)
        return None if layer is None else (getattr(layer, "out_features", 0), getattr(layer, "in_features", 0))

    def _layers_with(self, modules: Iterable[str]) -> dict[str, LoraLinear]:
        """The layers that have pairs, plus new ones for `modules`; the model is not changed."""
        new = {module: LoraLinear(self._linear(module)) for module in modules if module not in self._layers}
        return self._layers | new

    def _grow(self, rank: int, layers: Mapping[str, LoraLinear]) -> None:
        """Make room for pairs of this rank in these layers; a change of layout deactivates the active adapter."""
        rank = max(self._rank, _padded(rank))
        if rank > self._rank or layers.keys() - self._layers.keys():
            self._lay_out(rank, layers)

    def _lay_out(self, rank: int, layers: Mapping[str, LoraLinear]) -> None:
        kept = {name: self._moved(flat, rank, layers) for name, flat in self._kept.items()}
        slots = self._empty(rank, layers) if self._fixed else None
        for module in layers.keys() - self._layers.keys():
            self._model.set_submodule(module, layers[module])
        self._rank, self._layers, self._kept, self._slots = rank, dict(layers), kept, slots
        self._point(slots)
        self._active = None
        self.version += 1

    def _point(self, flat: Tensor | None) -> None:
        """Point every layer's pair into `flat`."""
        pairs = dict(_pairs(flat, self._rank, self._layers)) if flat is not None else {}
        for module, layer in self._layers.items():
            layer.pair = pairs.get(module)

    def _flat(self, read: Lora) -> Tensor:
        """An adapter's matrices in the flat layout; filled on the CPU, then copied to the device at once."""
        flat = torch.zeros(_size(self._rank, self._layers), dtype=self._dtype)
        for module, (a, b) in _pairs(flat, self._rank, self._layers):
            if pair := read.pairs.get(module):
                a[: pair.rank] = torch.from_numpy(pair.a)
                b[:, : pair.rank] = torch.from_numpy(pair.factor * pair.b)
        return flat.to(self._device)

    def _moved(self, flat: Tensor, rank: int, layers: Mapping[str, LoraLinear]) -> Tensor:
        """The same matrices in another layout, which must have room for them."""
        moved = self._empty(rank, layers)
        places = dict(_pairs(moved, rank, layers))
        for module, (a, b) in _pairs(flat, self._rank, self._layers):
            both = min(rank, self._rank)
            places[module][0][:both] = a[:both]
            places[module][1][:, :both] = b[:, :both]
        return moved

    def _empty(self, rank: int, layers: Mapping[str, LoraLinear]) -> Tensor:
        return torch.zeros(_size(rank, layers), dtype=self._dtype, device=self._device)

    @property
    def _dtype(self) -> torch.dtype:
        model: Any = self._model
        return model.dtype

    @property
    def _device(self) -> torch.device:
        model: Any = self._model
        return model.device


def _padded(rank: int) -> int:
    """`rank` rounded up to a multiple of `STEP`."""
    return -(-rank // STEP) * STEP


def _size(rank: int, layers: Mapping[str, LoraLinear]) -> int:
    """Number of elements in one adapter's flat tensor."""
    shapes: list[Any] = [layer.linear for layer in layers.values()]
    return sum(rank * (linear.in_features + linear.out_features) for linear in shapes)


def _pairs(flat: Tensor, rank: int, layers: Mapping[str, LoraLinear]) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Each layer's name with its A (rank, inputs) and B (outputs, rank), views of `flat`."""
    at = 0
    for module, layer in layers.items():
        linear: Any = layer.linear
        middle = at + rank * linear.in_features
        end = middle + rank * linear.out_features
        yield module, (flat[at:middle].view(rank, -1), flat[middle:end].view(-1, rank))
        at = end


def _unwrap(model: nn.Module) -> None:
    """Unwrap the layers of an earlier `LoraLayers`."""
    wrapped = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear)]
    for name, module in wrapped:
        model.set_submodule(name, module.linear)
