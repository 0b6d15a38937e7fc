import json
import subprocess
import sys
from pathlib import Path

import pytest

from cifar_cnn.base.errors import InputError, Stopped, Terminated, is_interruption
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.training_lock import LOCK, is_training, training_in

HOLD = """
import sys, time
from pathlib import Path
from cifar_cnn.runs.training_lock import training_in
with training_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def recorded(status: str | None) -> RunFolder:
    folder = Path("lightning_logs", f"version_{status}")
    folder.mkdir(parents=True)
    if status is not None:
        (folder / "fit.json").write_text(json.dumps({"status": status}))
    return RunFolder(folder)


def test_a_run_is_trained_by_one_process_at_a_time() -> None:
    run = recorded("running")
    with training_in(run.folder):
        assert is_training(run.folder)
        assert run.status == "running"
        message = r"version_running is being trained by another process: .* start a new run without --ckpt_path"
        with pytest.raises(InputError, match=message), training_in(run.folder):
            pass
        assert is_training(run.folder)
    assert not is_training(run.folder)
    assert not (run.folder / LOCK).exists()
    with training_in(run.folder), training_in(None):
        pass


def test_a_killed_run_is_interrupted_and_can_be_trained_again() -> None:
    run = recorded("running")
    with subprocess.Popen([sys.executable, "-c", HOLD, run.folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert run.status == "running"
        process.kill()
    assert (run.folder / LOCK).is_file()
    assert run.status == "interrupted"
    with training_in(run.folder):
        assert run.status == "running"


def test_the_status_is_the_recorded_one() -> None:
    assert [recorded(status).status for status in ("finished", "interrupted", "failed")] == [
        "finished",
        "interrupted",
        "failed",
    ]
    empty = recorded(None)
    assert empty.status == "failed"
    empty.last.parent.mkdir()
    empty.last.touch()
    assert empty.status == "interrupted"


def test_signals_interrupt_and_errors_do_not() -> None:
    assert is_interruption(KeyboardInterrupt())
    assert is_interruption(Terminated())
    assert is_interruption(Stopped("stopped by SIGTERM", 143))
    assert not is_interruption(Stopped("the loss became nan"))
    assert not is_interruption(ValueError())
