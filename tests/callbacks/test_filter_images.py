import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from cifar_cnn.callbacks.filter_figure import draw_filters
from cifar_cnn.callbacks.filter_images import FilterImages, convolutions

BATCHES = 2  # per epoch
GRAY = 128  # a weight of 0 in an RGB picture


class Module(LightningModule):
    """A minimal model: the loss is the mean square of the backbone's output."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        return self.backbone(batch[0].to(self.dtype)).float().square().mean()

    def validation_step(self, batch: list[Tensor], batch_index: int) -> None:
        self.training_step(batch, batch_index)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def two_convolutions(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 10, 3), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 12, 3))


def make_trainer(folder: Path, callback: FilterImages, **options: Any) -> Trainer:
    loggers = [
        TensorBoardLogger(folder, name="", version="run"),
        CSVLogger(folder, name="csv", version="run"),
    ]
    defaults: dict[str, Any] = {"logger": loggers, "max_epochs": 2, "enable_checkpointing": False}
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", default_root_dir=folder, callbacks=[callback], **quiet, **(defaults | options))


def fit(folder: Path, backbone: nn.Module, callback: FilterImages, *, channels: int = 3, **options: Any) -> Trainer:
    images = torch.randn(4 * BATCHES, channels, 8, 8)
    loader = DataLoader(TensorDataset(images), batch_size=4)
    trainer = make_trainer(folder, callback, **options)
    trainer.fit(Module(backbone), loader, loader)
    return trainer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "run" / "filters").glob("*"))


def epochs(folder: Path) -> list[int]:
    return sorted({int(name.split("_")[1]) for name in names(folder)})


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def tile(weight: Tensor, row: int, column: int) -> np.ndarray:
    """The tile of one filter in the rendered figure: (height, width, RGB)."""
    figure = draw_filters(weight, "a layer")
    picture = figure.pixels()
    corners = [(column - 0.5, row - 0.5), (column + 0.5, row + 0.5)]
    (left, top), (right, bottom) = figure.axes[0].transData.transform(corners).round().astype(int)
    height = len(picture)  # matplotlib counts pixels from the bottom
    cell = picture[height - top : height - bottom, left:right]
    colored = (cell != 255).any(axis=-1)
    cell = cell[colored.mean(axis=1) > 0.7]  # neither margin nor label
    return cell[:, (cell != 255).any(axis=-1).mean(axis=0) > 0.7].astype(int)


def weights_seen(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The color at the middle of each weight: (height, width, RGB)."""
    y = (np.arange(height) + 0.5) * picture.shape[0] / height
    x = (np.arange(width) + 0.5) * picture.shape[1] / width
    return picture[y.astype(int)][:, x.astype(int)]


# --- the drawing


def test_rgb_filters_show_their_colors() -> None:
    weight = torch.zeros(8, 3, 5, 5)
    weight[0, 0] = 0.2  # red
    weight[1, 2] = 3.0  # blue, fifteen times stronger
    weight[2, 1] = -0.1  # minimal green
    assert weights_seen(tile(weight, 0, 0), 5, 5) == pytest.approx(np.broadcast_to([255, GRAY, GRAY], (5, 5, 3)))
    assert weights_seen(tile(weight, 0, 1), 5, 5) == pytest.approx(np.broadcast_to([GRAY, GRAY, 255], (5, 5, 3)))
    assert weights_seen(tile(weight, 0, 2), 5, 5) == pytest.approx(np.broadcast_to([GRAY, 0, GRAY], (5, 5, 3)))
    assert weights_seen(tile(weight, 0, 3), 5, 5) == pytest.approx(np.full((5, 5, 3), GRAY))


def test_every_weight_of_an_rgb_filter_is_at_its_position() -> None:
    weight = torch.randn(16, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    for index in range(8):
        expected = (weight[index] / weight[index].abs().max() + 1) * 127.5
        seen = weights_seen(tile(weight, *divmod(index, 4)), 7, 7)
        assert seen == pytest.approx(expected.permute(1, 2, 0).numpy(), abs=1)


@pytest.mark.parametrize("channels", [3, 4])
def test_mirrored_filters_give_mirrored_pictures(channels: int) -> None:
    weight = torch.randn(1, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    weight = torch.cat([weight, weight.flip(-1)])
    where = [(0, 0), (0, 1)] if channels == 3 else [(0, 0), (1, 0)]  # a filter is a tile, or a row of them
    one, other = (weights_seen(tile(weight, *place), 5, 5) for place in where)
    assert (one[:, ::-1] == other).all()
    assert (one != other).any()


@pytest.mark.parametrize("size", [1, 3])
def test_a_grid_shows_filter_by_input_channel_in_the_colors_of_the_signs(size: int) -> None:
    weight = torch.zeros(20, 30, size, size)
    weight[2, 5] = 0.3
    weight[5, 2] = -0.3
    red, _, blue = weights_seen(tile(weight, 2, 5), 1, 1)[0, 0]
    assert red > blue + 100
    red, _, blue = weights_seen(tile(weight, 5, 2), 1, 1)[0, 0]
    assert blue > red + 100
    zero = weights_seen(tile(weight, 0, 0), 1, 1)[0, 0]
    assert np.ptp(zero) <= 3  # neither red nor blue


def test_an_outlier_leaves_the_other_weights_visible() -> None:
    weight = torch.full((8, 8, 3, 3), 0.1)
    weight[0, 0, 0, 0] = 5.0
    red, _, blue = weights_seen(tile(weight, 4, 4), 1, 1)[0, 0]
    assert red > blue + 25


def test_the_color_bar_spans_the_weights() -> None:
    weight = torch.tensor([0.5, -0.25]).reshape(2, 1, 1, 1).expand(2, 2, 3, 3)
    assert draw_filters(weight, "a layer").axes[1].get_ylim() == pytest.approx((-0.5, 0.5))


def test_with_one_input_channel_each_filter_is_a_tile() -> None:
    weight = torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)])
    positive, negative = (weights_seen(tile(weight, 0, column), 3, 3) for column in (0, 1))
    assert (positive[..., 0] > positive[..., 2] + 100).all()
    assert (negative[..., 2] > negative[..., 0] + 100).all()


