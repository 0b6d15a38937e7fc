"""Write the pictures of a search into the folder of the run that follows it."""

from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.analysis import charts
from cifar_cnn.base.files import write
from cifar_cnn.resume.loops import run_folder

if TYPE_CHECKING:  # importing matplotlib takes several hundred milliseconds
    from cifar_cnn.base.figures import PlainFigure


class SavePictures(Callback):
    """Writes each figure to ``NAME.png`` in the run's folder when training starts.

    Args:
        figures: figures by name.
    """

    def __init__(self, figures: "dict[str, PlainFigure]") -> None:
        super().__init__()
        self._figures = figures

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer)
        if folder is not None and trainer.is_global_zero:
            for name, figure in self._figures.items():
                write(folder / f"{name}.png", charts.png(figure))
