"""Models by what people call them on the command line."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from deepnets.networks.skip_init import build_on_meta
from deepnets.tracing.dispatch import TraceError
from deepnets.utils.errors import did_you_mean, one_line


def load_target(target: str) -> nn.Module:
    """The model that a name means, with random weights, on the meta device where it can be built there.

    Args:
        target: a torchvision model, `timm:NAME`, `package.module:factory`, or `file.py:factory`; a factory is called
            without arguments.

    Raises:
        TraceError: there is no such model, or what was found is none.
    """
    source, _, name = target.rpartition(":")
    if source == "timm":
        return _build(target, _timm_factory(name))
    if source:
        return _build(target, _attribute(_module(source), source, name))
    if target.endswith(".py"):
        raise TraceError(f"{target} is a file; say which of its models or functions to trace, as in {target}:NAME")
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if target not in known:
        raise TraceError(f"torchvision has no model {target!r}{did_you_mean(target, known)}")
    return _build(target, lambda: torchvision.models.get_model(target))


def _timm_factory(name: str) -> Callable[[], nn.Module]:
    try:
        import timm
    except ImportError:
        raise TraceError("models of timm need the extra 'timm': pip install 'deepnets1m[timm]'") from None
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise TraceError(f"timm has no model {name!r}{did_you_mean(name, known)}")
    return lambda: timm.create_model(name)


def _module(source: str) -> Any:
    """An importable module, or a Python file."""
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise TraceError(f"there is no file {source}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        loader = spec.loader
        assert loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # as an import would, for classes that look their module up
        sys.path.insert(0, str(path.parent))  # as `python file.py` has it
        _tried(f"{source} cannot be run", lambda: loader.exec_module(module))
        return module
    sys.path.insert(0, "")  # the current folder, as `python -m` has it
    return _tried(f"{source} cannot be imported", lambda: importlib.import_module(source))


def _tried(what: str, function: Callable[[], Any]) -> Any:
    """What somebody's code returns.

    Raises:
        TraceError: it raised anything, or wanted to exit.
    """
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise TraceError(f"{what} ({one_line(f'{type(error).__name__}: {error}')})") from None


def _attribute(module: Any, source: str, name: str) -> Callable[[], Any]:
    if not hasattr(module, name):
        known = [n for n in vars(module) if callable(getattr(module, n)) and not n.startswith("_")]
        raise TraceError(f"{source} has no {name!r}{did_you_mean(name, known)}")
    found = getattr(module, name)
    if isinstance(found, nn.Module):
        return lambda: found
    if not callable(found):
        raise TraceError(f"{source}:{name} is {type(found).__name__}, neither a model nor a function that makes one")
    return found


def _build(target: str, factory: Callable[[], Any]) -> nn.Module:
    try:
        signature(factory).bind()
    except TypeError as error:
        raise TraceError(f"{target} cannot be called without arguments ({error})") from None
    except ValueError:  # nobody knows its arguments
        pass
    model = _tried(f"{target} makes no model", lambda: build_on_meta(factory))
    if not isinstance(model, nn.Module):
        raise TraceError(f"{target} makes {type(model).__name__}, which is no torch.nn.Module")
    return model
