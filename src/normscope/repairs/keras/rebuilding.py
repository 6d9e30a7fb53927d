# pyright: basic
"""A Keras model built anew from its configuration, with some layers exchanged for others and all weights carried over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from normscope.errors import NormscopeError
from normscope.graph.keras.layers import children_of
from normscope.graph.keras.values import read
from normscope.probes.keras.asking import arguments
from normscope.record.keras.batches import Kept

Exchange = Mapping[int, Callable[[], Any]]  # by the id of a layer, what makes the one in its place


def rebuilt(model: Any, exchange: Exchange, batch: Kept | None = None) -> Any:
    """A copy with these layers exchanged, its variables those of the model by name; the model is left as it is.

    Functional and sequential models are cloned, nested ones included; layers and models of the user's own are made from their
    `get_config`, and what they hold is exchanged where they hold it. `batch` is what a subclassed model is called with once.

    Raises NormscopeError, with the reason, for a model that cannot be built again.
    """
    if not model.built:
        raise NormscopeError(
            f"`{type(model).__name__}` has no values yet: call it once, so that it is built."
        )
    try:
        copy = _clone(model, exchange) if _is_of_layers(model) else _remade(model, exchange)
        if not copy.built:
            _build(model, copy, batch)
    except NormscopeError:
        raise
    except NotImplementedError:
        raise NormscopeError(
            f"`{type(model).__name__}`, or a layer in it, is a class of your own without `get_config`, so that it cannot be built again. "
            "Give it one, or change the layers in its source."
        ) from None
    except Exception as error:  # noqa: BLE001  whatever the constructors of a user's layers raise
        told = " ".join(str(error).split()) or "no message"
        raise NormscopeError(
            f"`{type(model).__name__}` cannot be built again from its configuration ({type(error).__name__}: {told[:200]}). "
            "Change the layers in its source."
        ) from None
    _carry(model, copy, exchange)
    return copy


def twins(layer: Any, copy: Any) -> Iterator[tuple[Any, Any]]:
    """Every layer inside, with the one at its place in the copy."""
    seen: set[int] = set()

    def walk(here: Any, there: Any) -> Iterator[tuple[Any, Any]]:
        own, other = children_of(here), children_of(there)
        names = {x.name: x for x in other}
        by_name = len(names) == len(own) == len(other) and all(x.name in names for x in own)
        for i, child in enumerate(own):
            twin = names[child.name] if by_name else other[i] if i < len(other) else None
            if twin is not None and id(child) not in seen:
                seen.add(id(child))
                yield child, twin
                yield from walk(child, twin)

    yield from walk(layer, copy)


def _is_of_layers(model: Any) -> bool:
    return isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth")


def _clone(model: Any, exchange: Exchange) -> Any:
    words = {} if isinstance(model, keras.Sequential) else {"call_function": _call}
    return keras.models.clone_model(
        model, clone_function=lambda x: _remade(x, exchange), recursive=True, **words
    )


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Layers are called as they were, but those that take no mask, as batch norm does, get none."""
    if not layer._call_has_mask_arg:
        kwargs.pop("mask", None)
    return layer(*args, **kwargs)


def _remade(layer: Any, exchange: Exchange) -> Any:
    """The layer from its configuration, or the one in its place."""
    if (make := exchange.get(id(layer))) is not None:
        return make()
    made = layer.__class__.from_config(layer.get_config())
    for child, twin in list(twins(layer, made)):
        if (make := exchange.get(id(child))) is not None:
            _put(made, twin, make())
    return made


def _put(holder: Any, old: Any, new: Any) -> None:
    """Exchange a layer wherever `holder`, or a layer inside it, has it as an attribute or in a list."""
    for owner in [holder, *(x for _, x in twins(holder, holder))]:
        if not any(x is old for x in owner._layers):
            continue
        for name in [*vars(owner), *getattr(owner, "_modules", ())]:
            value = getattr(owner, name, None)
            if name != "_layers" and value is old:
                setattr(owner, name, new)
            elif name != "_layers" and isinstance(value, list):
                for i, item in enumerate(value):
                    if item is old:
                        value[i] = new
        owner._layers[:] = _in_place(owner._layers, old, new)


def _in_place(layers: list[Any], old: Any, new: Any) -> list[Any]:
    """The new one, which setting it put at the end, where the old one was."""
    rest = [x for x in layers if x is not new]
    return [new if x is old else x for x in rest]


def _build(model: Any, copy: Any, batch: Kept | None) -> None:
    if batch is None:
        raise NormscopeError(
            f"`{type(model).__name__}` is subclassed, and what it is called with is not known. Give its data: "
            "`return {'model': model, 'train': (x, y)}`."
        )
    args, kwargs = arguments(copy, batch)
    copy(*args, **kwargs)


def _carry(model: Any, copy: Any, exchange: Exchange) -> None:
    """Every variable by its name in its layer; those of layers that were exchanged as far as there are any of that name and shape."""
    for here, there in [(model, copy), *twins(model, copy)]:
        own, other = _named(here), _named(there)
        for name, variable in own.items():
            fits = name in other and tuple(other[name].shape) == tuple(variable.shape)
            if fits:
                other[name].assign(read(variable))
            elif id(here) not in exchange:
                raise NormscopeError(
                    f"`{type(model).__name__}` cannot be built again as it is: the variable `{variable.path}` has no place in what its "
                    "configuration gives."
                )


def _named(layer: Any) -> dict[str, Any]:
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    return {
        f"{v.name}.{i}" if [w.name for w in own].count(v.name) > 1 else v.name: v
        for i, v in enumerate(own)
    }
