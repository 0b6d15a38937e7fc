"""Copy the folder ``configs`` into the package when a wheel is built; all other settings are in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Adds the configs to the built package; an editable installation finds them in the repository."""

    def run(self) -> None:
        """Build the package, then copy the configs."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "cifar_cnn", "configs")
            target.mkdir(parents=True, exist_ok=True)
            for config in Path(__file__).parent.glob("configs/*.yaml"):
                shutil.copyfile(config, target / config.name)


setup(cmdclass={"build_py": BuildWithConfigs})
