"""Pictures of the filters of the first and the last convolution while they are learnt (lab exercise 7)."""

import logging
import math
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn

from cifar_cnn.errors import InputError

if TYPE_CHECKING:  # matplotlib takes a good part of a second to import, and only a drawing needs it
    from matplotlib.figure import Figure

log = logging.getLogger("cifar_cnn")

TITLE_SIZE = 10  # points
TEXT_SIZE = 8  # points


class FilterImages(Callback):
    """Draws the filters of the first and of the last convolution into the run's folder and into TensorBoard.

    A picture is drawn before the first step, after every n-th epoch and at the end of the fit, into
    ``<trainer.log_dir>/filters/`` as ``epoch_005_first.png`` and ``epoch_005_last.png``, by the number of
    finished epochs (000: before training), and where a TensorBoardLogger is in use as ``filters/first`` and
    ``filters/last`` at the global step. The convolutions are the 4-D parameters of ``pl_module.backbone``, or
    of the module itself where it has no backbone, in the order of ``named_parameters()``.

    A run without a folder of its own (no logger, or ``fast_dev_run``) gets no pictures. A resumed run leaves
    the picture of the epoch it goes on from as it is. If pictures cannot be written, one warning says so and
    training goes on.

    Args:
        every_n_epochs: epochs from one picture to the next; 0 draws only at the start and at the end.
        max_filters: how many filters are drawn, and of each how many input channels.
        enabled: ``False`` switches the callback off and leaves it in place, for a config or a command line.
    """

    def __init__(self, every_n_epochs: int = 5, max_filters: int = 8, enabled: bool = True) -> None:
        super().__init__()
        if every_n_epochs < 0:
            raise InputError(f"every_n_epochs must be 0 or more, not {every_n_epochs}")
        if max_filters < 1:
            raise InputError(f"max_filters must be 1 or more, not {max_filters}")
        self.every_n_epochs = every_n_epochs
        self.max_filters = max_filters
        self.enabled = enabled
        self._newest_epoch: int | None = None  # finished epochs at the newest picture of this fit
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what training starts from; here, unlike in ``on_fit_start``, a resumed run knows its epoch."""
        if self.enabled and not convolutions(pl_module):
            if trainer.is_global_zero:
                network = getattr(pl_module, "backbone", pl_module)
                log.info("No filters to draw: %s has no convolution.", type(network).__name__)
            return
        self._draw(trainer, pl_module, trainer.current_epoch, overwrite=trainer.global_step == 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw after every n-th epoch."""
        finished = trainer.current_epoch + 1  # the Trainer counts this epoch only after its hooks
        if self.every_n_epochs and finished % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, finished)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what training arrived at, unless the last epoch's end has just done so."""
        if trainer.current_epoch != self._newest_epoch:
            self._draw(trainer, pl_module, trainer.current_epoch)

    def _draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int, overwrite: bool = True) -> None:
        layers = convolutions(pl_module)
        if not (self.enabled and layers and trainer.loggers):
            return
        self._newest_epoch = epoch
        run_folder = trainer.log_dir  # a broadcast: every rank has to come here
        if run_folder is None or not trainer.is_global_zero:
            return
        for place, (name, weight) in (("first", layers[0]), ("last", layers[-1])):
            path = Path(run_folder, "filters", f"epoch_{epoch:03d}_{place}.png")
            # a checkpoint from within an epoch is newer than the epoch it is counted to
            if path.exists() and not overwrite:
                continue
            shape = " \N{MULTIPLICATION SIGN} ".join(map(str, weight.shape))
            when = f"after epoch {epoch}" if epoch else "before training"
            title = f"{place.capitalize()} convolution, {shape}: {name}\n{when}, step {trainer.global_step}"
            pixels = render(draw_filters(weight, title, self.max_filters))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
                for logger in trainer.loggers:
                    if isinstance(logger, TensorBoardLogger):
                        tag = f"filters/{place}"
                        logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
            except OSError as error:
                if not self._warned:
                    log.warning("Could not write a picture of the filters, training goes on: %s", error)
                self._warned = True


def convolutions(pl_module: nn.Module) -> list[tuple[str, Tensor]]:
    """Name and weight of each convolution of the backbone, or else of the module: the 4-D parameters."""
    network = getattr(pl_module, "backbone", pl_module)
    return [(name, weight) for name, weight in network.named_parameters() if weight.ndim == 4]


def fold(tiles: np.ndarray) -> np.ndarray:
    """Lay uint8 tiles out in rows: (n, height, width, RGB) -> (rows, columns, height, width, RGB)."""
    columns = min(len(tiles), math.ceil(math.sqrt(2 * len(tiles))))
    rows = math.ceil(len(tiles) / columns)
    blank = np.full((rows * columns - len(tiles), *tiles.shape[1:]), 255, tiles.dtype)
    return np.concatenate([tiles, blank]).reshape(rows, columns, *tiles.shape[1:])


