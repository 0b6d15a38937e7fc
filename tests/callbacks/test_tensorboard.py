import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from cifar_cnn.backbones import ResNet18
from cifar_cnn.callbacks.confusion_figure import draw_confusion
from cifar_cnn.callbacks.run_record import git_commit
from cifar_cnn.callbacks.tensorboard_graph import network_graph
from tests.conftest import CONFIGS


@pytest.fixture(scope="module")
def events(trained_run: Path) -> EventAccumulator:
    events = EventAccumulator(str(trained_run), size_guidance={"images": 0})
    events.Reload()
    return events


def test_curves_filters_graph_and_confusion_matrix(events: EventAccumulator) -> None:
    tags = events.Tags()
    assert {"train/loss", "val/accuracy", "lr"} <= set(tags["scalars"])
    assert {"filters/first", "filters/last", "test/confusion_matrix"} <= set(tags["images"])
    assert [node.op for node in events.Graph().node].count("Conv2d") == 2


def test_the_graph_has_each_layer_under_its_name_with_its_inputs_and_shape() -> None:
    network = ResNet18().eval()
    graph = network_graph(network, torch.zeros(1, 3, 32, 32))
    nodes = {node.name: node for node in graph.node}
    assert len(nodes) == len(graph.node), "a name occurs twice"
    assert all(source in nodes for node in graph.node for source in node.input)
    layers = {name.replace(".", "/") for name, module in network.named_modules() if not list(module.children())}
    assert layers <= {*nodes, *(name.rpartition("_")[0] for name in nodes)}
    (addition, *_) = [node for node in graph.node if node.op == "add"]
    assert len(addition.input) == 2
    (output,) = [node for node in graph.node if node.op == "output"]
    (size,) = nodes[output.input[0]].attr["_output_shapes"].list.shape
    assert [each.size for each in size.dim] == [1, 10]


def test_hyper_parameters_are_logged_with_the_best_validation_accuracy(
    events: EventAccumulator, trained_run: Path
) -> None:
    assert events.Tags()["scalars"].count("hp_metric") == 0
    (score,) = events.Scalars("hp/val_accuracy")
    accuracies = [event.value for event in events.Scalars("val/accuracy")]
    assert score.value == pytest.approx(max(accuracies))
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    parameters = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert parameters["seed"].number_value == 0
    assert parameters["max_epochs"].number_value == 2
    assert parameters["precision"].string_value == "32-true"
    assert parameters["batch_size"].number_value == 32
    assert parameters["optimizer/init_args/lr"].number_value == 0.1


def test_the_run_records_its_environment(trained_run: Path) -> None:
    fit = json.loads((trained_run / "fit.json").read_text())
    assert fit["command"].startswith(f"cifar-cnn fit --config {CONFIGS / 'quickstart.yaml'} ")  # as typed
    assert fit["seed"] == 0
    assert fit["versions"]["torch"]
    assert "git_commit" in fit


def test_the_commit_is_that_of_the_code_and_not_of_an_enclosing_repository() -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x"]
        return subprocess.run(["git", *identity, *words], capture_output=True, check=True, text=True).stdout.strip()

    assert git_commit(Path()) is None
    git("init")
    Path("code").mkdir()
    Path("code/a.py").write_text("1")
    assert git_commit(Path("code")) is None
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "v1")
    assert git_commit(Path("code")) == git("rev-parse", "HEAD")
    Path("code/a.py").write_text("2")
    assert git_commit(Path("code")) == git("rev-parse", "HEAD") + "-dirty"


def test_the_confusion_matrix_shows_each_count() -> None:
    counts = np.array([[3, 1], [0, 0]])
    axes = draw_confusion(counts, ("cat", "dog")).axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog (no images)"]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 0]]
