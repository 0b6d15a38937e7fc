"""Avoid downloading pretrained weights for networks whose weights are loaded from a checkpoint.

The arguments that request pretrained weights are kept, because they can also change the structure of the network
(``transform_input`` of GoogLeNet, for example). Only the download is skipped. Weights that are missing from the
checkpoint, such as those of a network kept in a plain list, are downloaded afterwards.
"""

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Container, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from cifar_cnn import compat
from cifar_cnn.base.errors import InputError
from cifar_cnn.trust.ownership import VARIABLE

_current: ContextVar["_Downloads | None"] = ContextVar("downloads", default=None)


@contextmanager
def deferrable_downloads() -> Iterator[None]:
    """Within this block, download pretrained weights as usual until :func:`defer_downloads` is called."""
    with ExitStack() as patches:
        token = _current.set(_Downloads(patches))
        try:
            yield
        finally:
            _current.reset(token)


def defer_downloads() -> None:
    """Within :func:`deferrable_downloads`, skip from now on the downloads of all libraries imported so far."""
    if downloads := _current.get():
        downloads.leave_out()


def allow_downloads(allowed: bool) -> None:
    """Within :func:`deferrable_downloads`, allow or forbid downloads of weights missing from the checkpoint."""
    if downloads := _current.get():
        downloads.allowed = allowed


def load_missing(module: nn.Module, names: Container[str]) -> None:
    """Load the pretrained weights whose download was skipped and that are missing from the checkpoint.

    Args:
        module: the module created for the checkpoint.
        names: the names of the weights in the checkpoint.

    Raises:
        InputError: the weights cannot be loaded.
    """
    if downloads := _current.get():
        downloads.load_missing(module, names)


class _Downloads:
    def __init__(self, patches: ExitStack) -> None:
        self._patches = patches
        self.allowed = True
        self._patched: set[str] = set()
        self._left: list[tuple[weakref.ref[nn.Module], Callable[[nn.Module], Any]]] = []

    def leave_out(self) -> None:
        self._patch(WeightsEnum, "get_state_dict", self._instead_of_download)
        self._patch(nn.Module, "load_state_dict", self._instead_of_load)
        for module, name in compat.LOADERS_OF_PRETRAINED_WEIGHTS:
            if module in sys.modules:
                self._patch(sys.modules[module], name, self._instead_of_loader)

    def load_missing(self, module: nn.Module, names: Container[str]) -> None:
        weights = module.state_dict(keep_vars=True)
        held = {id(value) for name, value in weights.items() if name in names}
        left, self._left = self._left, []
        for reference, load in left:
            network = reference()
            tensors = network.state_dict(keep_vars=True).values() if network is not None else ()
            if network is None or all(id(value) in held for value in tensors if isinstance(value, Tensor)):
                continue
            self._check(type(network).__name__)
            try:
                load(network)
            except Exception as error:  # the download failed, or the weights do not fit, such as after replacing a head
                message = " ".join(str(error).split())[:200]
                raise InputError(
                    f"the checkpoint lacks the pretrained weights of {type(network).__name__}, and they cannot be "
                    f"loaded: {message}"
                ) from error

    def _patch(self, owner: Any, name: str, make: Callable[[Callable], Callable]) -> None:
        if (key := f"{owner.__name__}.{name}") in self._patched:
            return
        self._patched.add(key)
        original = inspect.unwrap(getattr(owner, name))  # the library's, even if an outer block has patched it
        instead = make(original)

        @functools.wraps(original)
        def chosen(*args: Any, **kwargs: Any) -> Any:
            return (instead if _current.get() is self else original)(*args, **kwargs)

        self._patches.enter_context(mock.patch.object(owner, name, chosen))

    def _instead_of_download(self, download: Callable) -> Callable:
        def later(*args: Any, **kwargs: Any) -> Any:
            self._check("a network")
            return download(*args, **kwargs)

        return lambda *args, **kwargs: _LeftOut(lambda: later(*args, **kwargs))

    def _check(self, network: str) -> None:
        if not self.allowed:
            raise InputError(
                f"the checkpoint lacks the pretrained weights of {network}, and you did not train this checkpoint, so "
                f"they are not downloaded; to allow the download, set {VARIABLE}=cifar_cnn"
            )

    def _instead_of_load(self, load: Callable) -> Callable:
        def instead(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(state_dict, _LeftOut) and not state_dict.is_read:
                self._leave(module, lambda later: load(later, dict(state_dict), *args, **kwargs))
                return load(module, module.state_dict())  # returns that all keys match
            if isinstance(module, LightningModule):
                self.load_missing(module, state_dict)
            return load(module, state_dict, *args, **kwargs)

        return instead

    def _instead_of_loader(self, load: Callable) -> Callable:
        return lambda model, *args, **kwargs: self._leave(model, lambda later: load(later, *args, **kwargs))

    def _leave(self, network: nn.Module, load: Callable[[nn.Module], Any]) -> None:
        self._left.append((weakref.ref(network), load))


class _LeftOut(MutableMapping[str, Any]):
    """Weights that are downloaded at the first access."""

    def __init__(self, download: Callable[[], Any]) -> None:
        self._download = download
        self.is_read = False

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        self.is_read = True
        return dict(self._download())

    def __getitem__(self, name: str) -> Any:
        return self._content[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._content[name] = value

    def __delitem__(self, name: str) -> None:
        del self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)
