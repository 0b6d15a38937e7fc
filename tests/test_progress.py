import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cifar_cnn.callbacks import progress
from cifar_cnn.callbacks.progress import TimedProgressBar


def test_the_bar_is_drawn_by_time_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.05, 10.15, 10.21, 10.3, 10.31])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    bar: Any = TimedProgressBar(interval=0.2)
    assert [bar._should_update(step, 6) for step in range(1, 7)] == [True, False, False, True, False, True]
    for terminal, interval in ((True, 0.2), (False, 10.0)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        assert TimedProgressBar().interval == interval
    bar.disable()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 99.0))
    assert not bar._should_update(6, 6)
