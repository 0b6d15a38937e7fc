import shutil
from pathlib import Path

import yaml

from cifar_cnn.analysis.compare.comparison import Settings, tasks_of
from cifar_cnn.analysis.compare.networks import group
from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.analysis.compare.tables import notes
from cifar_cnn.cli.commands.compare import FitCommands


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


def test_compare_trains_each_config_on_each_fold(tmp_path: Path) -> None:
    fits = FitCommands(["--trainer.max_epochs", "1"], folds=3)
    config = tmp_path / "plain.yaml"
    config.write_text("model: {backbone: SimpleCNN}")
    tasks = tasks_of(config, tmp_path, fits, Settings(seeds=2, folds=3))
    assert [task.name for task in tasks] == [f"plain, seed {s}, fold {f}" for s in range(2) for f in range(3)]
    assert len({task.log for task in tasks}) == 6
    command = fits.fit(config, 1, tmp_path, 2)
    assert command[command.index("--data.val_size") :][:6] == ["--data.val_size", "null", "--data.fold", "2", *FOLDS]
    assert "--data.folds" not in FitCommands([]).fit(config, 1, tmp_path)


FOLDS = ["--data.folds", "3"]
