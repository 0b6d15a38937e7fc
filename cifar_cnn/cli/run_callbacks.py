"""Callbacks that depend on the command line, and the files that a test writes."""

from jsonargparse import Namespace
from lightning.pytorch import Callback

from cifar_cnn.callbacks.given import check_given
from cifar_cnn.callbacks.own_code import OwnCode
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.callbacks.run_record import RunRecord
from cifar_cnn.callbacks.summary import RunSummary
from cifar_cnn.callbacks.tensorboard import TensorBoardPages
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import Source
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.runs.contents import class_path
from cifar_cnn.runs.results import ResultFiles, is_other_source


def run_callbacks(
    given: Callback | list[Callback] | None,
    model: ImageClassifier,
    config: Namespace,
    files: ResultFiles,
    command_line: list[str],
) -> list[Callback]:
    """The callbacks of a command.

    Args:
        given: the callbacks from ``--trainer.callbacks``.
        model: the model to train or test.
        config: the command's config.
        files: from :func:`result_files`.
        command_line: the whole command line.

    Raises:
        InputError: a given callback cannot be used in this run.
    """
    given = [given] if isinstance(given, Callback) else given or []
    check_given(given, model)
    own = (RunSummary(files), StorePredictions(files), TensorBoardPages(files), RunRecord(command_line))
    return [*given, *own, OwnCode([config.as_dict(), class_path(type(model))])]


def result_files(command: str, config: Namespace, source: Source, checkpoint: Checkpoint | None) -> ResultFiles:
    """The files that ``test`` writes; test.json is reserved for the test images of the run's own source.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        config: the command's config.
        source: the source of the images.
        checkpoint: the checkpoint to test.
    """
    if command != "test":
        return ResultFiles()
    trained = checkpoint.content["datamodule_hyper_parameters"].get("source") if checkpoint else None
    return ResultFiles(config["name"], is_other_source(source, config["data"]["source"].as_dict(), trained))
