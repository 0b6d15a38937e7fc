import importlib.metadata
import json
import subprocess
from pathlib import Path

import pytest

from cifar_cnn.callbacks import surroundings
from cifar_cnn.callbacks.run_record import git_commit
from cifar_cnn.callbacks.surroundings import keep_packages, keep_working_folder


def git(*words: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x"]
    return subprocess.run(["git", *identity, *words], capture_output=True, check=True, text=True).stdout.strip()


def test_the_changes_of_the_working_folder_are_kept_and_untracked_files_are_named() -> None:
    run = Path("runs")
    run.mkdir()
    assert keep_working_folder(run, Path()) is None
    git("init")
    assert keep_working_folder(run, Path()) is None  # no commit yet
    Path(".gitignore").write_text("runs\n.env\n")
    Path("train.py").write_text("lr = 1\n")
    git("add", ".")
    git("commit", "-m", "one")
    clean = {"folder": str(Path.cwd()), "commit": git("rev-parse", "HEAD"), "diff": None, "diff_truncated": False}
    assert keep_working_folder(run, Path()) == {**clean, "untracked": []}
    Path("train.py").write_text("lr = 2\n")
    Path(".env").write_text("secret")
    Path("n\u00f6tes").mkdir()
    Path("n\u00f6tes/a.txt").write_text("secret")
    assert keep_working_folder(run, run) == {**clean, "diff": "git.diff", "untracked": ["n\u00f6tes/"]}
    diff = (run / "git.diff").read_text()
    assert "-lr = 1\n+lr = 2\n" in diff
    assert "secret" not in diff
    git("apply", "--check", "--reverse", str(run / "git.diff"))
    Path("train.py").write_text("lr = 3\n")
    for _ in range(2):  # a resumed run keeps the earlier file
        resumed = keep_working_folder(run, Path())
        assert resumed is not None
        assert resumed["diff"] == "git_1.diff"
    assert (run / "git.diff").read_text() == diff


def test_a_large_diff_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    git("init")
    Path("train.py").write_text("")
    git("add", ".")
    git("commit", "-m", "one")
    Path("train.py").write_text("x = 1\n" * 50_000)
    monkeypatch.setattr(surroundings, "MOST", 1000)
    kept = keep_working_folder(Path(), Path())
    assert kept is not None
    assert kept["diff_truncated"]
    assert Path("git.diff").stat().st_size == 1000


def test_no_program_that_the_repository_names_is_run() -> None:
    git("init")
    Path("train.py").write_text("lr = 1\n")
    git("add", ".")
    git("commit", "-m", "one")
    Path(".gitattributes").write_text("* filter=strange=r diff=stranger")
    Path("train.py").write_text("lr = 2\n")
    for key in ("filter.strange=r.clean", "filter.strange=r.process", "core.fsmonitor", "diff.stranger.command"):
        section, _, name = key.rpartition(".")
        kind, _, sub = section.partition(".")
        with Path(".git/config").open("a") as config:
            config.write(f'[{kind} "{sub}"]\n' if sub else f"[{kind}]\n")
            config.write(f"{name} = touch {Path.cwd().parent}/was_run\n")
    kept = keep_working_folder(Path(), Path())
    assert kept is not None
    assert (kept["diff"], kept["diff_truncated"]) == (None, True)
    assert git_commit(Path()) == kept["commit"]
    git("config", "--local", "--remove-section", "filter.strange=r")
    kept = keep_working_folder(Path(), Path())
    assert kept is not None
    assert kept["diff"] == "git.diff"
    assert not Path("../was_run").exists()


def test_all_packages_are_listed(trained_run: Path) -> None:
    assert keep_packages(Path()) == "packages.txt"
    lines = Path("packages.txt").read_text().splitlines()
    assert f"torch=={importlib.metadata.version('torch')}" in lines
    assert len(lines) >= len({each.metadata["Name"].lower() for each in importlib.metadata.distributions()})
    assert (trained_run / "packages.txt").read_text().splitlines() == lines
    fit = json.loads((trained_run / "fit.json").read_text())
    assert fit["packages"] == "packages.txt"
    assert fit["threads"] >= 1
    assert fit["working_folder"] is None or fit["working_folder"]["commit"]
