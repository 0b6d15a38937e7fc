"""Compare the speedrun recipe in ``cifar-cnn fit`` with a bare loop, one after the other for each seed.

``python -m benchmarks.speedrun --root DIR [--seeds 0 1 2]`` prints one JSON object with the training time of both sides
(without loading the images and the test), their steps and seconds per step, and their test accuracy with and without
test-time augmentation. The bare loop is the same recipe without Lightning, in the form of the record's script
(KellerJordan/cifar10-airbench, airbench94_muon.py) with this project's network and optimizer; it reads its numbers from
the config. All images are normalized once, and mirrored and shifted once per epoch; nothing is logged.

``--script airbench94_muon.py`` runs your copy of a record's script as well, in a form for CPUs: see
``benchmarks/_record_script.py``. With ``--sides command script``, it takes the place of the bare loop. With
``--limit``, it stops after as many steps as the other sides make and is not tested.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional

from benchmarks._commands import process_environment
from benchmarks._measure import machine, run
from benchmarks._record_script import PRECISIONS
from cifar_cnn.augmentations.whole_batches import jitter
from cifar_cnn.backbones import SpeedrunNet
from cifar_cnn.base.channel_statistics import channel_mean_std
from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.whitening import whitening_filters
from cifar_cnn.data import ImageFolder
from cifar_cnn.data.augment import normalize
from cifar_cnn.hardware import best_precision, configure_hardware
from cifar_cnn.optim import Muon, parameter_groups
from cifar_cnn.subsets.splitting import random_order
from cifar_cnn.tta import logits_with_tta

CONFIG = Path(__file__).parent.parent / "configs" / "speedrun.yaml"
SIDES = ("command", "bare_loop", "script")


def augmented(images: Tensor, padded: Tensor, mirrored: Tensor) -> Tensor:
    """The images of one epoch, mirrored and shifted by up to two pixels."""
    n, _, height, width = images.shape
    down, across = torch.randint(0, 5, (2, n))
    result = torch.empty_like(images)
    for y in range(5):
        for x in range(5):
            chosen = (down == y) & (across == x)
            result[chosen] = padded[chosen, :, y : y + height, x : x + width]
    return torch.where(mirrored[:, None, None, None], result.flip(-1), result)


def bare_loop(root: Path, seed: int, config: Path, limit: int | None = None) -> dict[str, Any]:
    """Train and test; return the training time and the accuracies."""
    configure_hardware()
    torch.manual_seed(seed)
    recipe = read(config)
    data, model, epochs = recipe["data"], recipe["model"], recipe["trainer"]["max_epochs"]
    whitening = recipe["trainer"]["callbacks"][0]["init_args"]
    jitters = {name: data["augment"][name] for name in ("brightness", "contrast")}
    (_, small), (growth, _) = data["image_sizes"]  # the side of the images until this fraction of the training
    source = ImageFolder(root)
    train, test = source.load("train"), source.load("test")
    mean, std = (torch.tensor(values) for values in channel_mean_std(train.images))
    batch = min(data["batch_size"], len(train))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def autocast() -> AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16, enabled=best_precision() == "bf16-mixed")

    start = time.perf_counter()
    images = normalize(train.images, mean, std).contiguous(memory_format=torch.channels_last)
    labels = train.labels.to(device)
    net = SpeedrunNet(len(train.class_names), **model["backbone"]["init_args"])
    sample = images[random_order(len(images))[: whitening["images"]]]
    net.whitening.weight.data.copy_(whitening_filters(sample, 2, 5e-4))
    net.whitening.weight.requires_grad_(False)
    net.to(device).to(memory_format=torch.channels_last)
    bias = net.whitening.bias
    assert bias is not None
    groups = parameter_groups(net.named_parameters(), True, model["parameter_groups"])
    optimizer = Muon(groups, **model["optimizer"]["init_args"])
    initial = [group["lr"] for group in optimizer.param_groups]
    padded = functional.pad(images, (2, 2, 2, 2), "reflect")
    first_mirrored = torch.rand(len(images)) < 0.5
    steps_per_epoch = limit or len(images) // batch
    total, bias_steps, step = epochs * steps_per_epoch, whitening["bias_epochs"] * steps_per_epoch, 0
    for epoch in range(epochs):
        epoch_images = augmented(images, padded, first_mirrored ^ bool(epoch % 2))
        order = torch.randperm(len(images))
        for i in range(steps_per_epoch):
            bias.requires_grad_(step < bias_steps)
            chosen = order[i * batch : (i + 1) * batch]
            inputs = jitter(epoch_images[chosen], torch.rand(batch, 2), **jitters)
            if step < growth * total:
                inputs = functional.interpolate(inputs, (small, small), mode="bilinear", antialias=True)
            with autocast():
                logits = net(inputs.to(device))
                loss = functional.cross_entropy(logits, labels[chosen], **model["loss"]["init_args"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for lr, group in zip(initial, optimizer.param_groups, strict=True):
                group["lr"] = lr * max(0.0, 1 - step / (group.get("until", 1) * total))
            optimizer.step()
            step += 1
    loss.item()  # waits for a GPU
    seconds = time.perf_counter() - start

    net.eval()
    correct = torch.zeros(2)
    with torch.inference_mode(), autocast():
        for pixels, target in zip(test.images.split(500), test.labels.split(500), strict=True):
            views = normalize(pixels, mean, std).contiguous(memory_format=torch.channels_last).to(device)
            for index, logits in enumerate(logits_with_tta(net, views, "flip_shift")):
                correct[index] += (logits.argmax(1).cpu() == target).sum()
    with_tta, without = (correct / len(test)).tolist()
    return {**_pace(seconds, step), "accuracy": with_tta, "accuracy_without_tta": without}


def read(config: Path) -> dict[str, Any]:
    """The content of a config."""
    return yaml.safe_load(config.read_text(encoding="utf-8"))


def _pace(seconds: float, steps: int) -> dict[str, Any]:
    return {"seconds": seconds, "steps": steps, "seconds_per_step": seconds / steps}


def command(root: Path, seed: int, config: Path, limit: int | None = None) -> dict[str, Any]:
    """Train and test with ``cifar-cnn fit``, in a separate process and a temporary folder."""
    classes = str(len(ImageFolder(root).class_names))
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "--data.source",
            "ImageFolder",
            "--data.source.root",
            str(root.resolve()),
            "--seed_everything",
            str(seed),
        ]
        options += ["--model.backbone.num_classes", classes]
        options += ["--trainer.limit_train_batches", str(limit)] if limit else []
        words = [sys.executable, "-m", "cifar_cnn", "fit", "--config", str(config.resolve()), *options]
        subprocess.run(words, cwd=folder, env=process_environment(), check=True, stdout=subprocess.DEVNULL)
        run = Path(folder, "lightning_logs/version_0")
        fit, test = (json.loads((run / name).read_text()) for name in ("fit.json", "test.json"))
    return {
        **_pace(fit["seconds"], fit["steps"]),
        "accuracy": test["accuracy"],
        "accuracy_without_tta": test.get("accuracy_without_tta"),
    }


def record_script(script: Path, root: Path, seed: int, precision: str, steps: int = 0) -> dict[str, Any]:
    """Train and test with the record's script, in a separate process and a temporary folder.

    With ``steps``, stop after so many steps, without a test.

    Raises:
        InputError: the script failed; its output is on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "benchmarks._record_script", str(script.resolve()), str(root.resolve())]
        words += [str(seed), precision, str(steps)]
        ended = subprocess.run(words, cwd=folder, env=process_environment(), stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise InputError(f"{script} failed with status {ended.returncode}; its output is above")
    return json.loads(ended.stdout)


def main(args: list[str]) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with train/<class>/ and test/<class>/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of the runs (default: 0 1 2)")
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help="config; the bare loop needs the options of speedrun.yaml"
    )
    parser.add_argument("--limit", type=int, help="training steps per epoch, for a trial")
    parser.add_argument("--script", type=Path, help="copy of airbench94_muon.py or of cifar10_speedrun.py")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="bf16-mixed", help="of --script (default: %(default)s)"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="default: command and bare_loop, and script if given")
    options = parser.parse_args(args)
    sides = options.sides or [*SIDES[:2], *(["script"] if options.script else [])]
    if "script" in sides and not options.script:
        raise InputError("the side script needs --script PATH, your copy of the record's script")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for seed in options.seeds:
        for side in sides:
            if side == "command":
                one = command(options.root, seed, options.config, options.limit)
            elif side == "bare_loop":
                one = bare_loop(options.root, seed, options.config, options.limit)
            else:
                steps = options.limit * read(options.config)["trainer"]["max_epochs"] if options.limit else 0
                one = record_script(options.script, options.root, seed, options.precision, steps)
            runs[side].append({"seed": seed, **one})
            print(json.dumps({side: runs[side][-1]}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "speedrun", "machine": machine(), "runs": runs, **summary(runs)}))


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The medians of each side, and the ratios of ours to each other side: of all seconds and of those per step."""
    result: dict[str, Any] = {}
    for side, each in runs.items():
        accuracies = [run["accuracy"] for run in each if run.get("accuracy") is not None]
        result[side] = {
            **{name: _median(each, name) for name in ("seconds", "steps", "seconds_per_step")},
            "accuracy_mean": statistics.mean(accuracies) if accuracies else None,
            "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        }
    for other in set(runs) - {"command"} if "command" in runs else ():
        for name, ratio in (("seconds", "ratio"), ("seconds_per_step", "ratio_per_step")):
            ours, theirs = result["command"][name], result[other][name]
            result[other][ratio] = ours / theirs if ours and theirs else None
    return result


def _median(runs: list[dict[str, Any]], name: str) -> float | None:
    values = [run[name] for run in runs if run.get(name) is not None]
    return statistics.median(values) if values else None


if __name__ == "__main__":
    run(main)
