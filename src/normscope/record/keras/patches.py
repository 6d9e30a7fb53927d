# pyright: basic
"""The few methods of Keras that are wrapped, once per process and for good.

Wrappers stay and become transparent when no observer is live. Inside `torch.compile` each is the plain method, so
that a compiled graph is the same with and without observation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src.callbacks.callback_list import CallbackList
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.trainers.epoch_iterator import EpochIterator

from normscope.record.keras import backends, live
from normscope.record.keras.loops import PHASES
from normscope.record.keras.norms import KINDS

Method = Callable[..., Any]
_wrapped: list[Any] = []


def install() -> None:
    """Wrap what is not wrapped yet."""
    if _wrapped:
        return
    compiling = backends.current().compiling
    _wrap(keras.Layer, "__call__", functools.partial(_layer, compiling=compiling))
    _wrap(keras.Layer, "stateless_call", functools.partial(_stateless, compiling=compiling))
    _wrap(keras.Layer, "__new__", functools.partial(_made, compiling=compiling))
    for kind in KINDS:
        _wrap(kind, "call", functools.partial(_norm, compiling=compiling))
    _wrap(BaseOptimizer, "apply", functools.partial(_apply, compiling=compiling))
    for owner in (keras.losses.Loss, CompileLoss):
        _wrap(owner, "__call__", functools.partial(_loss, compiling=compiling))
    wrapper = keras.metrics.MeanMetricWrapper
    _wrap(wrapper, "update_state", functools.partial(_metric, compiling=compiling))
    for name in ("argmax", "convert_to_numpy"):
        _wrap(keras.ops, name, functools.partial(_decision, compiling=compiling))
    _wrap(EpochIterator, "__iter__", _iterates)
    if keras.config.backend() != "torch":  # where these are compiled as well
        for phase in PHASES:
            _wrap(keras.Model, f"{phase}_on_batch", functools.partial(_on_batch, phase=phase))
    if keras.config.backend() == "tensorflow":
        _install_tensorflow()
    if keras.config.backend() == "jax":
        from keras.src.backend.jax.trainer import JAXEpochIterator

        _wrap(JAXEpochIterator, "_get_iterator", _batches)
    for phase in PHASES:
        _wrap(CallbackList, f"on_{phase}_begin", functools.partial(_begins, phase=phase))
        _wrap(CallbackList, f"on_{phase}_end", functools.partial(_ends, phase=phase))
        _wrap(CallbackList, f"on_{phase}_batch_begin", functools.partial(_batch, phase=phase))
        _wrap(CallbackList, f"on_{phase}_batch_end", functools.partial(_batch_end, phase=phase))


def _install_tensorflow() -> None:
    from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
    from tensorflow.python.eager.polymorphic_function.polymorphic_function import (  # pyright: ignore
        Function,
    )

    _wrap(Function, "__call__", _function)
    _wrap(PyDatasetAdapter, "_standardize_batch", _made_by_dataset)
    _wrap(GeneratorDataAdapter, "get_tf_dataset", _made_by_generator)


def _wrap(owner: Any, name: str, make: Callable[[Method], Method]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.update_wrapper(make(original), original))
    _wrapped.append(original)


def _layer(call: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if compiling() or (observer := cell[0]) is None or observer.inside:
            return call(self, *args, **kwargs)
        return observer.forwards.run(call, self, args, kwargs)

    return __call__


def _stateless(call: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def stateless_call(
        self: Any, trainable: Any, non_trainable: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if compiling() or (observer := cell[0]) is None or observer.inside:
            return call(self, trainable, non_trainable, *args, **kwargs)

        def with_state(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return call(layer, trainable, non_trainable, *args, **kwargs)

        return observer.forwards.run(with_state, self, args, kwargs, traced=True)

    return stateless_call


def _norm(call: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def call_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not compiling() and (observer := cell[0]) is not None and observer.inside:
            x, training = _read(args, kwargs)
            observer.calls.note(self, x, training)
        return call(self, *args, **kwargs)

    return call_


def _own(call: Method, compiling: Callable[[], bool]) -> Method:
    """The `call` of a subclass, which may do all by itself."""
    cell = live.observer

    def call_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling() or (observer := cell[0]) is None or not observer.inside:
            return call(self, *args, **kwargs)
        x, training = _read(args, kwargs)
        before = observer.calls.before(self, training)
        result = call(self, *args, **kwargs)
        observer.calls.after(self, x, training, before)
        return result

    return call_


def _read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The input of a norm and its flag."""
    x = args[0] if args else next(iter(kwargs.values()), None)
    return x, args[1] if len(args) > 1 else kwargs.get("training")