@pytest.mark.parametrize(
    "shape",
    [(1, 3, 5, 5), (5, 3, 7, 1), (5, 3, 1, 7), (8, 1, 3, 3), (40, 3, 1, 1), (2, 2, 11, 11), (64, 3, 2, 2)],
)
@pytest.mark.parametrize("fill", ["random", "zero", "not finite"])
def test_any_shape_and_value_is_drawn_within_the_figure(shape: tuple[int, ...], fill: str) -> None:
    weight = torch.randn(shape) if fill == "random" else torch.zeros(shape)
    if fill == "not finite":
        weight[0, 0], weight[0, 1:] = float("nan"), float("inf")
    name = "backbone.stage_four.block_two.a_$very$_long_name_of_a_convolution.parametrizations.weight.original1"
    picture = draw_filters(weight, f"{name}\nafter epoch 1").pixels()
    border = np.concatenate([picture[[0, -1]].reshape(-1, 3), picture[:, [0, -1]].reshape(-1, 3)])
    assert (border == 255).all()
    assert (picture != 255).any()
    assert max(picture.shape) < 800


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_types_and_memory_formats(dtype: torch.dtype) -> None:
    weight = torch.linspace(-1, 1, 6 * 4 * 3 * 3).reshape(6, 4, 3, 3)
    changed = nn.Parameter(weight.to(dtype).to(memory_format=torch.channels_last))
    figures = draw_filters(weight, "a layer"), draw_filters(changed, "a layer")
    expected, seen = (figure.pixels().astype(int) for figure in figures)
    assert seen == pytest.approx(expected, abs=8)  # bfloat16 has 8 bits


def test_max_filters_bounds_filters_and_input_channels() -> None:
    figure = draw_filters(torch.randn(6, 7, 3, 3), "a layer", max_filters=4)
    assert len(figure.axes[0].get_xticks()) == len(figure.axes[0].get_yticks()) == 4


# --- which layers


@pytest.mark.parametrize(
    ("build", "first", "last"),
    [
        (torchvision.models.resnet18, "conv1.weight", "layer4.1.conv2.weight"),
        (torchvision.models.mobilenet_v3_small, "features.0.0.weight", "features.12.0.weight"),
    ],
)
def test_first_and_last_convolution_of_known_networks(build: Any, first: str, last: str) -> None:
    found = convolutions(Module(build(weights=None)))
    assert (found[0][0], found[-1][0]) == (first, last)


def test_without_a_backbone_the_module_itself_is_searched() -> None:
    module = LightningModule()
    module.stem = nn.Conv2d(3, 4, 3)
    assert [name for name, _ in convolutions(module)] == ["stem.weight"]


# --- the callback


def test_pictures_are_written_at_start_and_end_and_show_the_weights(tmp_path: Path) -> None:
    backbone = two_convolutions()
    start = {name: weight.detach().clone() for name, weight in backbone.named_parameters()}
    fit(tmp_path, backbone, FilterImages())
    end: dict[str, Tensor] = dict(backbone.named_parameters())
    layers = {"first": ("0.weight", "10 x 3 x 3 x 3"), "last": ("3.weight", "12 x 10 x 3 x 3")}
    states = {"000": (start, "before training, step 0"), "002": (end, f"after epoch 2, step {2 * BATCHES}")}
    assert names(tmp_path) == [f"epoch_{epoch}_{place}.png" for epoch in states for place in layers]

    for epoch, (weights, when) in states.items():
        for place, (name, shape) in layers.items():
            title = f"{place.capitalize()} convolution, {shape}: {name}\n{when}"
            title = title.replace(" x ", " \N{MULTIPLICATION SIGN} ")
            written = pixels(tmp_path / "run" / "filters" / f"epoch_{epoch}_{place}.png")
            assert (written == draw_filters(weights[name], title).pixels()).all()
            assert written.std() > 10  # not blank


