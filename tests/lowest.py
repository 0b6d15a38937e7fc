"""Print the lowest version of each dependency that pyproject.toml allows, as a constraints file for pip.

`make test-lowest` runs it in a new environment in which only this project and `packaging` are installed.
"""

from importlib.metadata import requires

from packaging.requirements import Requirement


def lowest_versions(requirements: list[str]) -> list[str]:
    """Return `name==version` for each requirement with a lower bound, including those of the extras."""
    pins = []
    for requirement in map(Requirement, requirements):
        bounds = [specifier.version for specifier in requirement.specifier if specifier.operator == ">="]
        pins += [f"{requirement.name}=={bound}" for bound in bounds]
    return pins


if __name__ == "__main__":
    print(*lowest_versions(requires("cifar-cnn") or []), sep="\n")
