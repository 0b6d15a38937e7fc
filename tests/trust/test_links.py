"""Links in another user's run folder: commands read and write nothing outside of the folder through them."""

import os
import shutil
from pathlib import Path

import pytest

from cifar_cnn.base.errors import InputError
from cifar_cnn.runs.folders import check_links
from tests.conftest import RunCommand

SECRET = "a line of a secret file"
LINKS = ("checkpoints/best.ckpt", "checkpoints", "filters", "metrics.csv", "report.html", "test.json", "config.yaml")


@pytest.fixture
def run(trained_run: Path) -> Path:
    return Path(shutil.copytree(trained_run, "lightning_logs/version_0"))


def linked(run: Path, name: str) -> Path:
    """Replace a file or folder of a run by a link to a path outside of the run; return that path."""
    outside = Path("outside").absolute()
    if (run / name).exists():
        shutil.move(run / name, outside)
    if not outside.is_dir():
        outside.write_text(SECRET)
    (run / name).symlink_to(outside)
    return outside


@pytest.mark.parametrize("name", LINKS)
def test_commands_that_read_a_run_follow_no_link_out_of_it(run: Path, name: str, run_command: RunCommand) -> None:
    outside = linked(run, name)
    before = sorted(outside.iterdir()) if outside.is_dir() else outside.read_text()
    line = f"{run / name} is a link that leads out of the run's folder; replace it with a copy of what it leads to, or "
    for words in (["report"], ["explain"], ["export"], ["test", "--ckpt_path"], ["fit", "--ckpt_path"]):
        assert run_command.refused(*words, run).startswith(line), words
    assert run_command.refused("compare", run, run).startswith(line)
    listed = run_command("runs")
    assert listed.out.splitlines()[-1].startswith(line)
    assert SECRET not in listed.out
    assert before == (sorted(outside.iterdir()) if outside.is_dir() else outside.read_text())


def test_links_within_a_run_and_to_a_run_are_followed(run: Path) -> None:
    (run / "checkpoints/final.ckpt").symlink_to("best.ckpt")
    (run / "wandb").mkdir()
    (run / "wandb/debug.log").symlink_to(os.devnull)
    Path("elsewhere").symlink_to(run)
    check_links(run)
    check_links(Path("elsewhere"))
    (run / "code").mkdir()
    (run / "code/loop.py").symlink_to("loop.py")
    check_links(run)
    (run / "code/net.py").symlink_to(os.devnull)
    with pytest.raises(InputError, match=r"^lightning_logs/version_0/code/net.py is a link"):
        check_links(run)