def _wrap_own(cls: type[Any], compiling: Callable[[], bool]) -> None:
    """Wrap each `call` between a subclass and the norm of Keras' own, once."""
    for owner in cls.__mro__:
        if owner in KINDS:
            return
        if "call" in vars(owner) and not hasattr(owner.call, "_normscope"):
            _wrap(owner, "call", functools.partial(_own, compiling=compiling))
            vars(owner)["call"]._normscope = True


def _made(new: Method, compiling: Callable[[], bool]) -> Method:
    cell, kinds = live.observer, tuple(KINDS)

    def __new__(cls: type[Any], *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        made = new(cls, *args, **kwargs)
        # Keras reads the signatures of `__init__`, which therefore stays what it is.
        if issubclass(cls, kinds) and (observer := cell[0]) is not None:
            if cls not in KINDS:
                _wrap_own(cls, compiling)
            observer.made(made)
        return made

    return __new__


def _apply(apply: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def apply_(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
        if compiling() or (observer := cell[0]) is None:
            return apply(self, grads, trainable_variables)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        result = apply(self, grads, trainable_variables)
        observer.steps.applied(self, trainable_variables)
        return result

    return apply_


def _loss(call: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def __call__(  # noqa: N807
        self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        result = call(self, y_true, y_pred, sample_weight)
        if not compiling() and (observer := cell[0]) is not None and not observer.inside:
            observer.losses.loss(self, y_true, y_pred, sample_weight is not None, result)
        return result

    return __call__


def _metric(update: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def update_state(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if not compiling() and (observer := cell[0]) is not None and not observer.inside:
            observer.losses.decision(y_pred)
        return update(self, y_true, y_pred, sample_weight)

    return update_state


def _decision(function: Method, compiling: Callable[[], bool]) -> Method:
    cell = live.observer

    def decide(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not compiling() and (observer := cell[0]) is not None and not observer.inside:
            observer.losses.decision(x)
        return function(x, *args, **kwargs)

    return decide


def _iterates(iterate: Method) -> Method:
    cell = live.observer

    def __iter__(self: Any) -> Any:  # noqa: N807
        if (observer := cell[0]) is not None:
            observer.loops.iterates(self)
        return iterate(self)

    return __iter__


def _batches(get: Method) -> Method:
    cell = live.observer

    def watched(batches: Any) -> Iterator[Any]:
        for batch in batches:
            if (observer := cell[0]) is not None:
                observer.loops.sees(batch)
            yield batch

    def _get_iterator(self: Any) -> Any:
        batches = get(self)
        return batches if cell[0] is None else watched(batches)

    return _get_iterator


def _function(call: Method) -> Method:
    cell = live.observer

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if (observer := cell[0]) is None:
            return call(self, *args, **kwargs)
        return observer.functions.run(call, self, args, kwargs)

    return __call__


def _made_by_dataset(standardize: Method) -> Method:
    cell = live.observer

    def _standardize_batch(self: Any, batch: Any) -> Any:
        result = standardize(self, batch)
        if (observer := cell[0]) is not None:
            observer.loops.sources.made(self, result)
        return result

    return _standardize_batch


def _made_by_generator(get: Method) -> Method:
    cell = live.observer

    def watched(self: Any, batches: Any) -> Iterator[Any]:
        for batch in batches:
            if (observer := cell[0]) is not None:
                observer.loops.sources.made(self, batch)
            yield batch

    def get_tf_dataset(self: Any) -> Any:
        if cell[0] is not None:
            make = self.generator
            self.generator = lambda: watched(self, make())
        return get(self)

    return get_tf_dataset


def _begins(method: Method, phase: str) -> Method:
    cell = live.observer

    def begin(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (observer := cell[0]) is not None:
            observer.loops.begins(phase, self.model)
        return method(self, *args, **kwargs)

    return begin


def _ends(method: Method, phase: str) -> Method:
    cell = live.observer

    def end(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (observer := cell[0]) is not None:
            observer.loops.ends(phase)
        return method(self, *args, **kwargs)

    return end


def _on_batch(method: Method, phase: str) -> Method:
    cell = live.observer

    def on_batch(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if (observer := cell[0]) is None:
            return method(self, x, *args, **kwargs)
        observer.loops.one_batch_begins(phase, self, (x, *args[:1]))
        result = method(self, x, *args, **kwargs)
        observer.loops.one_batch_ends(phase)
        return result

    return on_batch


def _batch(method: Method, phase: str) -> Method:
    cell = live.observer

    def batch_begin(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        if (observer := cell[0]) is not None:
            observer.loops.batch_begins(phase)
        return result

    return batch_begin


def _batch_end(method: Method, phase: str) -> Method:
    cell = live.observer

    def batch_end(self: Any, batch: Any, logs: Any = None) -> Any:
        if (observer := cell[0]) is not None:
            observer.loops.batch_ends(phase, int(batch), logs)
        return method(self, batch, logs)

    return batch_end
