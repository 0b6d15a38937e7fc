"""Networks that are made for a checkpoint take their pretrained weights from it, and download nothing.

The arguments that ask for pretrained weights stay as they are, because they change the structure too, such as
``transform_input`` of GoogLeNet. Only the download is left out. Weights that turn out not to be in the checkpoint, such
as those of a network that a module keeps in a list, are loaded as usual.
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
from cifar_cnn.errors import InputError
from cifar_cnn.trust.ownership import VARIABLE

_current: ContextVar["_Downloads | None"] = ContextVar("downloads", default=None)


@contextmanager
def as_usual() -> Iterator[None]:
    """Download pretrained weights until :func:`leave_to_checkpoint` is called, which holds to the end of the block."""
    with ExitStack() as patches:
        token = _current.set(_Downloads(patches))
        try:
            yield
        finally:
            _current.reset(token)


def leave_to_checkpoint() -> None:
    """From here to the end of :func:`as_usual`, download no pretrained weights of the libraries imported by now."""
    if downloads := _current.get():
        downloads.leave_out()


def allow_downloads(allowed: bool) -> None:
    """Say whether weights that are not in the checkpoint may be downloaded, to the end of :func:`as_usual`."""
    if downloads := _current.get():
        downloads.allowed = allowed


def complete(module: nn.Module, names: Container[str]) -> None:
    """Load the pretrained weights that were left out and are not in the checkpoint.

    Args:
        module: made for the checkpoint.
        names: of the checkpoint's weights.

    Raises:
        InputError: they cannot be loaded.
    """
    if downloads := _current.get():
        downloads.complete(module, names)


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

    def complete(self, module: nn.Module, names: Container[str]) -> None:
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
            except Exception as error:  # of the network, of the download or of a head that was replaced
                message = " ".join(str(error).split())[:200]
                raise InputError(
                    f"the checkpoint lacks the pretrained weights of {type(network).__name__}, and they cannot be "
                    f"loaded: {message}"
                ) from error

    def _patch(self, owner: Any, name: str, make: Callable[[Callable], Callable]) -> None:
        if (key := f"{owner.__name__}.{name}") in self._patched:
            return
        self._patched.add(key)
        original = inspect.unwrap(getattr(owner, name))  # of the library, where an outer block has replaced it
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
                f"the checkpoint lacks the pretrained weights of {network}; nothing is downloaded for a checkpoint "
                f"that you have not trained, unless you set {VARIABLE}=cifar_cnn"
            )

    def _instead_of_load(self, load: Callable) -> Callable:
        def instead(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(state_dict, _LeftOut) and not state_dict.is_read:
                self._leave(module, lambda later: load(later, dict(state_dict), *args, **kwargs))
                return load(module, module.state_dict())  # its own, for the answer that all keys match
            if isinstance(module, LightningModule):
                self.complete(module, state_dict)
            return load(module, state_dict, *args, **kwargs)

        return instead

    def _instead_of_loader(self, load: Callable) -> Callable:
        return lambda model, *args, **kwargs: self._leave(model, lambda later: load(later, *args, **kwargs))

    def _leave(self, network: nn.Module, load: Callable[[nn.Module], Any]) -> None:
        self._left.append((weakref.ref(network), load))


class _LeftOut(MutableMapping[str, Any]):
    """Weights that are downloaded when somebody looks into them."""

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
