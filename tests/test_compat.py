import importlib

import pytest

from cifar_cnn import compat

PRIVATE = [
    *compat.OVERRIDDEN,
    *compat.LOADERS_OF_PRETRAINED_WEIGHTS,
    ("torchvision.transforms.v2.RandAugment", compat.APPLY_OPERATION),
    ("jsonargparse._typehints", "discard_init_args_on_class_path_change"),
]


@pytest.mark.parametrize(("owner", "name"), PRIVATE)
def test_each_private_name_of_a_library_is_still_there(owner: str, name: str) -> None:
    pytest.importorskip(owner.partition(".")[0])
    try:
        found = importlib.import_module(owner)
    except ModuleNotFoundError:  # a class
        module, _, kind = owner.rpartition(".")
        found = getattr(importlib.import_module(module), kind)
    assert callable(getattr(found, name))


def test_processes_of_a_launcher_are_where_they_are_looked_for() -> None:
    assert "procs" in compat.ScriptLauncher.__init__.__code__.co_names
