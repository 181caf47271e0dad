"""Model loading: models by the names that people use on the command line."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from deepnets.networks.skip_init import build_on_meta
from deepnets.tracing.errors import TraceError
from deepnets.utils.errors import did_you_mean, one_line


@contextmanager
def loaded_model(target: str) -> Iterator[nn.Module]:
    """Build the model that a name stands for, with random weights, and yield it.

    The model is on the meta device if it can be built there. Inside the `with` block its code imports modules as in
    `python file.py` or `python -m module`. Afterwards `sys.path` and the loaded modules are as before: `mine.py` does
    not replace an installed `mine`.

    Args:
        target: a torchvision model, `timm:NAME`, `package.module:factory`, or `file.py:factory`; a factory is called
            without arguments.

    Raises:
        TraceError: there is no such model, or the name stands for something that is not a model.
    """
    source, _, name = os.path.expanduser(target).rpartition(":")
    if source == "timm":
        yield _build(target, _timm_factory(name))
    elif source:
        with _importable(source):
            yield _build(target, _model_factory(_attribute(_import(source), source, name), target))
    elif target.endswith(".py"):
        raise TraceError(f"{target} is a file; say which of its models or functions to trace, as in {target}:NAME")
    else:
        yield _build(target, _torchvision_factory(target))


def loaded_inputs(target: str) -> Any:
    """Return what a function makes that a user wrote: inputs for `deepnets.trace`.

    Args:
        target: `file.py:function` or `package.module:function`; it is called without arguments.

    Raises:
        TraceError: there is no such function, or it fails.
    """
    source, _, name = target.rpartition(":")
    if not source:
        raise TraceError(f"--inputs is {target}; it must be file.py:function or package.module:function")
    with _importable(source):
        make = _attribute(_import(source), source, name)
        if not callable(make):
            raise TraceError(f"{target} is {type(make).__name__}, not a function that makes inputs")
        inputs = _try(f"{target} makes no inputs", make)
    if inputs is None:
        raise TraceError(f"{target} returns None; it must return a tensor, a tuple, or a dictionary of arguments")
    return inputs


def _torchvision_factory(name: str) -> Callable[[], nn.Module]:
    import torchvision

    names = torchvision.models.list_models()
    if name not in names:
        raise TraceError(f"torchvision has no model {name!r}{did_you_mean(name, names)}")
    builder = torchvision.models.get_model_builder(name)
    options = {"weights_backbone": None} if "weights_backbone" in signature(builder).parameters else {}
    return partial(builder, **options)


def torchvision_model(name: str) -> nn.Module:
    """Build a model of torchvision with random weights; those of its backbone are random too.

    Args:
        name: any of `torchvision.models.list_models()`.

    Raises:
        TraceError: torchvision has no such model.
    """
    return _torchvision_factory(name)()


def timm_model(name: str, num_classes: int | None = None) -> nn.Module:
    """Build a model of timm with random weights.

    Args:
        name: architecture, or weights, which decide the size of the images.
        num_classes: outputs of the classifier, by default those of the weights.

    Raises:
        TraceError: timm is not installed, or it has no such model.
    """
    options = {} if num_classes is None else {"num_classes": num_classes}
    return _timm_factory(name)(**options)


def _timm_factory(name: str) -> Callable[..., nn.Module]:
    try:
        import timm
    except ImportError:
        raise TraceError("models of timm need the extra 'timm': pip install 'deepnets1m[timm]'") from None
    names = timm.list_models()
    if name.partition(".")[0] not in names:
        raise TraceError(f"timm has no model {name!r}{did_you_mean(name, names)}")
    return partial(timm.create_model, name)


@contextmanager
def _importable(source: str) -> Iterator[None]:
    """Put the folder of a Python file, or the current one, on `sys.path`; undo all changes afterwards."""
    path, is_file = list(sys.path), source.endswith(".py")
    name = Path(source).stem if is_file else ""
    replaced = sys.modules.get(name)
    sys.path.insert(0, str(Path(source).parent) if is_file else "")
    try:
        yield
    finally:
        sys.path[:] = path
        if replaced is not None:
            sys.modules[name] = replaced
        elif is_file:
            sys.modules.pop(name, None)


def _import(source: str) -> ModuleType:
    """Import a module, or run a Python file."""
    if not source.endswith(".py"):
        imported: ModuleType = _try(f"{source} cannot be imported", lambda: importlib.import_module(source))
        return imported
    path = Path(source)
    if not path.is_file():
        raise TraceError(f"there is no file {source}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # as an import does: classes look their module up
    _try(f"{source} cannot be run", lambda: loader.exec_module(module))
    return module


def _try(what: str, function: Callable[[], Any]) -> Any:
    """Return what somebody else's code returns.

    Raises:
        TraceError: it raised anything, or exited.
    """
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise TraceError(f"{what} ({one_line(f'{type(error).__name__}: {error}')})") from None


def _attribute(module: ModuleType, source: str, name: str) -> Any:
    """Return what a module calls a name.

    Raises:
        TraceError: it has no such name.
    """
    if not hasattr(module, name):
        names = [n for n in vars(module) if callable(getattr(module, n)) and not n.startswith("_")]
        raise TraceError(f"{source} has no {name!r}{did_you_mean(name, names)}")
    return getattr(module, name)


def _model_factory(attribute: Any, target: str) -> Callable[[], Any]:
    if isinstance(attribute, nn.Module):
        return lambda: attribute
    if not callable(attribute):
        kind = type(attribute).__name__
        raise TraceError(f"{target} is {kind}, neither a model nor a function that makes one")
    factory: Callable[[], Any] = attribute
    return factory


def _build(target: str, factory: Callable[[], Any]) -> nn.Module:
    try:
        signature(factory).bind()
    except TypeError as error:
        raise TraceError(f"{target} cannot be called without arguments ({error})") from None
    except ValueError:  # its arguments are unknown
        pass
    model = _try(f"{target} makes no model", lambda: build_on_meta(factory))
    if not isinstance(model, nn.Module):
        raise TraceError(f"{target} makes {type(model).__name__}, which is not a torch.nn.Module")
    return model
