"""Write a run's network as a folder for the Hugging Face Hub, and check that it loads with the same logits."""

import os
import tempfile
from pathlib import Path

import torch

from cifar_cnn.analysis.export import Exported, verification_images
from cifar_cnn.analysis.hub.classifier import WEIGHTS, HubClassifier
from cifar_cnn.base.errors import InputError
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.trust import names as trust
from cifar_cnn.tta import TTA, views

CARD = "README.md"


def export_hub(
    run: RunFolder, output: Path, tta: TTA | None = None, paths: list[str] | None = None, n: int = 256
) -> Exported:
    """Write model.safetensors, config.json and README.md; an existing README.md is kept.

    Args:
        run: the run.
        output: the folder to write; it is created, and only files of these names are replaced.
        tta: test-time augmentation of the network; by default the run's own.
        paths: images and folders of images to verify on; by default the run's test images.
        n: maximum number of images to verify on.

    Raises:
        InputError: there are no images to verify on, the folder cannot be written, or loading gives other logits.
    """
    trained = run.trained
    trained.classifier.tta = tta or trained.classifier.tta
    images, origin = verification_images(run.content, trained, paths, n)
    model = HubClassifier.of_run(run)
    backbone = None if "backbone" in run.model_config else trained.classifier.backbone
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output, prefix=".part") as folder:
            model.save_pretrained(folder)
            named = trust.packages(model.config["model"])
            with trust.import_policy(named):  # this user's own network, which others must trust first
                loaded = HubClassifier.from_pretrained(folder, backbone=backbone)
            with torch.inference_mode():
                found = loaded.to(trained.classifier.device)(images.to(trained.classifier.device)).cpu()
            if not torch.equal(found, trained.logits(images)):
                raise InputError(f"the network loaded from {output} gives other logits; nothing was written")
            for path in sorted(Path(folder).iterdir()):
                if path.name != CARD or not (output / CARD).exists():
                    os.replace(path, output / path.name)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from error
    passes = len(views(images[:1].float(), trained.classifier.tta))
    return Exported(output / WEIGHTS, trained, len(images), origin, passes, 0.0)
