"""ImageClassifier: the one LightningModule, over any backbone, loss, optimizer and schedule."""

import inspect
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchmetrics.utilities.distributed import gather_all_tensors

from cifar_cnn.checks.outputs import wrong_logits, wrong_loss
from cifar_cnn.data.batches import Batch, as_batch
from cifar_cnn.errors import InputError
from cifar_cnn.losses import LossFunction, as_module
from cifar_cnn.metrics import MeanLoss, PlainAccuracy, TrainMeans, accuracy_per_class, in_float32
from cifar_cnn.optim import learning_rate, make_schedule, parameter_groups
from cifar_cnn.parts import record_known
from cifar_cnn.resume.loops import validates
from cifar_cnn.tta import TTA, logits_with_tta

log = logging.getLogger("cifar_cnn")

# Told the run's length as the second argument; the other form is for those whose second argument is something else.
ScheduleCallable = Callable[[Optimizer, int], LRScheduler] | Callable[[Optimizer], LRScheduler]


class ImageClassifier(LightningModule):
    """Trains and evaluates a backbone on batches of images and labels.

    Args:
        backbone: any module from (N, C, H, W) images to (N, num_classes) logits, by class_path.
        loss: any module or function of (logits, target) that gives a scalar; torch's cross-entropy by default.
        optimizer: made for the backbone's parameters; by default SGD with Nesterov momentum.
        schedule: made for the optimizer and the run's number of steps, stepped with each batch
            (ReduceLROnPlateau: with each validation, by its ``monitor``); null keeps the learning rate.
        decay_bias_and_norm: whether the optimizer's weight decay holds for biases and normalisation too.
        parameter_groups: options of the optimizer for parameters of the backbone by a pattern of their names, such as
            ``{"head.*": {"lr": 0.01}}``; ``until`` is the fraction of the run after which their schedule has ended.
        tta: test-time augmentation, of test and predict: ``flip`` averages the logits of an image and its mirror
            image, ``flip_shift`` also those of shifts by one pixel.
        channels_last: lay images and weights out as NHWC, which most convolutions are faster in.
        compile: compile the backbone with torch.compile; checkpoints are the same with and without.
        num_classes: classes of the data; the command line takes it from there.
        init_from: folder or checkpoint of a run whose weights a new fit starts from; tensors of another shape, such as
            those of another number of classes, keep their own initialisation.
    """

    def __init__(
        self,
        backbone: nn.Module,
        loss: nn.Module | LossFunction | None = None,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule: ScheduleCallable | None = None,
        decay_bias_and_norm: bool = True,
        parameter_groups: dict[str, dict[str, float]] | None = None,
        tta: TTA = "none",
        channels_last: bool = True,
        compile: bool = False,
        num_classes: int = 10,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Attribute '.*' (is an instance of `nn.Module`|removed from hparams)")
            self.save_hyperparameters()
        self.backbone = backbone
        self.loss = as_module(loss)
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.decay_bias_and_norm = decay_bias_and_norm
        self.parameter_groups = parameter_groups or {}
        self.tta = tta
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compile_backbone = compile
        self.num_classes = num_classes
        self.init_from = init_from
        self._record: tuple[dict[str, Any], dict[str, str]] | None = None  # of the arguments
        self.test_results: dict[str, Tensor] = {}  # of the newest test, by the metrics' names
        self._plateau: tuple[ReduceLROnPlateau, str] | None = None  # and what it goes by

        def metrics(prefix: str, **more: Metric) -> MetricCollection:
            # validate_args reads the values of every batch, which makes a GPU wait. Compute groups would merge metrics
            # whose counts are equal after one batch, as top-1 and top-5 can be.
            accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
            named: dict[str, Metric | MetricCollection] = {"loss": MeanLoss(), "accuracy": accuracy, **more}
            return MetricCollection(named, prefix=prefix, compute_groups=False)

        def top5() -> Metric:
            return MulticlassAccuracy(num_classes, min(5, num_classes), "micro", validate_args=False)

        self.train_means = TrainMeans()
        self.val_metrics = metrics("val/", accuracy_top5=top5())
        self.test_metrics = metrics(
            "test/",
            accuracy_top5=top5(),
            confusion_matrix=MulticlassConfusionMatrix(num_classes, validate_args=False),
        )
        if tta != "none":
            self.test_metrics.add_metrics({"accuracy_without_tta": PlainAccuracy(num_classes)})

    def forward(self, images: Tensor) -> Tensor:
        """From normalised images (N, C, H, W) to logits (N, num_classes)."""
        return self.backbone(images.contiguous(memory_format=self.memory_format))

    def setup(self, stage: str) -> None:
        """Lay the weights out and compile, once the backbone is final."""
        self.backbone.to(memory_format=self.memory_format)
        if self.compile_backbone and self.backbone._compiled_call_impl is None:
            if self.device.type == "cpu" and not _has_cpp_compiler():
                log.info("No C++ compiler (g++ or clang++) was found: the backbone runs without torch.compile.")
            else:
                self.backbone.compile()  # in place, which leaves the names in the state_dict alone

    def logits_with_tta(self, images: Tensor) -> Tensor:
        """From normalised images (N, C, H, W) to logits (N, num_classes), with test-time augmentation if that is on."""
        return logits_with_tta(self, images, self.tta)[0]

    def _logits_and_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = self(batch.images)
        return logits, self._loss(logits, batch)

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if not isinstance(logits, Tensor) or logits.shape != (len(batch.labels), self.num_classes):
            raise InputError(wrong_logits(self.backbone, logits, len(batch.labels), self.num_classes))
        loss = self.loss(in_float32(logits), batch.labels)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise InputError(wrong_loss(self.loss, loss))
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; the loss that is differentiated, a scalar."""
        batch = as_batch(batch)
        logits, loss = self._logits_and_loss(batch)
        correct = (logits.detach().argmax(1) == batch.labels).sum()
        self.train_means.update(loss.detach(), correct, len(batch.labels))
        # Logging takes longer than a small network's kernels; between its intervals nothing is logged or computed.
        if self._is_logging_step():
            self.log("train/loss_step", loss.detach(), prog_bar=True)
            self.log("train/accuracy_step", correct.float() / len(batch.labels), prog_bar=True)
            self.log("lr", learning_rate(self.trainer.optimizers[0]))
        return loss

    def _is_logging_step(self) -> bool:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return bool(every) and (self.global_step + 1) % every == 0

    def on_train_epoch_start(self) -> None:
        """Start the epoch's averages anew."""
        self.train_means.reset()

    def on_train_epoch_end(self) -> None:
        """Log loss and accuracy over the epoch's batches, of all processes, and the learning rate at its end."""
        self.log_dict(self.train_means.compute())
        self.log("lr", learning_rate(self.trainer.optimizers[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Count one batch; its logits (N, num_classes)."""
        batch = as_batch(batch)
        logits = None
        if len(batch.labels):  # a process's share of the last images may be none
            logits, loss = self._logits_and_loss(batch)
            self.val_metrics.update(preds=logits, target=batch.labels, value=loss, weight=len(batch.labels))
        return logits

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Count one batch, with test-time augmentation if that is on; its logits (N, num_classes)."""
        batch = as_batch(batch)
        logits = None
        if len(batch.labels):
            logits, plain = logits_with_tta(self, batch.images, self.tta)
            loss = self._loss(logits, batch)
            self.test_metrics.update(
                preds=logits, plain_preds=plain, target=batch.labels, value=loss, weight=len(batch.labels)
            )
        return logits

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.val_metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log loss and accuracy over all validation images, of all processes; step a schedule that goes by them."""
        values = self.val_metrics.compute()
        for name, value in values.items():
            self.log(name, value, prog_bar=name != "val/accuracy_top5")
        training = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if self._plateau is not None and training:
            schedule, monitor = self._plateau
            schedule.step(values[monitor].item())

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self.test_metrics.reset()

    def on_test_epoch_end(self) -> None:
        """Log loss and accuracy over all test images, of all processes; keep what is no single number."""
        self.test_results = self.test_metrics.compute()
        per_class = accuracy_per_class(self.test_results["test/confusion_matrix"])
        self.test_results["test/accuracy_per_class"] = per_class
        self.log_dict({name: value for name, value in self.test_results.items() if value.ndim == 0})

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities (N, num_classes)."""
        batch = as_batch(batch)
        return self.logits_with_tta(batch.images).float().softmax(1)

    def configure_optimizers(self) -> Any:
        """The optimizer and, stepped with each batch, the schedule over the run's steps.

        Raises:
            InputError: there is a schedule, and the run has no known end or no validation that it goes by.
        """
        groups = parameter_groups(self.backbone.named_parameters(), self.decay_bias_and_norm, self.parameter_groups)
        if not groups:
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
            freezing = [type(each).__name__ for each in callbacks if isinstance(each, BaseFinetuning)]
            by = f": {freezing[0]} has frozen them all, since it spares BatchNorm alone" if freezing else ""
            raise InputError(f"{type(self.backbone).__name__} has no parameters to train{by}")
        try:
            optimizer = self.make_optimizer(groups)
        except ValueError as error:  # what torch.optim raises for a negative learning rate and the like
            raise InputError(f"model.optimizer: {error}") from error
        if self.make_schedule is None:
            return optimizer
        total_steps = self.trainer.estimated_stepping_batches
        if total_steps == float("inf"):
            raise InputError("a schedule needs the run's length: set --trainer.max_epochs or --trainer.max_steps")
        schedule = make_schedule(self.make_schedule, optimizer, int(total_steps))
        self._plateau = None
        if isinstance(schedule, ReduceLROnPlateau):
            monitor = getattr(schedule, "monitor", "val/loss")
            if monitor not in (known := [str(name) for name in self.val_metrics.keys()]):  # noqa: SIM118  (no dict)
                raise InputError(f"model.schedule.monitor is one of {', '.join(known)}, not {monitor!r}")
            if not validates(self.trainer):
                raise InputError("ReduceLROnPlateau goes by validation, and there are no images for it (data.val_size)")
            self._plateau = schedule, monitor
            # Lightning would step it after an epoch's checkpoint is written, and no more in a run that goes on. Told
            # to do so in an epoch that never comes, it keeps its state all the same.
            never = {"interval": "epoch", "frequency": sys.maxsize, "monitor": monitor}
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **never}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights.

        Raises:
            InputError: they are those of another network.
        """
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            backbone = type(self.backbone).__name__
            sizes = re.search(
                r"size mismatch for (\S+): .*?torch.Size\((.*?)\).*?torch.Size\((.*?)\)", str(error), re.DOTALL
            )
            detail = f"{sizes[1]} is {sizes[2]} there, {sizes[3]} here" if sizes else " ".join(str(error).split())[:300]
            raise InputError(
                f"the checkpoint's weights do not fit this {backbone} ({detail.replace('backbone.', '')}); without "
                "--config and --model options, the network is the one that was trained"
            ) from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's averages so far, of each process, and hyper-parameters as plain data."""
        checkpoint["precision"] = str(self.trainer.precision)  # which test and predict then use too
        checkpoint["first_step"] = self._steps_taken()
        checkpoint["model"] = self.import_path()  # whose training step a run that goes on must have
        means = {name: getattr(self.train_means, name).clone() for name in self.train_means.metric_state}
        if self.trainer.world_size > 1:
            means = {name: torch.stack(gather_all_tensors(value)) for name, value in means.items()}
        checkpoint["train_means"] = means
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY], checkpoint["not_recorded"] = self.recorded()
        key = LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY
        if key in checkpoint:
            checkpoint[key], _ = record_known(checkpoint[key])

    def recorded(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The arguments that the classifier was made with as plain data, and why others cannot be written down."""
        if self._record is None:  # an object is rebuilt to see whether it can be
            known, unknown = record_known(self.hparams)
            arguments = inspect.signature(type(self)).parameters
            # A default that cannot be written down is the class's own whenever it is made.
            own = [name for name in unknown if name in arguments and self.hparams[name] is arguments[name].default]
            self._record = known, {name: reason for name, reason in unknown.items() if name not in own}
        return self._record

    @classmethod
    def import_path(cls) -> str:
        """Module and name of the class, as checkpoints hold it."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def own_weights(self, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """The weights of a checkpoint; of one that was trained as another class, without those of its further parts."""
        weights = checkpoint["state_dict"]
        if checkpoint.get("model") == self.import_path():
            return weights
        known = self.state_dict().keys()
        return {name: value for name, value in weights.items() if name in known or name.startswith("backbone.")}

    def _steps_taken(self) -> int:
        """How many steps loggers have counted: a batch once, however many optimizers have stepped in it."""
        if self.automatic_optimization:
            return self.trainer.global_step
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.ready  # gradients are not accumulated then

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch's averages; with another number of processes, the first takes those of all."""
        checkpoint["state_dict"] = self.own_weights(checkpoint)
        self.train_means.reset()
        world_size = self._trainer.world_size if self._trainer else 1
        for name, values in checkpoint.get("train_means", {}).items():
            values = values.reshape(-1)  # one, or one of each process
            if len(values) == world_size:
                setattr(self.train_means, name, values[self.global_rank])
            elif self.global_rank == 0:
                setattr(self.train_means, name, values.sum())


def _has_cpp_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "", "g++", "clang++", "cl") if name)
