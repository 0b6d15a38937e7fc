import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer
from torchvision.ops import Permute

import cifar_cnn.cli
from cifar_cnn.analysis import charts
from cifar_cnn.analysis.explain import explain
from cifar_cnn.analysis.explain.equivariance import measure_equivariance
from cifar_cnn.analysis.explain.runs import labels_of
from cifar_cnn.analysis.explain.shifts import shift, shifted_maps
from cifar_cnn.analysis.network.layers import layers_of
from cifar_cnn.analysis.network.layouts import CHANNELS_FIRST, Layout
from cifar_cnn.analysis.network.maps import grad_cam, last_maps, map_layers
from cifar_cnn.backbones import ResNet18, SimpleCNN
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.checkpoints import Trained
from cifar_cnn.runs.run import RunFolder
from tests.conftest import CONFIGS, SMALL

LAYOUTS = {"channels first": CHANNELS_FIRST, "channels last": Layout(3), "patches": Layout(2, 1)}
NAMES = tuple(f"class {i}" for i in range(10))


def trained(backbone: nn.Module, size: int = 32) -> Trained:
    torch.manual_seed(0)
    classifier = ImageClassifier(backbone).eval()
    return Trained(classifier, NAMES, size, torch.full((3,), 0.5), torch.full((3,), 0.25))


def dots(n: int, size: int = 32) -> ImageSet:
    """A bright spot of random colors in the middle of a black image."""
    images = torch.zeros(n, 3, size, size, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    middle = slice(size // 2 - 2, size // 2 + 2)
    images[:, :, middle, middle] = torch.randint(60, 256, (n, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % 10, NAMES)


@pytest.mark.parametrize("direction", [(0, 1), (0, -1), (1, 0), (-1, 0)])
def test_shift_moves_the_pixels(direction: tuple[int, int], make_images: Callable[..., ImageSet]) -> None:
    images = make_images(2, 9).images
    moved = shift(images, 3, direction)
    assert moved.dtype == torch.uint8
    rolled = images.roll((3 * direction[0], 3 * direction[1]), (2, 3))
    inside = torch.zeros(9, 9, dtype=torch.bool)
    inside[3:6, 3:6] = True
    assert torch.equal(moved[..., inside], rolled[..., inside])
    down, right = direction
    kept = moved[:, :, 3 * (down == 1) : 9 - 3 * (down == -1), 3 * (right == 1) : 9 - 3 * (right == -1)]
    assert torch.equal(
        kept, images[:, :, 3 * (down == -1) : 9 - 3 * (down == 1), 3 * (right == -1) : 9 - 3 * (right == 1)]
    )


def test_maps_are_shifted_by_fractions_of_a_column() -> None:
    maps = torch.tensor([[[[0.0, 1.0, 4.0, 9.0]]]])
    assert shifted_maps(maps, 0).tolist() == maps.tolist()
    assert shifted_maps(maps, 1).tolist() == [[[[0, 1, 4]]]]
    assert shifted_maps(maps, 1.25).tolist() == [[[[0.75 * 1, 0.75 * 4 + 0.25 * 1]]]]
    assert shifted_maps(maps, 4).shape[-1] == 0


def test_a_convolution_is_equivariant_and_pooling_only_for_multiples_of_its_stride(
    make_images: Callable[..., ImageSet],
) -> None:
    network = trained(SimpleCNN((4, 6, 8), head="conv"))
    layers = map_layers(network.classifier.backbone, layers_of(network.classifier.backbone, (3, 32, 32)), 12)
    found = measure_equivariance(network, make_images(5, 32).images, layers)
    assert [layer.kind for layer in layers] == ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Conv2d", "Conv2d"]
    for layer, errors in zip(found.layers, found.errors, strict=True):
        for pixels, error in enumerate(errors):
            if pixels % layer.field.stride == 0:
                assert error == pytest.approx(0, abs=1e-5), (layer.name, pixels)
            else:
                assert error > 0.01, (layer.name, pixels)
    # The picture of the first image agrees with the error.
    expected, actual = found.examples[0][3]
    assert expected[:, :3].isnan().all()
    torch.testing.assert_close(expected[:, 3:], actual[:, 3:], rtol=0, atol=1e-5)


def test_padding_breaks_equivariance(make_images: Callable[..., ImageSet]) -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    layers = map_layers(network.classifier.backbone, layers_of(network.classifier.backbone, (3, 32, 32)), 12)
    errors = measure_equivariance(network, make_images(5, 32).images, layers).errors[0]
    assert errors[0] == 0
    assert all(error > 0.01 for error in errors[1:])


def test_pooling_over_the_image_is_invariant_and_flatten_is_not() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    theory = explain(trained(backbone), dots(40), 40)
    found = theory.invariance
    assert found.features["max_pool"] == pytest.approx([0] * 9, abs=1e-5)
    assert found.features["head"] == found.features["max_pool"]
    assert found.features["average"] == pytest.approx([0] * 9, abs=1e-4)
    assert found.features["flatten"][0] == 0
    assert found.features["flatten"][8] > 0.9
    assert found.same_class == [1] * 9
    assert found.images == 40
    assert len(theory.sharing) == 1


def test_grad_cam_marks_the_evidence() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone.append(nn.Linear(2, 2, bias=False))
    with torch.no_grad():  # the first map is red, the second green; each is evidence for its class
        backbone[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[..., None, None])  # type: ignore[operator]
        backbone[4].weight.copy_(torch.eye(2))  # type: ignore[operator]
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, :4, :4] = 1
    image[0, 1, 4:, 4:] = 0.5
    images = image.expand(2, -1, -1, -1)
    heat = grad_cam(backbone, "1", images, torch.tensor([0, 1]))
    torch.testing.assert_close(heat[0], image[0, 0])
    torch.testing.assert_close(heat[1], 2 * image[0, 1])


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        (SimpleCNN(), "features.5"),
        (SimpleCNN(head="conv"), "head.1"),
        (ResNet18(channels=(8, 8, 8, 8)), "blocks.7.relu"),
    ],
)
def test_last_maps_come_after_the_activation(backbone: nn.Module, name: str) -> None:
    found = last_maps(backbone.eval(), torch.rand(1, 3, 32, 32), 10)
    assert found is not None
    assert found.name == name