def render(figure: "Figure") -> np.ndarray:
    """Pixels of a figure, (height, width, RGB) uint8, drawn once for the file and for TensorBoard."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():  # of names of classes in a script that the font lacks, or too long for the layout
        warnings.simplefilter("ignore", UserWarning)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_filters(weight: Tensor, title: str, max_filters: int = 8) -> "Figure":
    """Draw the first filters of a convolution.

    Filters over 3 input channels are drawn as RGB pictures: grey is 0, and each filter is scaled by its own
    largest weight, since a trained first layer has filters ten times fainter than others, which would be
    plain grey. All others are drawn filter by input channel (a 1 × 1 convolution thus as one matrix), a
    colour for each sign, on one scale, so that they can be compared. A weight that is not finite is black.

    Args:
        weight: (filters, input channels, height, width), of any floating type and on any device.
        title: what stands above; long lines are wrapped.
        max_filters: how many filters are drawn, and of each how many input channels.

    Returns:
        A figure that pyplot does not know of, so that there is nothing to close.
    """
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from cifar_cnn.figures import PlainFigure

    filters, channels, height, width = weight.shape
    as_rgb = channels == 3 and height * width > 1
    as_matrix = not as_rgb and channels > 1
    shown = weight[:max_filters, : 3 if as_rgb else max_filters].detach().cpu().double().numpy()
    finite = np.isfinite(shown)
    shown = np.where(finite, shown, 0)
    largest = np.abs(shown).max(axis=(1, 2, 3))  # one a filter
    # on a common scale a few outliers would leave all else pale, so it ends at three root mean squares
    scale = largest if as_rgb else min(largest.max(), 3 * np.sqrt(np.mean(shown**2)))
    scale = np.where(scale > 0, scale, 1.0)
    unit = ((1 + shown / scale.reshape(-1, 1, 1, 1)) / 2).clip(0, 1)  # zero at the middle

    # (rows, columns, height, width, RGB)
    if as_rgb:
        tiles = np.moveaxis(unit * finite, 1, -1)[:, None]
    else:
        tiles = matplotlib.colormaps["coolwarm"](unit)[..., :3] * finite[..., None]
    tiles = np.rint(tiles * 255).astype(np.uint8)
    if not as_matrix:
        tiles = fold(tiles[:, 0])
    rows, columns = tiles.shape[:2]

    magnify = math.ceil(48 / max(height, width))
    tiles = tiles.repeat(magnify, axis=2).repeat(magnify, axis=3)
    gap = 2 if as_matrix else 5
    above = gap if as_matrix else 17  # room for the label of a filter
    beside = gap if as_matrix else gap + max(0, height - width) * magnify // 2  # the same for a narrow one
    tiles = np.pad(tiles, ((0, 0), (0, 0), (above, gap), (beside, beside), (0, 0)), constant_values=255)
    tile_height, tile_width = tiles.shape[2:4]
    mosaic = tiles.swapaxes(1, 2).reshape(rows * tile_height, columns * tile_width, 3)
    tile_inches = (min(0.5, 8 / max(rows, columns)) if as_matrix else 1.2) / max(tile_height, tile_width)
    figure_width = max(5.0, columns * tile_width * tile_inches + (0.2 if as_rgb else 1.5))

    per_inch = 12.5  # characters of the title
    title = "\n".join(textwrap.fill(line, int(figure_width * per_inch)) for line in title.splitlines())
    figure_height = max(1.2, rows * tile_height * tile_inches) + 0.8 + 0.17 * title.count("\n")
    figure = PlainFigure(figsize=(figure_width, figure_height), dpi=100, layout="compressed")
    figure.suptitle(title, fontsize=TITLE_SIZE)
    axes = figure.add_subplot()
    # one unit a tile: tile (row, column) is centred on (column, row)
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(mosaic, interpolation="nearest", extent=extent, aspect=tile_height / tile_width)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=TEXT_SIZE)

    amount = "all filters" if filters == len(shown) else f"first {len(shown)} of {filters} filters"
    remark = "" if finite.all() else "\nblack: not finite"
    if as_matrix:
        inputs = "all" if channels == columns else f"first {columns} of {channels}"
        axes.set_xlabel(f"input channel\n{amount}, {inputs} input channels{remark}", fontsize=TEXT_SIZE)
        axes.set_ylabel("filter", fontsize=TEXT_SIZE)
        axes.set_xticks(range(0, columns, math.ceil(columns / 32)))
        axes.set_yticks(range(0, rows, math.ceil(rows / 32)))
    else:
        note = "in RGB: grey is 0, each scaled by its largest weight" if as_rgb else "over one input channel"
        axes.set_xlabel(f"{amount} {note}{remark}", fontsize=TEXT_SIZE)
        axes.set_xticks([])
        axes.set_yticks([])
        for index in range(len(shown)):
            row, column = divmod(index, columns)
            label = f"{index}: |w| ≤ {largest[index]:#.2g}" if as_rgb else f"{index}"
            top = row - 0.5 + (above - 2) / tile_height
            axes.text(column, top, label, fontsize=TEXT_SIZE, ha="center", va="bottom")
    if not as_rgb:
        colours = ScalarMappable(Normalize(-float(scale), float(scale)), "coolwarm")
        clipped = "both" if largest.max() > scale else "neither"  # arrows at the ends: weights beyond the scale
        bar = figure.colorbar(colours, ax=axes, shrink=0.8, aspect=15, fraction=0.06, extend=clipped)
        bar.set_label("weight", fontsize=TEXT_SIZE)
        bar.ax.tick_params(labelsize=TEXT_SIZE)
    return figure
