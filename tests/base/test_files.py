import os
from pathlib import Path

import pytest

from cifar_cnn.base import files
from cifar_cnn.base.paths import expanded, relative, user_folder


def test_temporary_names_are_unique_and_never_those_of_the_users_files() -> None:
    own = ["net.pt2.part", "net.part.pt2", "classes.csv.part"]
    for name in own:
        Path(name).write_text("mine")
    for target in (Path("net.pt2"), Path("classes.csv")):
        with files.replacing(target) as first, files.replacing(target) as second:
            assert first.name != second.name
            first.write(b"first")
            second.write(b"second")
        assert target.read_bytes() == b"first"  # it was closed last, and it is complete
    assert sorted(path.name for path in Path().iterdir()) == sorted([*own, "net.pt2", "classes.csv"])
    assert all(Path(name).read_text() == "mine" for name in own)


def test_a_name_may_be_as_long_as_the_file_system_allows() -> None:
    for name in ("n" * 255, "é" * 127):
        files.write(Path(name), "text")
        assert Path(name).read_text() == "text"


def test_leftovers_of_killed_processes_are_removed_and_nothing_else() -> None:
    kept = ["last.ckpt", "mine.part", "last.ckpt.part", "last.ckpt.0123456x.part", "lastXckpt.01234567.part"]
    for name in (*kept, "last.ckpt.01234567.part", "best.ckpt.89abcdef.part"):
        Path(name).touch()
    files.remove_leftovers(Path(), "last.ckpt")
    assert sorted(path.name for path in Path().iterdir()) == sorted([*kept, "best.ckpt.89abcdef.part"])
    files.remove_leftovers(Path())
    assert sorted(path.name for path in Path().iterdir()) == sorted(set(kept) - {"lastXckpt.01234567.part"})


def test_a_path_on_another_drive_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_another_drive(path: str, start: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    assert relative(os.path.abspath("runs")) == "runs"
    monkeypatch.setattr(os.path, "relpath", on_another_drive)
    assert relative(Path("D:/runs")) == str(Path("D:/runs"))


@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete a current folder")
def test_in_a_deleted_folder_a_path_is_unchanged(in_empty_folder: Path) -> None:
    in_empty_folder.rmdir()
    assert relative("/runs") == "/runs"


def test_a_user_without_a_home_has_no_folder_and_keeps_the_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for an unknown user without HOME
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_folder("XDG_CACHE_HOME", ".cache") is None
    assert expanded("~/photos") == Path("~/photos")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert user_folder("XDG_CACHE_HOME", ".cache") == Path("/cache")
