import gc
from collections.abc import Iterator

import pytest

from cifar_cnn.lab import learning


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the training, which takes as long as all else of a check."""
    monkeypatch.setattr(learning, "learns_by_heart", lambda network, **options: [])


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Forget the classes of imported files: another ResNet18 makes the short name of the package's ambiguous."""
    yield
    gc.collect()
