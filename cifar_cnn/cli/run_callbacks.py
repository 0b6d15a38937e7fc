"""Callbacks that need what only the command line knows: its words, and where a test writes."""

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
    """The callbacks of a command's run.

    Args:
        given: those of ``--trainer.callbacks``.
        model: that is trained or tested.
        config: of the command.
        files: from :func:`result_files`.
        command_line: all words of the command.

    Raises:
        InputError: a given callback cannot work here.
    """
    given = [given] if isinstance(given, Callback) else given or []
    check_given(given, model)
    own = (RunSummary(files), StorePredictions(files), TensorBoardPages(files), RunRecord(command_line))
    return [*given, *own, OwnCode([config.as_dict(), class_path(type(model))])]


def result_files(command: str, config: Namespace, source: Source, checkpoint: Checkpoint | None) -> ResultFiles:
    """Where a test writes: test.json is for the images that the run was trained for.

    Args:
        command: other commands than ``test`` write no results of their own.
        config: of the command.
        source: of its images.
        checkpoint: that is tested.
    """
    if command != "test":
        return ResultFiles()
    trained = checkpoint.content["datamodule_hyper_parameters"].get("source") if checkpoint else None
    return ResultFiles(config["name"], is_other_source(source, config["data"]["source"].as_dict(), trained))
