"""The fields of fit.json, test.json, config.yaml and the checkpoints, and the functions that read the text files.

Each field is declared once, here. A field of the wrong type is an InputError that names the file and the field; a
field that is not declared is kept as it is.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar, cast

from torch import Tensor
from yaml.constructor import SafeConstructor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import check_yaml
from cifar_cnn.base.paths import relative
from cifar_cnn.base.tables import printable_values
from cifar_cnn.runs.typed import Rule, mismatch
from cifar_cnn.tta import TTA

Fraction = Annotated[float, Rule("a number from 0 to 1", lambda value: 0 <= value <= 1)]
Count = Annotated[int, Rule("an integer from 0", lambda value: value >= 0)]
Positive = Annotated[int, Rule("an integer from 1", lambda value: value >= 1)]


class ImagesRecord(TypedDict, total=False):
    """``images`` in fit.json: the images of a fit."""

    source: str  # import path of its class
    train: Count
    validation: Count
    classes: Count
    size: Count  # side in pixels
    train_of: Count  # number of images that the training images were chosen from, if not all of them
    fold: str  # such as "0 of 5"
    labels_changed: Count  # number of training labels changed by label noise
    validated: Count  # number of images in the newest validation
    validated_on_training: bool


class WorkingFolder(TypedDict, total=False):
    """``working_folder`` in fit.json, see :func:`cifar_cnn.callbacks.surroundings.keep_working_folder`."""

    folder: str
    commit: str
    diff: str | None
    diff_truncated: bool
    untracked: list[str]


class FitRecord(TypedDict, total=False):
    """fit.json, see :class:`cifar_cnn.callbacks.run_record.RunRecord`."""

    command: str
    name: str | None
    started: str  # ISO 8601
    finished: str | None
    status: Literal["running", "finished", "interrupted", "failed"]
    reason: str
    seed: int | None
    order_seed: int
    images: ImagesRecord | None
    hardware: str
    precision: str
    versions: dict[str, str]
    git_commit: str | None  # of this package
    threads: Positive
    loggers: dict[str, str]  # the id of the record in each tracking service, by class of the logger
    packages: str  # name of a file in the run's folder
    working_folder: WorkingFolder | None  # None: not in a git repository
    learning_rate: float
    epochs: Count
    steps: Count
    seconds: float
    images_per_second: float | None
    earlier: "list[FitRecord]"  # quoted as a whole: Python 3.10 resolves no name within list[...]


class TestedOn(TypedDict):
    """``tested_on`` in test.json: the images of a test."""

    source: str  # import path of its class
    root: str | None
    images: Count
    sha256: str  # see :meth:`cifar_cnn.data.ImageSet.sha256`


class TestResult(TypedDict):
    """test.json, see :class:`cifar_cnn.callbacks.summary.RunSummary`."""

    accuracy: Fraction
    accuracy_interval: Annotated[list[Fraction], Rule("two numbers", lambda value: len(value) == 2)]  # Wilson, 95 %
    accuracy_top5: Fraction
    accuracy_per_class: list[Fraction | None]  # None: no images
    confusion_matrix: list[list[Count]]
    loss: float | None  # the run's own; None: not finite
    nll: float | None  # these three: see :class:`cifar_cnn.base.probability_scores.ProbabilityScores`
    brier: float | None
    ece: float | None
    class_names: list[str]
    images: Positive
    tested_on: TestedOn
    tta: TTA
    tta_fraction: Fraction  # of the images that it was used for
    checkpoint: str
    checkpoint_checksum: str  # see :func:`cifar_cnn.runs.checksum.checksum`
    changed_code: list[str]


class CorruptionResult(TypedDict):
    """corruptions.json, see :func:`cifar_cnn.analysis.robustness.measure.measure_corruptions`."""

    clean: Fraction
    mean: Fraction  # over all corruptions and severities
    accuracy: dict[str, list[Fraction]]  # by corruption, at severities 1 to 5
    images: Positive
    images_sha256: str
    seed: Count
    tta: TTA
    checkpoint_checksum: str


class CalibrationScores(TypedDict):
    """See :class:`cifar_cnn.base.probability_scores.ProbabilityScores`."""

    nll: float
    brier: float
    ece: Fraction


class CalibrationResult(TypedDict):
    """calibration.json, see :func:`cifar_cnn.analysis.temperature.measure_calibration`."""

    temperature: float
    before: CalibrationScores
    after: CalibrationScores
    validation_images: Positive
    images: Positive
    images_sha256: str
    tta: TTA
    checkpoint_checksum: str


class ModelConfig(TypedDict, total=False):
    """Section ``model`` of config.yaml: the fields that this package reads."""

    class_path: str
    init_args: dict[str, Any] | None
    dict_kwargs: dict[str, Any] | None
    tta: TTA | None


class Config(TypedDict, total=False):
    """config.yaml: the fields that this package reads."""

    seed_everything: bool | int
    model: ModelConfig
    trainer: dict[str, Any]
    data: dict[str, Any]
    name: str | None


class DataState(TypedDict):
    """``CIFAR10DataModule`` in a checkpoint: the fields needed to apply the network to new images."""

    class_names: Annotated[list[str], Rule("a list of at least one name", bool)]
    image_size: Annotated[int, Rule("an integer from 1 to 16384", lambda value: 1 <= value <= 2**14)]
    mean: Annotated[
        list[float], Rule("a list of a number for each of 1 to 64 channels", lambda value: 1 <= len(value) <= 64)
    ]
    std: Annotated[list[float], Rule("a list of positive numbers", lambda value: all(each > 0 for each in value))]


class _CheckpointContent(TypedDict):
    state_dict: dict[str, Tensor]
    global_step: Count
    hyper_parameters: dict[str, Any]
    datamodule_hyper_parameters: dict[str, Any]
    CIFAR10DataModule: DataState


class CheckpointContent(_CheckpointContent, total=False):
    """A checkpoint: the fields that this package reads; see :mod:`cifar_cnn.runs.contents`."""

    model: str
    precision: str
    first_step: Count
    not_recorded: dict[str, str]
    loops: dict[str, Any]
    callbacks: dict[str, Any]
    optimizer_states: list[Any]
    lr_schedulers: list[Any]


Fields = TypeVar("Fields", FitRecord, TestResult, CorruptionResult, CalibrationResult)


def read_record(run: Path) -> FitRecord:
    """The fit.json of a run; empty if there is none.

    Raises:
        InputError: a field is wrong.
    """
    return _read_json(run / "fit.json", FitRecord, "copy it again, or delete it and use the run without it")


def read_result(run: Path) -> TestResult:
    """The test.json of a run; empty if there is none.

    Raises:
        InputError: a field is missing or wrong.
    """
    return _read_json(run / "test.json", TestResult, f"run `cifar-cnn test --ckpt_path {relative(run)}` again")


def read_corruptions(run: Path) -> CorruptionResult:
    """The corruptions.json of a run; empty if there is none.

    Raises:
        InputError: a field is missing or wrong.
    """
    return _read_json(run / "corruptions.json", CorruptionResult, "delete it and run `cifar-cnn test --corruptions`")


def read_calibration(run: Path) -> CalibrationResult:
    """The calibration.json of a run; empty if there is none.

    Raises:
        InputError: a field is missing or wrong.
    """
    return _read_json(run / "calibration.json", CalibrationResult, "delete it and run `cifar-cnn test --temperature`")


def read_config(run: Path) -> Config:
    """The config.yaml of a run.

    Raises:
        InputError: it cannot be read, or a field is missing or wrong.
    """
    path = run / "config.yaml"
    root = check_yaml(path)
    try:
        content = SafeConstructor().construct_document(root)
    except Exception as error:  # an explicit tag such as !!int can raise any exception
        raise InputError(f"config {relative(path)} cannot be read: {' '.join(str(error).split())}") from error
    if line := mismatch(content, Config):
        raise InputError(f"config {relative(path)}: {line}; copy it again")
    return cast(Config, content)


def fingerprint_of_tested_images(run: Path) -> str | None:
    """The fingerprint of the images in test.json, even if its other fields are wrong."""
    try:
        tested_on = json.loads((run / "test.json").read_text(encoding="utf-8"))["tested_on"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return tested_on["sha256"] if mismatch(tested_on, TestedOn) is None else None


def _read_json(path: Path, kind: type[Fields], advice: str) -> Fields:
    try:
        content = printable_values(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return cast(Fields, {})
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{relative(path)} is not valid JSON ({' '.join(str(error).split())}): {advice}") from error
    if line := mismatch(content, kind):
        raise InputError(f"{relative(path)}: {line}; {advice}")
    return cast(Fields, content)
