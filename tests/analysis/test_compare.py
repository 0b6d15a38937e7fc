import base64
import csv
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock

import cifar_cnn.cli
from cifar_cnn.analysis.compare import compare_runs, plan, plots
from cifar_cnn.analysis.compare.carrying_out import carry_out
from cifar_cnn.analysis.compare.compared import Compared
from cifar_cnn.analysis.compare.disagreements import disagreements
from cifar_cnn.analysis.compare.local import Processes, check_memory_for, share
from cifar_cnn.analysis.compare.networks import Network, names_of
from cifar_cnn.analysis.compare.results import RunResult, read_run
from cifar_cnn.analysis.compare.writing import print_and_write
from cifar_cnn.base.errors import InputError
from cifar_cnn.cli.commands.compare import FitCommands
from cifar_cnn.runs.run import RunFolder
from tests.conftest import SMALL, RunCommand

Capture = pytest.CaptureFixture[str]
FOLDER = Path("lightning_logs/compare_0")
SHORT = [
    *SMALL[: SMALL.index("--test_after_fit")],
    "--trainer.max_epochs",
    "2",
    "--trainer.enable_progress_bar",
    "false",
]


@dataclass
class Ended:
    """A process that has ended."""

    status: int

    def poll(self) -> int:
        return self.status

    terminate = wait = poll


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run the commands of subprocesses in this process, to save the seconds that importing torch takes."""
    ran = []

    def start(engine: Processes, task: plan.Task, place: int) -> Ended:
        ran.append(task.work.command())
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with task.log.open("w") as log, monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["cifar-cnn", *ran[-1]])
            patch.setattr(sys, "stderr", log)
            return Ended(cifar_cnn.cli.run(ran[-1]))

    monkeypatch.setattr(Processes, "start", start)
    return ran


@pytest.fixture
def configs() -> list[str]:
    for name, batch_norm in (("plain", False), ("norm", True)):
        backbone = {
            "class_path": "cifar_cnn.backbones.SimpleCNN",
            "init_args": {"channels": [4, 6, 8], "batch_norm": batch_norm},
        }
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"report": False, "model": {"backbone": backbone}}))
    return ["plain.yaml", "norm.yaml"]


def test_configs_are_trained_with_each_seed_and_compared(
    in_this_process: list[list[str]], configs: list[str], run_command: RunCommand
) -> None:
    command = ["compare", *configs, "--seeds", "2", "--ensemble", *SHORT]
    finished = run_command(*command)
    assert finished.status == 0
    output = finished.out
    assert len(in_this_process) == 4

    content = json.loads((FOLDER / "compare.json").read_text())
    accuracies: dict[str, list[float]] = {"plain": [], "norm": []}
    for run in content["runs"]:
        assert run["folder"] == f"{FOLDER}/{run['name']}/seed_{run['seed']}/lightning_logs/version_0"
        folder = Path(run["folder"])
        tested = json.loads((folder / "test.json").read_text())
        assert run["test_accuracy"] == tested["accuracy"]
        best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["callbacks"]
        (score,) = [
            float(state["best_model_score"]) for name, state in best.items() if name.startswith("BestCheckpoint")
        ]
        assert run["val_accuracy"] == pytest.approx(score)
        accuracies[run["name"]].append(tested["accuracy"])
        assert yaml.safe_load((folder / "config.yaml").read_text())["seed_everything"] == run["seed"]
        with np.load(folder / "test_predictions.npz") as predictions:
            right = predictions["logits"].argmax(1) == predictions["labels"]
            confusion = np.zeros((10, 10), int)
            np.add.at(confusion, (predictions["labels"], predictions["logits"].argmax(1)), 1)
        assert right.mean() == pytest.approx(tested["accuracy"])
        np.testing.assert_array_equal(confusion, tested["confusion_matrix"])
    (axes,) = plots.curves([Network("plain", "", {0: read_run(folder)}, 1, 1)]).axes
    assert len(np.asarray(axes.lines[0].get_ydata())) == 2
    assert np.isfinite(np.asarray(axes.lines[0].get_ydata())).all()
    plain, norm, ensemble = content["networks"]
    probabilities, labels = [], np.zeros(0)
    for run in content["runs"]:
        with np.load(Path(run["folder"], "test_predictions.npz")) as predictions:
            exponentials, labels = np.exp(predictions["logits"].astype(float)), predictions["labels"]
            probabilities.append(exponentials / exponentials.sum(1, keepdims=True))
    assert ensemble["name"] == "ensemble of 4 runs"
    assert ensemble["test_accuracy_mean"] == (np.mean(probabilities, 0).argmax(1) == labels).mean()
    assert ensemble["parameters"] == 2 * (plain["parameters"] + norm["parameters"])
    assert "Ensemble of 4 runs: the mean of their probabilities; 95% confidence interval" in output
    check_page((FOLDER / "compare.html").read_text(encoding="utf-8"), labels, content)
    assert plain["test_accuracy_mean"] == pytest.approx(np.mean(accuracies["plain"]))
    assert plain["test_accuracy_sd"] == pytest.approx(np.std(accuracies["plain"], ddof=1))
    # 32 - 30 - 15 - 13 - 6: filters, biases and the fully connected layers by hand.
    parameters = (27 + 1) * 4 + (36 + 1) * 6 + (216 + 1) * 8 + (8 + 1) * 10
    assert (plain["parameters"], norm["parameters"]) == (parameters, parameters + 4 + 6)  # BatchNorm's scales
    assert plain["macs"] == norm["macs"] == 30 * 30 * 27 * 4 + 13 * 13 * 36 * 6 + 216 * 8 + 80
    assert (plain["n"], plain["epochs"]) == (2, 2)
    (difference,) = content["differences"]
    assert difference["b_minus_a"] == pytest.approx(np.mean(accuracies["norm"]) - np.mean(accuracies["plain"]))
    assert difference["paired"]
    assert difference["holm_p"] == difference["seeds_p"]  # a single pair
    assert difference["equivalence_margin"] == 0.005
    assert difference["over_images"][0] <= difference["b_minus_a"] <= difference["over_images"][1]

    markdown = (FOLDER / "compare.md").read_text()
    lines = [line for line in output.splitlines() if line.startswith("|")]  # after the output of the fits
    assert len(lines) >= 4
    assert set(lines) <= set(markdown.splitlines())
    assert re.search(rf"^\| plain +\| +2 \| +{plain['test_accuracy_mean']:.2%} \|", output, re.MULTILINE)
    for picture in re.findall(r"\((\w+\.png)\)", markdown):
        assert (FOLDER / picture).stat().st_size > 10_000
    with (FOLDER / "differences.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["over_images_low"]) == difference["over_images"][0]

    # Repeating the command trains nothing; a different command is a different plan.
    assert run_command(*command).status == 0
    assert len(in_this_process) == 4
    refused = run_command.refused("compare", *configs, "--seeds", "3", *SHORT, "--output", FOLDER)
    assert "holds another comparison" in refused


def check_page(page: str, labels: np.ndarray, content: dict[str, Any]) -> None:
    """Check the page of a comparison of two networks with two runs each, tested on the same images."""
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    table, differences = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert re.findall(r"</i>(\w+)</td>", table) == ["plain", "norm"]
    accuracies = [row["test_accuracy_mean"] for row in content["networks"]]
    assert [float(value) for value in re.findall(r"<tr>.*?(?:data-value=.*?){2}\"([\d.]+)\"", table)] == accuracies
    assert "<td>plain</td><td>norm</td>" in differences
    assert page.count("<svg") == 4  # curves and three costs
    right: dict[str, list[np.ndarray]] = {"plain": [], "norm": []}
    for run in content["runs"]:
        with np.load(Path(run["folder"], "test_predictions.npz")) as predictions:
            right[run["name"]].append(predictions["logits"].argmax(1) == labels)
    share = {name: np.mean(each, 0) for name, each in right.items()}
    for better, worse in (("plain", "norm"), ("norm", "plain")):
        n = int(((share[better] > 0.5) & (share[worse] < 0.5)).sum())
        _, _, rest = page.partition(f"{better} right, {worse} wrong: {n} images</h3>")
        assert rest[: rest.index("</div>")].count('<img src="data:image/png;base64,') == min(n, 12)


def test_an_interrupted_comparison_resumes_and_a_failed_run_stops_no_other(
    in_this_process: list[list[str]], configs: list[str], run_command: RunCommand
) -> None:
    broken = yaml.safe_load(Path("norm.yaml").read_text())
    broken["model"] |= {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e30}}}
    Path("broken.yaml").write_text(yaml.safe_dump(broken))
    command = ["broken.yaml", configs[0], "--seeds", "1", *SHORT]
    # The state after an interruption: the first of two epochs is finished, and the run is not tested.
    begun = FOLDER / "plain" / "seed_0"
    short = [word if word != "2" else "1" for word in SHORT]
    arguments = ["fit", "--config", "plain.yaml", *short, "--trainer.default_root_dir", str(begun)]
    assert run_command(*arguments).status == 0
    run = begun / "lightning_logs/version_0"
    saved = yaml.safe_load((run / "config.yaml").read_text())
    saved["trainer"]["max_epochs"], saved["test_after_fit"] = 2, True
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    identity = plan.identity([Path(name) for name in command[:2]], 1, SHORT)
    (FOLDER / "plan.json").write_text(json.dumps(identity))

    finished = run_command("compare", *command)
    assert finished.status == 1
    assert re.search("broken, seed 0 failed: the (loss|weights) became .*: stopped; ", finished.err)
    assert in_this_process[1][:3] == ["fit", "--ckpt_path", str(run / "checkpoints/last.ckpt")]
    assert len(RunFolder(run).epochs) == 2
    content = json.loads((FOLDER / "compare.json").read_text())
    assert [row["name"] for row in content["networks"]] == ["plain"]
    assert list(content["failed"]) == ["broken, seed 0"]
    assert "- broken, seed 0: " in (FOLDER / "compare.md").read_text()


def test_runs_are_read_and_untested_ones_are_tested(
    in_this_process: list[list[str]], trained_run: Path, run_command: RunCommand
) -> None:
    runs = [Path(f"run_{i}") for i in range(3)]
    for seed, run in enumerate(runs):
        shutil.copytree(trained_run, run)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["seed_everything"] = seed
        if seed == 2:
            config["model"]["optimizer"]["init_args"]["lr"] = 1.0
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    (runs[0] / "test_predictions.npz").unlink()
    finished = run_command("compare", *runs, "--output", "out")
    assert finished.status == 0
    assert [command[:3] for command in in_this_process] == [["test", "--ckpt_path", "run_0"]]
    content = json.loads(Path("out/compare.json").read_text())
    assert [(row["name"], row["n"]) for row in content["networks"]] == [
        ("quickstart, run_0", 2),
        ("quickstart, run_2", 1),
    ]
    (difference,) = content["differences"]
    assert difference["b_minus_a"] == pytest.approx(0)
    assert difference["over_images"] == [0, 0]
    assert difference["over_seeds"] is None
    output = finished.out
    assert "\nTested with" not in output
    assert "\nSome networks were tested" not in output
    options = output[output.index("| option ") :].partition("\n\n")[0].splitlines()
    assert [re.split(r" *\| *", line)[1:-1] for line in options[2:]] == [["model.optimizer.lr", "0.1", "1.0"]]

    with np.load(runs[2] / "test_predictions.npz") as arrays:
        changed = {**arrays, "images_sha256": np.array("others")}
    np.savez(runs[2] / "test_predictions.npz", **changed)
    test = json.loads((runs[2] / "test.json").read_text())
    (runs[2] / "test.json").write_text(json.dumps({**test, "tta": "flip"}))
    finished = run_command("compare", *runs, "--output", "out")
    assert finished.status == 0
    output = finished.out
    assert "Tested with test-time augmentation: quickstart, run_2 (flip).\n" in output
    assert "Some networks were tested on different images" in output
    assert re.search(r"^\| quickstart, run_0 +\| quickstart, run_2 .* different images \|", output, re.MULTILINE)


def test_runs_are_compared_in_python(trained_run: Path) -> None:
    for name, lr in (("run_0", 0.1), ("run_1", 1.0)):
        shutil.copytree(trained_run, name)
        config = yaml.safe_load((trained_run / "config.yaml").read_text())
        config["model"]["optimizer"]["init_args"]["lr"] = lr
        Path(name, "config.yaml").write_text(yaml.safe_dump(config))
    comparison = compare_runs(["run_0", "run_1"], margin=1, ensemble=True)
    assert [row["n"] for row in comparison.rows] == [1, 1, 2]
    assert comparison.rows[2]["test_accuracy_mean"] == pytest.approx(comparison.rows[0]["test_accuracy_mean"])
    ((_, _, result),) = comparison.pairs
    assert (result.mean, result.p, comparison.holm_p, result.equivalence_p) == (0, 1, [1], None)
    html = comparison._repr_html_()
    page = base64.b64decode(re.findall('base64,([^"]+)', html)[0]).decode()
    assert "quickstart, run_0 right, quickstart, run_1 wrong: 0 images" in page
    assert "<th>model.optimizer.lr</th><td>0.1</td><td>1.0</td>" in page
    assert re.search(r"\| model.optimizer.lr +\| +0.1 \| +1.0 \|", repr(comparison))
    assert not list(Path().glob("lightning_logs"))
    alone = compare_runs(["run_0"], ensemble=True)
    assert "There is no ensemble: an ensemble needs two or more runs." in alone.notes
    for runs, margin, message in (([], 1, "give one or more"), (["run_0"], 0, "margin must be between 0 and 100")):
        with pytest.raises(InputError, match=message):
            compare_runs(runs, margin=margin)


def test_positions_replace_images_that_are_gone(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run_0", "run_1"):
        shutil.copytree(trained_run, name)
    with np.load("run_1/test_predictions.npz") as arrays:
        shifted = {**arrays, "logits": np.roll(arrays["logits"], 1, axis=1)}
    np.savez("run_1/test_predictions.npz", **shifted)
    test = json.loads(Path("run_0/test.json").read_text())
    test["tested_on"]["sha256"] = "others"
    Path("run_0/test.json").write_text(json.dumps(test))
    found = disagreements(compare_runs(["run_0", "run_1"]).pairs)
    assert found["missing"] == [
        "The test images have changed since the test. Their positions in the test set are given instead."
    ]
    ((better, worse),) = (pair["sides"] for pair in found["pairs"])
    with np.load("run_0/test_predictions.npz") as arrays:
        a, labels = arrays["logits"].argmax(1), arrays["labels"]
    b = (a + 1) % 10
    positions = np.flatnonzero((a == labels) & (b != labels))
    assert better["count"] == len(positions)
    assert [image["index"] for image in better["images"]] == positions[:12].tolist()
    assert worse["count"] == ((b == labels) & (a != labels)).sum()
    assert {image["src"] for image in better["images"]} == {""}
    assert [image["said"] for image in better["images"]] == [test["class_names"][b[i]] for i in positions[:12]]


def test_a_test_of_another_checkpoint_is_not_used_for_the_best(
    in_this_process: list[list[str]], trained_run: Path, run_command: RunCommand
) -> None:
    shutil.copytree(trained_run, "run")
    best = Path("run/test.json").read_bytes()
    command = ["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--trainer.enable_progress_bar", "false"]
    assert run_command(*command).status == 0
    assert Path("run/test.json").read_bytes() == best
    assert json.loads(Path("run/test_last.json").read_text())["checkpoint"] == "checkpoints/last.ckpt"
    assert Path("run/test_last_predictions.npz").is_file()
    assert not Path("run/report.html").exists()
    assert run_command("compare", "run", "--output", "out").status == 0
    assert in_this_process == []
    # The files as version 0.1.0 wrote them.
    shutil.copy("run/test_last.json", "run/test.json")
    assert run_command("compare", "run", "--output", "out").status == 0
    assert [command[:3] for command in in_this_process] == [["test", "--ckpt_path", "run"]]
    assert json.loads(Path("run/test.json").read_text())["checkpoint"] == "checkpoints/best.ckpt"


def test_networks_are_named_by_their_differences() -> None:
    folders = [Path(name) for name in ("version_0", "version_1", "a/version_0", "a/version_1", "saved", "b/version_2")]
    for folder, config in zip(folders, ("small", "large", "large", "other", "", "given"), strict=True):
        folder.mkdir(parents=True)
        command = f"cifar-cnn fit --config configs/{config}.yaml" if config else "cifar-cnn fit"
        (folder / "fit.json").write_text(json.dumps({"command": command}))
    assert names_of(folders, {"given"}) == [
        *("small", "large, version_1", "large, version_0", "other", "saved", "given, version_2")
    ]
    Path("b/version_0").mkdir(parents=True)
    shutil.copy("a/version_0/fit.json", "b/version_0")
    assert names_of([Path("a/version_0"), Path("b/version_0")], set()) == ["a/version_0", "b/version_0"]


@dataclass
class Words:
    """A command instead of work on a run."""

    words: list[str]

    def command(self) -> list[str]:
        return self.words

    def run(self) -> None:
        return None


class Watched(Processes):
    """Calls a function each time a process is polled."""

    interval = 0.05

    def __init__(self, at: Callable[[plan.Task], None], jobs: int = 1) -> None:
        super().__init__(jobs)
        self.at = at
        self.started: list[tuple[str, int]] = []

    def start(self, task: plan.Task, place: int) -> Any:
        process = super().start(task, place)
        self.started.append((task.name, place))
        poll = process.poll

        def watched() -> int | None:
            self.at(task)
            return poll()

        process.poll = watched  # type: ignore[method-assign]
        return process


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, warm_python: str) -> None:
    """Start subprocesses without the seconds that their imports take."""
    monkeypatch.setattr(sys, "executable", warm_python)


@pytest.mark.usefixtures("fast")
def test_a_subprocess_is_awaited_and_under_nohup_survives_the_terminal(configs: list[str]) -> None:
    task = plan.training(Path("plain.yaml"), 0, FitCommands(SHORT), Path("out"))
    assert task.epochs == 2
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        carry_out([task], Watched(lambda task: os.kill(os.getpid(), signal.SIGHUP)), Path())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert task.is_done()
    assert not task.failure
    assert "Trained     SimpleCNN" in task.log.read_text()


def test_a_subprocess_imports_the_package_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if another copy of the package is installed. Here, an earlier entry of sys.path stands in for that copy."""
    other = Path("installed/cifar_cnn")
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('the other copy')")
    monkeypatch.setenv("PYTHONPATH", str(other.parent.resolve()))
    task = plan.Task("version", 1, Path("log.txt"), Words(["--version"]))
    assert Processes().start(task, 0).wait() == 0
    assert task.log.read_text() == f"cifar-cnn {cifar_cnn.__version__}\n"


