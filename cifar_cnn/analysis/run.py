"""Run: a run's model, results and figures, for Python and notebooks."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cifar_cnn.analysis import charts, report
from cifar_cnn.analysis.network.maps import grad_cam, last_maps
from cifar_cnn.analysis.pages import framed
from cifar_cnn.analysis.robustness.measure import measure_corruptions, write_corruptions
from cifar_cnn.analysis.shown import find_shown, normalized
from cifar_cnn.analysis.temperature import measure_calibration
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write_json
from cifar_cnn.base.image_files.decoding import UNREADABLE, check_decodable, decode_image
from cifar_cnn.base.visible import visible
from cifar_cnn.callbacks.confusion_figure import confusion_counts, draw_confusion
from cifar_cnn.callbacks.filter_figure import draw_filters
from cifar_cnn.callbacks.filter_images import convolutions
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.callbacks.summary import RunSummary
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.folders import is_best
from cifar_cnn.runs.run import RunFolder, find_run
from cifar_cnn.runs.schemas import CalibrationResult, CorruptionResult, TestResult, read_calibration, read_corruptions

if TYPE_CHECKING:  # pandas is optional, and importing matplotlib takes several hundred milliseconds
    import pandas

    from cifar_cnn.base.figures import PlainFigure

ImageInput = str | os.PathLike | np.ndarray | Tensor


class Run(RunFolder):
    """A finished or interrupted run: its model, figures and results.

    Jupyter displays a run as its report. Plots are matplotlib figures, and ``run.curves().savefig("curves.png")``
    writes one to a file.

    Example::

        run = load_run("lightning_logs/version_0")
        run.metrics["val/accuracy"]          # a value for each epoch
        run.test()["accuracy"]
        run.classify("cat.jpg", top=3)       # [("cat", 0.93), ("dog", 0.05), ("frog", 0.01)]
        run.logits(images)                   # uint8 (N, 3, H, W) -> float32 (N, num_classes)
    """

    def metrics_frame(self) -> "pandas.DataFrame":
        """``metrics`` as a DataFrame with one row for each epoch.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("metrics_frame needs pandas: pip install pandas, or use run.metrics") from error
        return pandas.DataFrame(self.metrics)

    def classify(self, image: ImageInput | list[ImageInput], top: int = 3) -> Any:
        """Classify an image, or each image of a list.

        Args:
            image: path of an image file of any size and format, or an array of uint8 RGB values, (H, W, 3) or
                (3, H, W); or a list of these.
            top: number of classes to return.

        Returns:
            Pairs of class name and probability, the most likely first; for a list of images a list of such results.

        Raises:
            InputError: a file cannot be read as an image.
        """
        if isinstance(image, list):
            return [self.classify(each, top) for each in image]
        pixels = torch.from_numpy(self._pixels(image).copy()).permute(2, 0, 1)
        probabilities, classes = self.logits(pixels).softmax(1)[0].topk(min(top, len(self.class_names)))
        return [(self.class_names[i], p) for i, p in zip(classes.tolist(), probabilities.tolist(), strict=True)]

    def test(self) -> TestResult:
        """Return the content of test.json; if the best checkpoint has not been tested yet, test it first."""
        if not self.is_tested:
            # These callbacks write test.json and the predictions; a test needs no others.
            trainer = pl.Trainer(
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                precision=self.trained.precision,  # type: ignore[arg-type]
                callbacks=[summary := RunSummary(), StorePredictions()],
            )
            trainer.test(self.model, datamodule=self.datamodule, ckpt_path=self.checkpoint, weights_only=True)
            summary.print_test(trainer, self.model)
        return self.result

    def corruptions(self, images: int | None = None) -> CorruptionResult:
        """Return the accuracy under common corruptions at five severities; measure it first if that was not done yet.

        The results and a plot are kept in corruptions.json and corruptions.png. See
        :mod:`cifar_cnn.analysis.robustness.corruptions` for what the corruptions are.

        Args:
            images: measure on a random sample of this many test images, the same each time; by default on all.
        """
        found = read_corruptions(self.folder)
        if found and found["checkpoint_checksum"] == checksum(self.checkpoint) and images in (None, found["images"]):
            return found
        result = measure_corruptions(self, self.images("test"), images)
        if is_best(self.checkpoint):
            write_corruptions(self.folder / "corruptions.json", result)
        return result

    def calibration(self) -> CalibrationResult:
        """Fit a temperature on the validation images; return the test's scores without and with it.

        The results are kept in calibration.json.

        Raises:
            InputError: the run has no validation images.
        """
        found = read_calibration(self.folder)
        if found and found["checkpoint_checksum"] == checksum(self.checkpoint):
            return found
        result = measure_calibration(self, self.images("test"))
        if is_best(self.checkpoint):
            write_json(self.folder / "calibration.json", result)
        return result

    def confusion(self) -> "PlainFigure":
        """Draw the confusion matrix of the test images or, before a test, of the validation images."""
        shown = find_shown(self)
        if shown.predictions is None:
            raise InputError(f"{self.folder} has no predictions: {'; '.join(shown.missing)}")
        counts = confusion_counts(shown.predictions, len(self.class_names))
        figure = draw_confusion(counts, self.class_names)
        figure.suptitle(f"{self.name}: {counts.sum():,} {shown.split} images", fontsize=10)
        return figure

    def curves(self) -> "PlainFigure":
        """Draw loss and accuracy of training and validation over the epochs.

        Raises:
            InputError: no epoch is finished.
        """
        metrics = self.metrics
        if not metrics:
            raise InputError(f"{self.folder} has no finished epoch yet")
        with charts.chart(9, 3, panels=2) as (figure, panels):
            for axes, (title, key) in zip(panels, (("Loss", "loss"), ("Accuracy", "accuracy")), strict=True):
                series = {
                    name: ([epoch + 1 for epoch in metrics["epoch"]], metrics[f"{part}/{key}"])
                    for name, part in (("training", "train"), ("validation", "val"))
                    if f"{part}/{key}" in metrics
                }
                few = len(metrics["epoch"]) <= 15
                curves = charts.draw_lines(axes, title, "epoch", series, key == "accuracy", few)
                axes.legend(curves.values(), curves.keys())
            figure.set_facecolor("white")
            return figure

    def filters(self, layer: str | None = None, max_filters: int = 8) -> "PlainFigure":
        """Draw the filters of a convolution (exercise 7 of the lab).

        Args:
            layer: name of its weight in ``named_parameters()``, such as ``conv1.weight``; by default the first.
            max_filters: maximum number of filters, and of input channels of each filter.
        """
        found = dict(convolutions(self.model))
        if not found:
            raise InputError(f"{type(self.model.backbone).__name__} has no convolution")
        name = next(iter(found)) if layer is None else layer
        if name not in found:
            raise InputError(f"there is no convolution {name!r}; there are {', '.join(found)}")
        return draw_filters(found[name], f"{self.name}: {name}, {tuple(found[name].shape)}", max_filters)

    def grad_cam(self, image: ImageInput) -> "PlainFigure":
        """Draw which parts of an image support the predicted class (Selvaraju et al. 2017)."""
        from cifar_cnn.base.figures import PlainFigure

        shown = self._pixels(image)
        pixels = normalized(self.trained, torch.from_numpy(shown.copy()).permute(2, 0, 1)[None])
        last = last_maps(self.model.backbone, pixels, len(self.class_names))
        if last is None:
            raise InputError(f"{type(self.model.backbone).__name__} has no feature maps that its output depends on")
        label = self.model(pixels).argmax(1)
        heat = grad_cam(self.model.backbone, last.name, pixels, label, last.layout)[0].cpu().numpy()
        figure = PlainFigure(figsize=(6, 3.2), dpi=100, layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, title in zip(panels, ("image", f"evidence for {self.class_names[int(label)]}"), strict=True):
            axes.imshow(visible(torch.from_numpy(shown.copy()).permute(2, 0, 1)).permute(1, 2, 0).numpy())
            axes.set_title(title, fontsize=10)
            axes.axis("off")
        panels[1].imshow(heat, cmap="turbo", alpha=0.5, vmin=0, vmax=1)
        return figure

    def report(self) -> Path:
        """Write report.html into the run's folder and return its path."""
        return report.write_report(self)

    def _pixels(self, image: ImageInput) -> np.ndarray:
        """An image as uint8 (side, side, 3), resized to the size that the network was trained on."""
        side, channels = self.trained.image_size, self.trained.channels
        if isinstance(image, (str, os.PathLike)):
            check_decodable(channels)
            try:
                return decode_image(Path(image), side, channels)
            except UNREADABLE as error:
                raise InputError(f"{os.fspath(image)} cannot be read as an image: {error}") from error
        array = np.asarray(image)
        array = array.transpose(1, 2, 0) if array.ndim == 3 and array.shape[0] == channels else array
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != channels:
            raise InputError(
                f"an image must be uint8 of shape (H, W, {channels}) or ({channels}, H, W); this one is {array.dtype} "
                f"of {array.shape}"
            )
        if array.shape[:2] == (side, side):
            return np.ascontiguousarray(array)
        if channels == 1:
            return np.asarray(Image.fromarray(array[..., 0]).resize((side, side), Image.Resampling.BICUBIC))[..., None]
        return np.asarray(Image.fromarray(array).resize((side, side), Image.Resampling.BICUBIC))

    def _repr_html_(self) -> str:
        page = self.folder / "report.html"
        if not page.is_file():
            self.report()
        return framed(page.read_bytes(), f"Report of {self.name}")


def load_run(folder: str | os.PathLike | None = None, *, backbone: nn.Module | None = None) -> Run:
    """Load a run.

    Args:
        folder: folder of the run, such as ``lightning_logs/version_0``, or a checkpoint in it; by default the newest
            run with a best checkpoint.
        backbone: the trained network, with any weights. Needed if the run was started from Python with a network that
            cannot be rebuilt from its class and arguments.

    Raises:
        InputError: there is no such run.
    """
    path, checkpoint = find_run(folder)
    return Run(path, checkpoint, backbone=backbone)
