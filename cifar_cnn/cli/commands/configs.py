"""``cifar-cnn configs``: list or copy the configs that are installed with the package."""

from argparse import Namespace
from pathlib import Path

from cifar_cnn.base import packaged_configs


def run(options: Namespace) -> int:
    """List the configs or copy them into a folder; return the exit status.

    Raises:
        InputError: the folder is not writable, or already contains one of the files.
    """
    if options.folder is not None:
        copies = packaged_configs.copy_to(Path(options.folder))
        print(f"{len(copies)} configs copied into {options.folder}; train one with  cifar-cnn fit --config {copies[0]}")
        return 0
    names = packaged_configs.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {packaged_configs.description(name)}")
    print("\nTrain one with  cifar-cnn fit --config NAME ; copy all with  cifar-cnn configs DIR")
    return 0