class Pooled(nn.Module):
    """One network with its maps laid out as (N, C, H, W), as (N, H, W, C), or as patches after a class token."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layout = layout
        self.stem, self.mix, self.head = nn.Conv2d(3, 12, 4, 4), nn.Linear(12, 16), nn.Linear(16, 10)
        self.maps = nn.GELU()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.mix(self.stem(images).movedim(1, -1))
        if self.layout == "channels first":
            maps = self.maps(maps.movedim(-1, 1)).movedim(1, -1)
        elif self.layout == "patches":
            patches = maps.flatten(1, 2)
            patches = self.maps(torch.cat([patches[:, :1], patches], 1))
            maps = patches[:, 1:].unflatten(1, maps.shape[1:3])
        else:
            maps = self.maps(maps)
        return self.head(maps.mean((1, 2)))


def test_grad_cam_does_not_depend_on_the_layout_of_maps() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([1, 2, 3])
    heats = []
    for layout in ("channels first", "channels last", "patches"):
        network = Pooled(layout).eval()
        last = last_maps(network, images[:1], 10)
        assert last is not None
        assert last.name == "maps"
        heats.append(grad_cam(network, last.name, images, classes, last.layout))
    # By hand: the head averages over the positions, so the weight of a channel is its weight for the class.
    maps = functional.gelu(network.mix(network.stem(images).movedim(1, -1)))
    by_hand = (maps * network.head.weight[classes][:, None, None]).sum(-1).relu().detach()
    by_hand = functional.interpolate(by_hand[:, None], (32, 32), mode="bilinear")[:, 0]
    by_hand /= by_hand.amax((1, 2), keepdim=True)
    assert by_hand.std() > 0.1
    for heat in heats:
        torch.testing.assert_close(heat, by_hand, rtol=1e-4, atol=1e-5)


def test_grad_cam_with_a_class_token_uses_the_maps_before_the_last_attention() -> None:
    torch.manual_seed(1)  # with some other seeds, nothing in the images supports the class
    network = VisionTransformer(32, 4, 2, 4, 64, 128, num_classes=10).eval()
    nn.init.normal_(network.heads[0].weight)  # torchvision starts it at zero
    images = torch.rand(2, 3, 32, 32)
    last = last_maps(network, images[:1], 10)
    assert last is not None
    assert tuple(last) == ("encoder.layers.encoder_layer_1.ln_1", (2, 1))
    heat = grad_cam(network, last.name, images, network(images).argmax(1), last.layout)
    assert heat.amax((1, 2)).tolist() == [1, 1]


@pytest.mark.parametrize("layout", ["channels last", "patches"])
def test_equivariance_does_not_depend_on_the_layout_of_maps(layout: str, make_images: Callable[..., ImageSet]) -> None:
    errors = []
    for each in ("channels first", layout):
        network = trained(Pooled(each))
        layers = [layer for layer in layers_of(network.classifier.backbone, (3, 32, 32)) if layer.name == "stem"]
        layers.append(replace(layers[0], name="maps", layout=LAYOUTS[each]))
        errors.append(measure_equivariance(network, make_images(5, 32).images, layers).errors)
    assert errors[0][1][4] < 1e-5
    assert errors[0][1][2] > 0.1
    for found, expected in zip(errors[1], errors[0], strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_permutation_is_as_equivariant_as_its_input(make_images: Callable[..., ImageSet]) -> None:
    there, back = Permute([0, 2, 3, 1]), Permute([0, 3, 1, 2])
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), there, back, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    theory = explain(network, make_images(10, 32), 10)
    assert [layer.kind for layer in theory.equivariance.layers] == ["Conv2d", "Permute", "Permute"]
    first, *others = theory.equivariance.errors
    assert max(first) > 0.01
    for errors in others:
        assert errors == pytest.approx(first)


class Flat(nn.Sequential):
    """A backbone without maps."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


