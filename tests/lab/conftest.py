import gc
from collections.abc import Iterator

import pytest

from cifar_cnn.lab import learning


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the training, which takes half the time of a check."""
    monkeypatch.setattr(learning, "learns_by_heart", lambda network, **options: [])


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Forget the classes of imported files. A second ResNet18 would make the package's short name ambiguous."""
    yield
    gc.collect()
