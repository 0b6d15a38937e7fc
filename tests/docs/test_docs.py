import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
import yaml
from torch import nn

import cifar_cnn.cli
from cifar_cnn import lab
from cifar_cnn.analysis.compare.plan import Task
from cifar_cnn.analysis.report.curves import read_metrics
from cifar_cnn.lab import submissions
from tests.conftest import CONFIGS, NARROW, SMALL

Run = Callable[..., None]
DOCS = CONFIGS.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FEW = [
    *("--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false", "--report", "false"),
]


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The command lines of a page; for a shell loop, its commands with the first value of the loop."""
    lines = []
    for line in "\n".join(blocks(page, "sh")).splitlines():
        if loop := re.match(r"for (\w+) in (\S+) .*?; do (.*); done", line):
            line = loop[3].replace(f"${loop[1]}", loop[2])
        lines.append(shlex.split(line, comments=True))
    return [words[1:] for words in lines if words and words[0] == "cifar-cnn"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    shutil.copytree(CONFIGS, "configs")

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["cifar-cnn", *arguments])
        assert cifar_cnn.cli.run(list(arguments)) == 0, (arguments, capsys.readouterr().err)

    return run


def test_every_example_in_extending_is_short_and_works(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    examples = blocks("extending.md", "python")
    ran = commands("extending.md")
    assert (len(examples), len(ran)) == (10, 11)
    for example in examples:
        assert len([line for line in example.splitlines() if line.strip()]) < 20
    Path("mine.py").write_text("\n".join(examples))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.syspath_prepend(Path.cwd())
    for words in ran:
        small = ["--data.batch_size", "32"] if "--data.source" in words else SMALL
        run(*words[:3], *small, *FEW, *words[3:])
    assert "Initial weights: 6 of 8 tensors from lightning_logs/version_0/checkpoints" in "".join(caplog.messages)
    runs = [Path("lightning_logs", f"version_{number}") for number in range(len(ran))]
    assert "weight_norm" in (runs[4] / "metrics.csv").read_text().splitlines()[0]
    assert np.isfinite(np.load("image_losses.npy")).sum() == 32  # one batch
    (epoch,) = read_metrics(runs[10] / "metrics.csv")["train/loss"][1]
    assert 1 < epoch < 5
    config = yaml.safe_load((runs[10] / "config.yaml").read_text())["model"]
    _, named = blocks("extending.md", "yaml")
    assert config["class_path"] == yaml.safe_load(named)["model"]["class_path"]
    assert config["init_args"]["alpha"] == yaml.safe_load(named)["model"]["init_args"]["alpha"]
    run("test", *FEW[-4:])
    assert "Trained as" not in capsys.readouterr().err


def test_a_training_step_in_a_script_is_resumed_only_by_that_script(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "import sys\nfrom cifar_cnn.cli import run\n"
    end_ = '\nif __name__ == "__main__":\n    sys.exit(run(sys.argv[1:], model=Mixup))\n'
    Path("train.py").write_text(head + blocks("extending.md", "python")[-1] + end_)
    monkeypatch.setattr(sys, "argv", ["train.py", "fit", "--config", "configs/quickstart.yaml", *SMALL, *FEW])
    with pytest.raises(SystemExit) as end:
        runpy.run_path("train.py", run_name="__main__")
    assert end.value.code == 0
    record = json.loads(Path("lightning_logs/version_0/fit.json").read_text())
    assert record["command"].startswith("python train.py fit")
    run("test", *FEW[-4:])
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", "last"]) == 2
    assert "was trained as 'Mixup' and cannot be resumed as 'ImageClassifier': resume" in capsys.readouterr().err


def save_arrays() -> None:
    """Create the files that the recipes name."""
    images = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    for name in ("train", "test"):
        np.savez(f"{name}.npz", images=images, labels=np.arange(100) % 10)
    np.save("cifar10.1_v6_data.npy", images)
    np.save("cifar10.1_v6_labels.npy", np.arange(100) % 10)
    Path("CIFAR-10-C").mkdir()
    np.lib.format.open_memmap("CIFAR-10-C/fog.npy", "w+", np.uint8, (50_000, 32, 32, 3))
    np.save("CIFAR-10-C/labels.npy", np.arange(50_000) % 10)
    torch.save({"clean_label": np.arange(300) % 10, "worse_label": np.arange(300) % 9}, "CIFAR-10_human.pt")
    Path("val.txt").write_text("3\n1\n4\n", encoding="utf-8")


def test_every_recipe_works(run: Run, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for config in blocks("recipes.md", "yaml"):
        Path(config.split(":")[0].removeprefix("# ")).write_text(config)
    own, in_python, _, *examples = blocks("recipes.md", "python")
    Path("mine.py").write_text(own)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.syspath_prepend(Path.cwd())
    ran = commands("recipes.md")
    assert {words[0] for words in ran} == {"fit", "show", "test", "compare", "ensemble", "predict", "export"}
    save_arrays()
    compiled = []  # compiling takes a minute; a compiled network is trained in test_classifier.py
    monkeypatch.setattr(nn.Module, "compile", lambda module, mode: compiled.append((type(module).__name__, mode)))
    packages = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # tests/runs/test_tracking.py tests their output
    for words in ran:
        if any(name in words and find_spec(package) is None for name, package in packages.items()):
            continue
        words = [word.replace("DIR", str(image_folder)) for word in words]
        if words[0] == "fit":
            small = SMALL[-12:] if "--data.source" in words else SMALL
            small = [*small, *NARROW] if any(word.startswith("configs/resnet18") for word in words) else small
            run(*words[:3], *small, *FEW, *words[3:])
        elif words[0] == "show":
            run(*words, *SMALL[:10])
        elif words[0] == "test":
            run(*words, "--trainer.limit_test_batches", "1", *FEW[-2:])
        elif any(word.endswith("*") for word in words):
            newest = max(Path("lightning_logs").glob("version_*"), key=lambda path: int(path.name[8:]))
            run("compare", str(newest))
        elif words[0] == "compare":
            # test_compare.py tests its subprocesses; this test checks only that the command is valid.
            planned: list[Task] = []
            carry_out = "cifar_cnn.analysis.compare.comparison.carry_out"
            monkeypatch.setattr(carry_out, lambda tasks, engine, folder, planned=planned: planned.extend(tasks))
            with pytest.raises(AssertionError, match="no run has a result"):
                run(*words)
            which = [f"seed 0, fold {fold}" if "--folds" in words else f"seed {fold}" for fold in (0, 1)]
            names = [f"simple_cnn_{name}, {run_}" for name in ("a", "batchnorm") for run_ in which]
            assert [task.name for task in planned] == names
            assert all(task.epochs == 2 for task in planned)
        elif "int8" in words:
            run(*words, "--max_loss", "100")  # with 40 images, one more mistake is 2.5 points
        else:
            run(*words)
    assert Path("classes.json").is_file()
    assert list(Path("elsewhere").rglob("metrics.csv"))
    for example in (in_python, *examples):
        Path("use.py").write_text(example)
        runpy.run_path("use.py")
    assert compiled == [("ResNet18", None)]


@pytest.fixture
def sweep(run: Run) -> Path:
    """The script of the sweep, with two trials on few images."""
    _, _, script, *_ = blocks("recipes.md", "python")
    assert len([line for line in script.splitlines() if line.strip() and not line.startswith("#")]) <= 15
    config = yaml.safe_load(Path("configs/quickstart.yaml").read_text())
    source = {"class_path": "Shapes", "init_args": {"train_size": 600, "test_size": 10}}
    config["data"] |= {"source": source, "val_size": 300}
    config |= {"trainer": {"max_epochs": 2, "enable_progress_bar": False}, "report": False}
    Path("configs/quickstart.yaml").write_text(yaml.safe_dump(config))
    Path("sweep.py").write_text(script.replace("n_trials=8", "n_trials=2"))
    return Path("sweep.py")


def test_the_sweep_continues_after_a_trial_whose_loss_became_nan(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suggest = optuna.Trial.suggest_float
    config = Path("configs/quickstart.yaml")
    config.write_text(config.read_text().replace("max_epochs: 2", "max_epochs: 1"))

    def first_too_high(trial: optuna.Trial, name: str, low: float, high: float, *, log: bool) -> float:
        return 1e30 if trial.number == 0 else suggest(trial, name, low, high, log=log)

    monkeypatch.setattr(optuna.Trial, "suggest_float", first_too_high)
    study = runpy.run_path(str(sweep))["study"]
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE"]
    assert study.best_trial.number == 1


def test_the_sweep_ends_at_a_wrong_command(sweep: Path) -> None:
    sweep.write_text(sweep.read_text().replace("--test_after_fit=false", "--test_after_fitt=false"))
    with pytest.raises(AssertionError):
        runpy.run_path(str(sweep))


def test_the_sweep_uses_validation_accuracy_and_prunes(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", lambda self, study, trial: trial.number in (1, 3))
    runpy.run_path(str(sweep))
    trials = runpy.run_path(str(sweep))["study"].trials  # resumes the study
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED"] * 2
    for trial in trials:
        folder = Path("lightning_logs", f"version_{trial.number}")
        fit = json.loads((folder / "fit.json").read_text())
        assert f"--model.optimizer.lr={trial.params['lr']}" in fit["command"]
        assert (fit["finished"] is None) is (trial.state.name == "PRUNED")
        if fit["finished"]:
            accuracies = read_metrics(folder / "metrics.csv")["val/accuracy"][1]
            assert len(accuracies) == 2
            assert trial.value == pytest.approx(max(accuracies))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_and_names_in_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"configs/([\w.]+\.yaml)", text):
        assert (CONFIGS / name).is_file()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / target).exists()


def test_options_of_the_lab_and_of_several_devices_are_known(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    fits = [words for words in [*commands("lab.md"), *commands("multi-gpu.md")] if words[0] == "fit"]
    assert len(fits) > 5
    for words in fits:
        with pytest.raises(SystemExit) as end:
            run(*words, "--print_config")
        assert not end.value.code
        assert "backbone" in capsys.readouterr().out


def test_the_exercises_of_teaching_can_be_handed_out_and_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(DOCS.parent / "tests/lab/_answers.py", "lab.py")
    checked: list[tuple] = []

    def check(*words: object) -> lab.Results:
        checked.append(words)
        return lab.Results([])

    def check_all(*words: object) -> list:
        checked.append(words)
        return []

    monkeypatch.setattr(lab, "check", check)
    monkeypatch.setattr(submissions, "check_all", check_all)
    monkeypatch.setattr(submissions, "write_results", lambda *words: [])
    for words in commands("teaching.md"):
        if words[0] == "lab":
            run(*words)
    assert len(checked) == 4
    assert Path("lab1/lab.py").is_file()
    assert 'LANGUAGE = "ro"' in Path("lab2/lab.py").read_text(encoding="utf-8")


def test_the_networks_of_lab_py_are_trained_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (DOCS.parent / "tests/lab/_answers.py").read_text(encoding="utf-8")
    # The classes get other names: a second ResNet18 would make the short name ambiguous in later tests.
    Path("own_lab.py").write_text(answers.replace("ResNet18", "OwnNet").replace("ResidualBlock", "OwnBlock"))
    monkeypatch.syspath_prepend(Path.cwd())
    words = next(words for words in commands("teaching.md") if "lab.cross_entropy" in words)
    run(*words[:3], *SMALL, *FEW, *[word.replace("lab.", "own_lab.") for word in words[3:]])
    config = Path("lightning_logs/version_0/config.yaml").read_text()
    assert "own_lab.Net1a" in config
    assert "own_lab.cross_entropy" in config


def test_the_code_in_python_md_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path("python_page.py")
    code = "\n".join(blocks("python.md", "python"))
    for large, small in (
        ("train_size=2000, test_size=500", "train_size=500, test_size=100"),
        ("images=200", "images=10"),
    ):
        assert large in code
        code = code.replace(large, small)
    script.write_text(code)
    monkeypatch.setattr(sys, "argv", [str(script)])
    names = runpy.run_path(str(script))
    assert names["run"].folder.name == "version_0"
    assert names["own"].run.folder.name == "version_1"
    assert torch.equal(names["again"].logits(names["images"]), names["own"].run.logits(names["images"]))