def test_explain_compares_runs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    for head in ("flatten", "max_pool"):
        quick = ["--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--trainer.max_epochs", "1"]
        assert cifar_cnn.cli.run(["fit", *quick, "--model.backbone.head", head]) == 0
    capsys.readouterr()
    runs = ["lightning_logs/version_0", "lightning_logs/version_1"]
    assert cifar_cnn.cli.run(["explain", *runs, "--images", "30"]) == 0
    output = capsys.readouterr().out
    # Both come from one config, so they are labeled by their networks.
    labels = ["SimpleCNN, head flatten", "SimpleCNN, head max_pool"]
    assert f"{labels[1]}, on 30 validation images" in output
    folder = Path(runs[0], "explain")
    pictures = ["equivariance_SimpleCNN_head_flatten.png", "equivariance_SimpleCNN_head_max_pool.png"]
    assert sorted(path.name for path in folder.iterdir()) == [*pictures, "explain.json", "side_by_side.png"]
    numbers = json.loads((folder / "explain.json").read_text())
    assert list(numbers) == labels
    table = output[output.index("Side by side") :].splitlines()
    rows = [[line.removeprefix(f"  {label}").split() for line in table if label in line] for label in labels]
    for each, (features, same, accuracy) in zip(numbers.values(), rows, strict=True):
        assert features == [f"{value:.2f}" for value in each["feature_change"]["head"]]
        assert same == [f"{value:.1%}" for value in each["same_class"]]
        assert accuracy == [f"{value:.1%}" for value in each["accuracy"]]
    for each in numbers.values():
        assert each["equivariance_error"]["features.0"] == pytest.approx([0] * 9, abs=1e-4)
        assert each["same_class"][0] == 1
        assert each["layers"]["features.0"]["connections"] == 30 * 30 * 32 * 27

    assert "same images" not in output
    best = Path(runs[1], "checkpoints", "best.ckpt")
    content = torch.load(best, weights_only=True)
    content["datamodule_hyper_parameters"]["source"]["init_args"]["train_size"] = 200
    torch.save(content, best)
    assert cifar_cnn.cli.run(["explain", *runs, "--images", "30"]) == 0
    assert "Some runs were measured on different images" in capsys.readouterr().out

    for arguments, message in (
        (["nowhere"], "no checkpoint nowhere"),
        ([runs[0], "--images", "1"], "--images must be 2 or more"),
        ([runs[0], runs[1], f"{runs[1]}/checkpoints/best.ckpt"], f"given twice: {runs[1]}"),
    ):
        assert cifar_cnn.cli.run(["explain", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_runs_are_labeled_by_their_differences(tmp_path: Path) -> None:
    network = trained(SimpleCNN((2, 2, 2)))

    def run(name: str, command: str, seed: int = 0) -> RunFolder:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "fit.json").write_text(json.dumps({"command": command, "seed": seed}))
        found = RunFolder(tmp_path / name)
        found.__dict__ |= {"trained": network, "content": {"hyper_parameters": {}}}  # instead of a checkpoint
        return found

    a = run("a", "cifar-cnn fit --config configs/simple_cnn_a.yaml --model.tta none")
    b = run("b", "python -m cifar_cnn fit --config=../small.yaml --config 'my configs/b.yml'")
    again = run("again", "cifar-cnn fit -c configs/simple_cnn_a.yaml", 1)
    saved = run("saved", "cifar-cnn fit --config lightning_logs/version_3/config.yaml")
    assert [each.config_name for each in (a, b, again, saved)] == ["simple_cnn_a", "small+b", "simple_cnn_a", ""]
    assert labels_of([a, b]) == ["simple_cnn_a", "small+b"]
    assert labels_of([a, again]) == ["simple_cnn_a seed 0", "simple_cnn_a seed 1"]
    assert labels_of([saved]) == ["SimpleCNN"]
    assert [Path(label).name for label in labels_of([a, saved])] == ["a", "saved"]
    went_on = {"command": "cifar-cnn fit --ckpt_path last", "earlier": [{"command": "cifar-cnn fit -c a.yaml"}]}
    (tmp_path / "saved/fit.json").write_text(json.dumps(went_on))
    assert saved.config_name == "a"
    (tmp_path / "saved/fit.json").write_text("{")
    assert saved.config_name == ""


def test_more_curves_than_colors_have_different_dashes() -> None:
    figure = charts.lines("Title", "x", {f"network {i}": ([0, 1], [0, i]) for i in range(8)})
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 8
    (legend,) = figure.legends  # below the plot, where it hides no curve
    assert len(legend.get_texts()) == 8


def test_a_network_without_maps_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    quick = [*SMALL, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    assert cifar_cnn.cli.run(["fit", *quick, "--model.backbone", "tests.analysis.test_explain.Flat"]) == 0
    capsys.readouterr()
    assert cifar_cnn.cli.run(["explain"]) == 2
    assert "Flat has no feature maps to explain" in capsys.readouterr().err
    assert cifar_cnn.cli.run(["report"]) == 0
    page = Path("lightning_logs/version_0/report.html").read_text()
    assert "Theory: Flat has no feature maps to explain" in page
    assert "Learning curves" in page


def test_an_unwritable_folder_is_reported_before_measuring(
    trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifar_cnn.analysis.explain.runs.explain", None)  # would raise when called
    Path("file").touch()
    for output in ("file", "file/folder"):
        assert cifar_cnn.cli.run(["explain", str(trained_run), "--output", output]) == 2
        assert f"cannot write into {output}: name a folder with --output\n" in capsys.readouterr().err
