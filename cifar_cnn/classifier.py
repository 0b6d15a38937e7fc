"""ImageClassifier: the one LightningModule, for any backbone, loss, optimizer and schedule."""

import warnings
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import SGD
from torchmetrics import MetricCollection

from cifar_cnn.augmentations import largest_class, loss_of
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.input_checks.fractions import checked_fraction
from cifar_cnn.base.means import TrainMeans
from cifar_cnn.data.batches import Batch, as_batch
from cifar_cnn.metrics import accuracy_per_class, eval_metrics, in_float32, test_metrics
from cifar_cnn.optim import learning_rate, parameter_groups
from cifar_cnn.parts import keep_plain
from cifar_cnn.parts.losses import LossFunction, as_module
from cifar_cnn.parts.schedules import Interval, ScheduleCallable, schedule_config
from cifar_cnn.tta import TTA, logits_with_tta


class ImageClassifier(LightningModule):
    """Train and evaluate a backbone on batches of images and labels.

    Args:
        backbone: any module from (N, C, H, W) images to (N, num_classes) logits.
        loss: any module or function of (logits, target) that returns a scalar; by default torch's cross-entropy.
        optimizer: called with the backbone's parameter groups; by default SGD with Nesterov momentum.
        schedule: called with the optimizer and the number of steps in the run. None keeps the learning rate constant.
        schedule_interval: when the schedule is stepped: after each ``step`` or ``epoch``. By default each step if it
            receives the number of steps, else each epoch; ReduceLROnPlateau: each validation, using its ``monitor``.
        decay_bias_and_norm: apply the optimizer's weight decay to biases and normalization parameters too.
        parameter_groups: optimizer options by parameter name pattern, such as ``{"head.*": {"lr": 0.01}}``; with
            ``until``, the group's schedule ends at that fraction of the run.
        tta: test-time augmentation in test and predict: ``flip`` averages the logits of an image and its mirror image,
            ``flip_shift`` adds shifts by one pixel.
        tta_fraction: fraction of each test batch, its least confident images, that ``tta`` is used for; predict: all.
        channels_last: store images and weights as NHWC, which makes most convolutions faster.
        compile: compile the backbone with torch.compile, in the given mode or in torch's default mode; checkpoints are
            the same with and without it.
        num_classes: number of classes; the command line takes it from the data.
        init_from: folder or checkpoint of a run whose weights initialize a new fit; parameters whose shape differs, as
            in the last layer with another number of classes, keep their random initialization.

    Attributes:
        not_recorded: arguments that ``hparams`` does not contain, each with the reason.
        test_results: results of the latest test by metric name.
    """

    def __init__(
        self,
        backbone: nn.Module,
        loss: nn.Module | LossFunction | None = None,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule: ScheduleCallable | None = None,
        schedule_interval: Interval | None = None,
        decay_bias_and_norm: bool = True,
        parameter_groups: dict[str, dict[str, float]] | None = None,
        tta: TTA = "none",
        tta_fraction: float = 1.0,
        channels_last: bool = True,
        compile: bool | Literal["reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = False,
        num_classes: int = 10,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Attribute '.*' (is an instance of `nn.Module`|removed from hparams)")
            self.save_hyperparameters()
        self.not_recorded = keep_plain(self.hparams, type(self))
        self.backbone = backbone
        self.loss = as_module(loss)
        self.make_optimizer = optimizer
        self.make_schedule, self.schedule_interval = schedule, schedule_interval
        self.decay_bias_and_norm = decay_bias_and_norm
        self.parameter_groups = parameter_groups or {}
        self.tta, self.tta_fraction = tta, checked_fraction(tta_fraction)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to_compile = compile  # False once compiled
        self.num_classes = num_classes
        self.init_from = init_from
        self.train_means = TrainMeans()
        self.val_metrics = eval_metrics("val/", num_classes)
        self.test_metrics = test_metrics("test/", num_classes, with_tta=tta != "none")
        self.test_results: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images (N, C, H, W) to logits (N, num_classes)."""
        return self.backbone(images.contiguous(memory_format=self.memory_format))

    def setup(self, stage: str) -> None:
        """Set the memory format of the weights and compile the backbone."""
        self.backbone.to(memory_format=self.memory_format)
        if self.to_compile:
            mode = None if self.to_compile is True else self.to_compile
            self.backbone.compile(mode=mode)  # in place, so the names in the state_dict do not change
            self.to_compile = False

    def logits_with_tta(self, images: Tensor) -> Tensor:
        """Map normalized images (N, C, H, W) to logits (N, num_classes), with test-time augmentation if enabled."""
        return logits_with_tta(self, images, self.tta)[0]

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return loss_of(self.loss, in_float32(logits), batch.labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, a scalar."""
        batch = as_batch(batch)
        logits = self(batch.images)
        loss = self._loss(logits, batch)
        correct = (logits.detach().argmax(1) == largest_class(batch.labels)).sum()
        self.train_means.update(loss.detach(), correct, len(batch.labels))
        # Logging takes longer than a small network's forward pass, so only every log_every_n_steps-th step logs.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            self.log("train/loss_step", loss.detach(), prog_bar=True)
            self.log("train/accuracy_step", correct.float() / len(batch.labels), prog_bar=True)
            self.log("lr", learning_rate(self.trainer.optimizers[0]))
        return loss

    def on_train_epoch_start(self) -> None:
        self.train_means.reset()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss and accuracy over all processes, and the learning rate."""
        self.log_dict(self.train_means.compute())
        self.log("lr", learning_rate(self.trainer.optimizers[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Update the metrics; return the batch's logits (N, num_classes), or None for an empty batch."""
        return self._evaluate(batch, self.val_metrics, "none")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Like validation_step, with test-time augmentation if enabled."""
        return self._evaluate(batch, self.test_metrics, self.tta, self.tta_fraction)

    def _evaluate(self, batch: Batch, metrics: MetricCollection, tta: TTA, fraction: float = 1) -> Tensor | None:
        batch = as_batch(batch)
        size = len(batch.labels)
        if not size:  # a process's share of the last batch can be empty
            return None
        logits, plain = logits_with_tta(self, batch.images, tta, fraction)
        loss = self._loss(logits, batch)
        metrics.update(preds=logits, plain_preds=plain, target=batch.labels, value=loss, weight=size)
        return logits

    def on_validation_epoch_start(self) -> None:
        self.val_metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log loss and accuracy over the validation images of all processes."""
        for name, value in self.val_metrics.compute().items():
            self.log(name, value, prog_bar=name != "val/accuracy_top5")

    def on_test_epoch_start(self) -> None:
        self.test_metrics.reset()

    def on_test_epoch_end(self) -> None:
        """Log loss and accuracy over the test images of all processes; store all results in ``test_results``."""
        self.test_results = self.test_metrics.compute()
        per_class = accuracy_per_class(self.test_results["test/confusion_matrix"])
        self.test_results["test/accuracy_per_class"] = per_class
        self.log_dict({name: value for name, value in self.test_results.items() if value.ndim == 0})

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the probabilities of a batch: (N, num_classes)."""
        batch = as_batch(batch)
        return self.logits_with_tta(batch.images).float().softmax(1)

    def configure_optimizers(self) -> Any:
        """Create the optimizer and the schedule; InputError for an invalid argument or a schedule in an endless run."""
        groups = parameter_groups(self.backbone.named_parameters(), self.decay_bias_and_norm, self.parameter_groups)
        if not groups:
            raise InputError(f"{type(self.backbone).__name__} has no parameters to train")
        try:
            optimizer = self.make_optimizer(groups)
        except ValueError as error:  # raised by torch.optim, for example for a negative learning rate
            raise InputError(f"optimizer: {error}") from error
        if self.make_schedule is None:
            return optimizer
        schedule = schedule_config(self.make_schedule, optimizer, self.trainer, self.schedule_interval)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
