import pytest

from cifar_cnn.lab import learning


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the training, which takes as long as all else of a check."""
    monkeypatch.setattr(learning, "learns_by_heart", lambda network, **options: [])
