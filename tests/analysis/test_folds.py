import shutil
from pathlib import Path

import yaml

from cifar_cnn.analysis.compare.networks import group
from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.analysis.compare.tables import notes


def test_runs_that_differ_in_their_fold_are_one_network(trained_run: Path, tmp_path: Path) -> None:
    folders: list[Path] = []
    for fold, crop in ((0, 2), (1, 2), (0, 4)):
        folder = shutil.copytree(trained_run, tmp_path / f"{len(folders)}")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"] |= {"fold": fold, "folds": 2}
        config["data"]["augment"]["crop"] = crop
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        folders.append(folder)
    first, other = group([(folder, read_run(folder)) for folder in folders], set())
    assert list(first.runs) == ["seed 0, fold 0", "seed 0, fold 1"]
    assert list(other.runs) == ["seed 0, fold 0"]
    (note,) = (line for line in notes([first, other]) if line.startswith("Cross-validation"))
    assert first.name in note
