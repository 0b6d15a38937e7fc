"""The model card of a network for the Hugging Face Hub."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from cifar_cnn.base.intervals import LEVEL
from cifar_cnn.base.sizes import count_parameters
from cifar_cnn.base.tables import markdown_table
from cifar_cnn.runs.run import RunFolder

_HEAD = """\
---
library_name: cifar-cnn
pipeline_tag: image-classification
tags: [cifar-cnn, image-classification, model_hub_mixin, pytorch_model_hub_mixin]
---
"""
_USE = """\
## Use

```python
from cifar_cnn.analysis.hub import HubClassifier  # pip install 'cifar-cnn[hub]'

model = HubClassifier.from_pretrained("FOLDER_OR_REPOSITORY")
logits = model(images)  # uint8 RGB (N, 3, {size}, {size}), values 0 to 255; normalization is part of the network
names = [model.class_names[i] for i in logits.argmax(1)]
```

## License

No license is stated. Before you publish this network, add `license:` to the head of this file and check the terms of
its training images.
"""


def facts_of(run: RunFolder) -> dict[str, Any]:
    """The facts about a run's training and test that the card states."""
    facts: dict[str, Any] = {"name": run.name, "images": run.record.get("images")}
    if run.is_tested:
        names = ("accuracy", "accuracy_interval", "nll", "brier", "ece", "images", "tta")
        facts["test"] = {name: value for name, value in run.result.items() if name in names}
    return facts


def card_text(network: nn.Module, config: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        network: the backbone.
        config: content of config.json.
    """
    images, facts = config["images"], config.get("facts") or {}
    name = type(network).__name__
    rows = [["", ""], ["Network", f"{name}, {count_parameters(network):,} parameters"]]
    if trained := facts.get("images"):
        source = str(trained.get("source")).rpartition(".")[2]
        rows.append(
            ["Trained on", f"{trained['train']:,} images of {source}; {trained['validation']:,} for validation"]
        )
    rows += _test_rows(facts["test"]) if facts.get("test") else [["Test", "not tested"]]
    rows += [["Test-time augmentation", str(config["model"].get("tta", "none"))]]
    rows += [["Written by", str(config.get("producer"))]]
    size = images["image_size"]
    what = f"Classifies images of {size} x {size} pixels as {', '.join(images['class_names'])}."
    use = _USE.format(size=size)
    return f"{_HEAD}\n# {facts.get('name') or name}\n\n{what}\n\n{markdown_table(rows, left=range(2))}\n\n{use}"


def _test_rows(test: Mapping[str, Any]) -> list[list[str]]:
    low, high = test["accuracy_interval"]
    accuracy = (
        f"{test['accuracy']:.2%} of {test['images']:,} test images ({LEVEL:.0%} interval {low:.2%} to {high:.2%})"
    )
    rows = [["Test accuracy", accuracy]]
    if None not in (test["nll"], test["brier"], test["ece"]):
        rows.append(["NLL, Brier score, ECE", f"{test['nll']:.4f}, {test['brier']:.4f}, {test['ece']:.2%}"])
    return rows
