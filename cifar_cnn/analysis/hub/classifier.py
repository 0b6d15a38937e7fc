"""HubClassifier: a trained network that huggingface_hub's mixin saves, loads and uploads."""

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cifar_cnn import __version__
from cifar_cnn.analysis.hub.card import card_text, facts_of
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.tables import printable_values
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.runs.checkpoints import autocast, checked, load_trained
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.trained_as import PLAIN

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
# Arguments of the classifier that only training needs.
_TRAINING = (
    *("loss", "optimizer", "schedule", "schedule_interval", "decay_bias_and_norm", "parameter_groups"),
    *("tta_fraction", "compile", "init_from"),
)


class HubClassifier(nn.Module, PyTorchModelHubMixin):
    """A trained network with its normalization, as a folder or a repository of the Hugging Face Hub.

    ``save_pretrained(folder)`` writes model.safetensors, config.json and, if there is none, README.md;
    ``push_to_hub(repository)`` uploads them; ``from_pretrained(folder_or_repository)`` loads them. Loading runs no code
    from the folder: config.json may name only what somebody else's checkpoint may name
    (:mod:`cifar_cnn.trust.names`), and weights are read only from safetensors.

    Example::

        HubClassifier.of_run(load_run()).save_pretrained("net")
        model = HubClassifier.from_pretrained("net")
        model(images)                        # uint8 (N, 3, H, W) -> float32 (N, num_classes)

    Args:
        classifier: the trained classifier, in eval mode.
        config: content of config.json.

    Attributes:
        class_names: names of the classes, in the order of the logits.
        image_size: side of the training images, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: ImageClassifier, config: dict[str, Any]) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = config
        self.class_names = tuple(config["images"]["class_names"])
        self.image_size = config["images"]["image_size"]
        for name in ("mean", "std"):
            self.register_buffer(name, Tensor(config["images"][name]), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, 3, image_size, image_size) to float32 logits (N, num_classes).

        The logits are computed with the run's test-time augmentation and precision.
        """
        with autocast(self.config["precision"], images.device):
            return self.classifier.logits_with_tta(normalize(images, self.mean, self.std)).float()

    @classmethod
    def of_run(cls, run: RunFolder) -> "HubClassifier":
        """The trained network of a run; its classifier is shared with ``run.model``.

        Raises:
            InputError: the network cannot be created here.
        """
        trained = run.trained
        arguments = {name: value for name, value in run.model_config.items() if name not in _TRAINING}
        data = run.content[CIFAR10DataModule.__qualname__]
        config = {
            "producer": f"cifar-cnn {__version__}",
            "class": run.content.get("model", PLAIN),
            "model": {**arguments, "tta": trained.classifier.tta},
            "images": {name: data[name] for name in ("class_names", "image_size", "mean", "std")},
            "precision": trained.precision,
            "facts": facts_of(run),
        }
        return cls(trained.classifier, config)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README.md: what the network was trained on, its accuracy and how to load it."""
        return ModelCard(card_text(self.classifier.backbone, self.config))

    def _save_pretrained(self, save_directory: Path) -> None:
        weights = self.classifier.state_dict().items()
        plain = {name: value.cpu().contiguous().clone() for name, value in weights if not name.startswith("loss.")}
        save_file(plain, save_directory / WEIGHTS, {"format": "pt"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "HubClassifier":
        """Load a network from a folder or a repository of the Hub.

        Args:
            pretrained_model_name_or_path: the folder, or the name of the repository.
            options: ``backbone``, a network of the same architecture, if config.json does not describe it; and the
                options of huggingface_hub, such as ``revision``.

        Raises:
            InputError: the folder is damaged, or names code that is not trusted.
        """
        _check_json(Path(pretrained_model_name_or_path, CONFIG))
        return super().from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        config: Any = None,
        backbone: nn.Module | None = None,
        map_location: str = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **ignored: Any,
    ) -> "HubClassifier":
        if os.path.isdir(model_id):
            path = Path(model_id, WEIGHTS)
        else:
            options: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
            options |= {"force_download": force_download, "local_files_only": local_files_only}
            path = Path(hf_hub_download(model_id, WEIGHTS, **options))
        content = _content(path, config)
        trained = load_trained(path, content, backbone)
        return cls(trained.classifier, printable_values(config)).to(map_location)


def _check_json(path: Path) -> None:
    """Check that config.json holds a mapping, because huggingface_hub reads it without checks."""
    try:
        readable = not path.exists() or isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        readable = False
    if not readable:
        raise InputError(f"{path} is damaged: write the folder with `cifar-cnn export --format hub`")


def _content(path: Path, config: Any) -> dict[str, Any]:
    """The files of a folder in the form of a checkpoint's content."""
    if not isinstance(config, dict):
        raise InputError(f"{path.parent} has no {CONFIG}: write the folder with `cifar-cnn export --format hub`")
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    content = {
        "state_dict": weights,
        "global_step": 0,
        "model": config.get("class", PLAIN),
        "hyper_parameters": config.get("model"),
        "datamodule_hyper_parameters": {},
        CIFAR10DataModule.__qualname__: config.get("images"),
        "precision": config.get("precision"),
    }
    return checked(path.with_name(CONFIG), printable_values(content))
