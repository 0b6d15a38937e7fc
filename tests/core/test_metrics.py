import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.base.means import MeanLoss, TrainMeans
from cifar_cnn.base.probability_scores import BINS
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, Shapes
from cifar_cnn.data.batches import Batch
from cifar_cnn.metrics import accuracy_per_class
from cifar_cnn.metrics import test_metrics as make_test_metrics
from tests.core.test_classifier import quiet_trainer

HALF = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_sums_exceed_the_range_and_precision_of_half_precision(dtype: torch.dtype) -> None:
    mean, train = MeanLoss(), TrainMeans()
    module = nn.ModuleList([mean, train]).to(dtype)
    loss = torch.tensor(2.3125, dtype=dtype)
    for _ in range(100):
        mean.update(value=loss, weight=5001)
        train.update(loss, torch.tensor(5000), 5001)
    assert mean.compute().item() == pytest.approx(2.3125)
    means = train.compute()
    assert means["train/loss"].item() == pytest.approx(2.3125)
    assert means["train/accuracy"].item() == pytest.approx(5000 / 5001, rel=1e-6)
    before = train.loss.clone()
    module.to(dtype)  # as a resumed run does after it has read the sums of the epoch so far
    assert torch.equal(train.loss, before)
    mean.reset()
    assert mean.sum.dtype == torch.float32


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_losses_in_half_precision_are_those_of_the_float32_logits(precision: str) -> None:
    class Recorded(ImageClassifier):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            seen.append(logits.detach())
            return logits

        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            labels.append(batch.labels)

    seen: list[Tensor] = []
    labels: list[Tensor] = []
    module = CIFAR10DataModule(Shapes(100, 40), batch_size=40, val_size=20, eval_batch_size=500)
    trainer = quiet_trainer(max_epochs=1, precision=precision)
    model = Recorded(SimpleCNN((4, 8, 16)))
    trainer.fit(model, module)
    *_, logits = seen
    assert logits.dtype in HALF
    expected = functional.cross_entropy(logits.float(), labels[-1])
    torch.testing.assert_close(trainer.callback_metrics["val/loss"], expected, rtol=0, atol=0)
    train_loss = trainer.callback_metrics["train/loss"]
    assert train_loss.dtype == torch.float32
    assert train_loss != train_loss.to(logits.dtype).float()  # it was not rounded to half precision


def test_a_class_without_images_has_no_accuracy() -> None:
    accuracies = accuracy_per_class(torch.tensor([[3, 1, 0], [0, 0, 0], [1, 0, 0]])).tolist()
    assert accuracies[0] == pytest.approx(0.75)
    assert math.isnan(accuracies[1])
    assert accuracies[2] == 0


def test_the_scores_of_a_test_are_those_of_all_images_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = 4 * torch.randn(700, 7, generator=generator), torch.randint(7, (700,), generator=generator)
    metric = make_test_metrics("test/", 7, with_tta=False)
    for part in torch.arange(700).split(300):
        metric.update(preds=logits[part], target=labels[part], value=torch.tensor(1.0), weight=len(part))
    found = metric.compute()
    assert found["test/nll"].item() == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    truth = functional.one_hot(labels, 7)
    brier = (logits.softmax(1) - truth).square().sum(1).mean().item()
    assert found["test/brier"].item() == pytest.approx(brier, rel=1e-5)
    ece = multiclass_calibration_error(logits.softmax(1), labels, 7, BINS).item()
    assert found["test/ece"].item() == pytest.approx(ece, rel=1e-4)
