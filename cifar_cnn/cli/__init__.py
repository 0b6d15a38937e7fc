"""The command line: parser, commands, help and error messages.

``run`` runs a command line from Python; ``CLI`` is the class that implements ``fit``, ``validate`` and ``test``. Both
are imported on first use, so that ``cifar-cnn --help`` loads no large library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar_cnn.cli.main import run
    from cifar_cnn.cli.parser import CLI

__all__ = ["CLI", "run"]

_MODULE_OF = {"run": "main", "CLI": "parser"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cifar_cnn.cli' has no attribute {name!r}")
    return getattr(import_module(f"cifar_cnn.cli.{_MODULE_OF[name]}"), name)