def test_tensorboard_gets_the_pictures_at_the_global_step(tmp_path: Path) -> None:
    fit(tmp_path, two_convolutions(), FilterImages(every_n_epochs=1))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert sorted(events.Tags()["images"]) == ["filters/first", "filters/last"]
    for tag in events.Tags()["images"]:
        assert [event.step for event in events.Images(tag)] == [0, BATCHES, 2 * BATCHES]


@pytest.mark.parametrize(
    ("every_n_epochs", "expected"), [(0, [0, 5]), (1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (9, [0, 5])]
)
def test_every_n_epochs(tmp_path: Path, every_n_epochs: int, expected: list[int]) -> None:
    fit(tmp_path, nn.Conv2d(3, 2, 3), FilterImages(every_n_epochs), max_epochs=5)
    assert epochs(tmp_path) == expected


def test_a_resumed_run_continues_the_numbers_and_keeps_its_first_picture(tmp_path: Path) -> None:
    trainer = fit(tmp_path, two_convolutions(), FilterImages())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    kept = tmp_path / "run" / "filters" / "epoch_002_first.png"
    kept.write_bytes(b"as it was")

    loader = DataLoader(TensorDataset(torch.randn(8, 3, 8, 8)), batch_size=4)
    resumed = make_trainer(tmp_path, FilterImages(every_n_epochs=3), max_epochs=4)
    resumed.fit(Module(two_convolutions()), loader, ckpt_path=tmp_path / "last.ckpt")
    assert epochs(tmp_path) == [0, 2, 3, 4]
    assert kept.read_bytes() == b"as it was"


def test_a_new_run_in_an_old_folder_replaces_the_start(tmp_path: Path) -> None:
    old = tmp_path / "run" / "filters" / "epoch_000_first.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of another run")
    fit(tmp_path, two_convolutions(), FilterImages(), max_epochs=1)
    assert pixels(old).std() > 10


def test_one_convolution_is_the_first_and_the_last(tmp_path: Path) -> None:
    fit(tmp_path, nn.Conv2d(3, 4, 3), FilterImages())
    assert names(tmp_path)[:2] == ["epoch_000_first.png", "epoch_000_last.png"]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_other_input_channels_and_1x1_convolutions(tmp_path: Path, channels: int) -> None:
    fit(
        tmp_path,
        nn.Sequential(nn.Conv2d(channels, 6, 3), nn.Conv2d(6, 9, 1)),
        FilterImages(),
        channels=channels,
    )
    assert epochs(tmp_path) == [0, 2]


def test_a_network_without_convolutions_trains_with_one_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cifar_cnn"):
        trainer = fit(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), FilterImages(every_n_epochs=1))
    assert trainer.global_step == 2 * BATCHES
    assert [record.message for record in caplog.records if record.name == "cifar_cnn"] == [
        "No filters to draw: Sequential has no convolution."
    ]
    assert names(tmp_path) == []


def test_a_full_disk_causes_one_warning_and_training_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "filters").write_text("a file where the folder should be")
    trainer = fit(tmp_path, two_convolutions(), FilterImages(every_n_epochs=1))
    assert trainer.global_step == 2 * BATCHES
    warnings = [record for record in caplog.records if record.name == "cifar_cnn"]
    assert [record.levelname for record in warnings] == ["WARNING"]
    assert "filters" in warnings[0].message


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"logger": False}, {"barebones": True, "logger": None}])
def test_a_run_without_a_folder_gets_no_pictures(tmp_path: Path, options: dict[str, Any]) -> None:
    fit(tmp_path, two_convolutions(), FilterImages(every_n_epochs=1), **options)
    assert list(tmp_path.rglob("*.png")) == []


def test_disabled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cifar_cnn"):
        fit(tmp_path, two_convolutions(), FilterImages(every_n_epochs=1, enabled=False))
    assert list(tmp_path.rglob("*.png")) == []
    assert [record for record in caplog.records if record.name == "cifar_cnn"] == []


def test_bf16_weights_and_channels_last(tmp_path: Path) -> None:
    backbone = two_convolutions().to(memory_format=torch.channels_last)
    fit(tmp_path, backbone, FilterImages(), precision="bf16-true")
    assert epochs(tmp_path) == [0, 2]


def test_compiled_backbone(tmp_path: Path) -> None:
    backbone = two_convolutions()
    backbone.compile(backend="eager")  # the backend does not matter, and this one needs no C++ compiler
    fit(tmp_path, backbone, FilterImages())
    assert epochs(tmp_path) == [0, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_weights_on_a_gpu() -> None:
    weight = torch.randn(4, 3, 3, 3)
    assert (draw_filters(weight.cuda(), "x").pixels() == draw_filters(weight, "x").pixels()).all()


def test_drawing_does_not_change_training(tmp_path: Path) -> None:
    ends = []
    for enabled in (True, False):
        torch.manual_seed(0)
        backbone = two_convolutions()
        fit(tmp_path / str(enabled), backbone, FilterImages(every_n_epochs=1, enabled=enabled))
        ends.append(backbone.state_dict())
    torch.testing.assert_close(*ends, rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [{"every_n_epochs": -1}, {"max_filters": 0}])
def test_wrong_arguments(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FilterImages(**wrong)  # type: ignore[arg-type]