@pytest.mark.usefixtures("fast")
def test_an_interrupted_subprocess_saves_first(configs: list[str]) -> None:
    options = [word if word != "2" else "1000000" for word in SHORT]
    task = plan.training(Path("plain.yaml"), 0, FitCommands(options), Path("out"))
    with pytest.raises(KeyboardInterrupt):
        carry_out([task], Watched(once(lambda: bool((run := task.run()) and RunFolder(run).epochs))), Path())
    assert "stopped by SIGTERM" in task.log.read_text()
    assert task.work.command()[:2] == ["fit", "--ckpt_path"]
    assert not task.is_done()


def once(ready: Callable[[], bool]) -> Callable[[plan.Task], None]:
    """Send SIGTERM to this process once, as soon as ``ready`` returns true."""
    signals = [signal.SIGTERM]

    def interrupt(task: plan.Task) -> None:
        if signals and ready():
            os.kill(os.getpid(), signals.pop())

    return interrupt


SAVES = """
import signal, sys, time
def save(*_):
    time.sleep(0.2)
    print("saved", sys.argv[1])
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


def test_an_interruption_lets_all_subprocesses_save_and_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("program.py").write_text(SAVES)
    monkeypatch.setattr("cifar_cnn.analysis.compare.local.PROGRAM", "program.py")
    tasks = [plan.Task(f"task {i}", 3, Path(f"{i}.txt"), Words([str(i)])) for i in range(3)]
    engine = Watched(once(lambda: all(task.log.read_text() == "ready\n" for task in tasks[:2])), jobs=2)
    with pytest.raises(KeyboardInterrupt):
        carry_out(tasks, engine, Path())
    assert [task.log.read_text() for task in tasks[:2]] == ["ready\nsaved 0\n", "ready\nsaved 1\n"]
    assert engine.started == [("task 0", 0), ("task 1", 1)]
    assert not any(task.failure for task in tasks)


def test_a_place_is_used_again_and_a_failure_stops_no_other() -> None:
    code = "import sys, time; time.sleep(float(sys.argv[1])); sys.exit('cifar-cnn: error: what went wrong')"
    tasks = [plan.Task(f"task {i}", 3, Path(f"{i}.txt"), Words([str(t)])) for i, t in enumerate((0, 1, 0, 0))]
    engine = Watched(lambda task: None, jobs=2)
    with pytest.MonkeyPatch.context() as patch:
        Path("program.py").write_text(code)
        patch.setattr("cifar_cnn.analysis.compare.local.PROGRAM", "program.py")
        carry_out(tasks, engine, Path())
    assert engine.started == [("task 0", 0), ("task 1", 1), ("task 2", 0), ("task 3", 0)]
    assert [task.failure for task in tasks] == ["what went wrong"] * 4


def test_processes_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar_cnn.analysis.compare.local.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = [0]
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus[0])
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert share(0, 1) == {}
    assert share(3, 4) == threads
    assert share(0, 16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert share(0, 2)["OMP_NUM_THREADS"] == "1"
    for gpus[0], jobs, own in (
        (1, 2, ["0", "0"]),
        (2, 3, ["0", "1", "0"]),
        (5, 2, ["0,1", "2,3"]),
        (3, 3, list("012")),
    ):
        assert [share(place, jobs)["CUDA_VISIBLE_DEVICES"] for place in range(jobs)] == own
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,4")
    gpus[0] = 2
    assert [share(place, 2)["CUDA_VISIBLE_DEVICES"] for place in range(2)] == ["6", "4"]


def test_the_images_of_all_jobs_must_fit_into_memory(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = np.zeros((100, 32, 32, 3), np.uint8)
    np.savez("images.npz", images=arrays, labels=np.arange(100) % 2)
    fits = FitCommands(["--data.batch_size", "4", "--trainer.max_epochs=1"])
    Path("drawn.yaml").write_text("data: {source: {class_path: Shapes, init_args: {train_size: 100, test_size: 20}}}")
    of_arrays = FitCommands(["--data.source", "Arrays", "--data.source.train=images.npz"])
    of_folder = FitCommands(["--data.source", "ImageFolder", "--data.source.root", str(image_folder)])
    for source, images in (
        (fits.source(Path("drawn.yaml")), 100),
        (of_arrays.source(Path("drawn.yaml")), 100),
        (of_folder.source(Path("drawn.yaml")), 40),
        (FitCommands(["--data.source", "CIFAR10"]).source(Path("drawn.yaml")), 50_000),
    ):
        assert source is not None
        needed = 2 * images * 3 * 32 * 32
        monkeypatch.setattr("cifar_cnn.analysis.compare.local.available_memory", lambda needed=needed: 3.5 * needed)
        check_memory_for(3, [None, source])
        with pytest.raises(InputError, match=r"the images of 4 runs at a time need .*: set jobs to 3"):
            check_memory_for(4, [source])
    assert FitCommands(["--data.source", "Nothing"]).source(Path("drawn.yaml")) is None


def test_the_progress_bar_covers_the_whole_plan(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    tasks = [plan.Task(f"task {i}", 3, Path(f"{i}.txt"), Words([])) for i in range(2)]

    def start(engine: Processes, task: plan.Task, place: int) -> Ended:
        task.log.write_text("what went wrong\n")
        return Ended(1)

    monkeypatch.setattr(Processes, "start", start)
    carry_out(tasks, Processes(2), Path())
    assert [task.failure for task in tasks] == ["what went wrong"] * 2
    err = capsys.readouterr().err
    assert "task 0 and 1 more:   0%" in err
    assert "6/6" in err


def test_mistakes_are_one_line(trained_run: Path, configs: list[str], run_command: RunCommand) -> None:
    run = str(trained_run)
    Path("full").mkdir()
    Path("full/file").touch()
    Path("broken.yaml").write_text("model: {backbone: {class_path: SimpelCNN}}")
    for arguments, message in (
        ([], "the following arguments are required: RUN_OR_CONFIG"),
        (["nope.yaml"], "nope.yaml is neither a config"),
        ([configs[0], configs[0]], "given twice: plain"),
        ([run, "--trainer.max_epochs", "3"], "--trainer.max_epochs applies to configs"),
        ([run, "--seeds", "2"], "--seeds applies to configs, but only runs were given"),
        ([run, "--folds", "2"], "--folds applies to configs, but only runs were given"),
        ([configs[0], "--folds", "2", "--data.fold", "1"], "--data.fold and --folds both choose the validation images"),
        ([configs[0], "--folds", "2", "--data.val_size=0.1"], "--data.val_size and --folds both choose"),
        ([configs[0], "--trainer.max_epochs"], "--trainer.max_epochs needs a value"),
        ([configs[0], "--seeds", "0"], "--seeds must be 1 or more"),
        ([configs[0], "--folds", "0"], "--folds must be 2 or more"),
        ([configs[0], "--margin", "0"], "margin must be between 0 and 100 percentage points, not 0"),
        ([configs[0], "--jobs", "0"], "jobs must be 1 or more, not 0"),
        ([configs[0], "broken.yaml"], "^broken.yaml: model.backbone: there is no 'SimpelCNN'; nearest: SimpleCNN"),
        ([configs[0], "--trainer.max_epoch", "1"], "unknown option --trainer.max_epoch; nearest: --trainer.max_epochs"),
        ([run, "--output", "full"], "full exists and is not the folder of a comparison"),
    ):
        assert re.search(message, run_command.refused("compare", *arguments))
    Path("out").mkdir()
    identity: dict[str, Any] = {"items": {os.path.relpath(run): "run"}, "seeds": None, "options": []}
    Path("out/plan.json").write_text(json.dumps(identity))
    with FileLock("out/.lock"):
        refused = run_command.refused("compare", run, "--output", "out")
    assert "another process is working on this comparison, in out" in refused


def test_a_file_that_cannot_be_replaced_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    Path("compare.md").write_text("as it was")
    monkeypatch.setattr("cifar_cnn.base.files.move", fail)
    result = RunResult(Path(), 0, "", 0.5, [0.4, 0.5], 1.0, np.array([True]), "", "none")
    compared = Compared("cifar-cnn compare a.yaml", [Network("a", "", {0: result})], {})
    with pytest.raises(InputError, match=r"cannot write into .*: No space left on device"):
        print_and_write(Path.cwd(), compared)
    assert [path.name for path in Path().iterdir()] == ["compare.md"]
    assert Path("compare.md").read_text() == "as it was"
