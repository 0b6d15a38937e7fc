from pathlib import Path

import pytest
import yaml

from cifar_cnn.cli.given_values import chosen, given, load

CONFIG = {
    "model": {"backbone": "SimpleCNN", "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.3}}},
    "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "EarlyStopping", "init_args": {"patience": 7}}]},
}


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("", "trainer.max_epochs", 3),
        ("--trainer.max_epochs 5", "trainer.max_epochs", "5"),
        ("--trainer.max_epochs=5 --trainer.max_epochs 6", "trainer.max_epochs", "6"),
        ("", "model.optimizer.lr", 0.3),
        ("", "trainer.callbacks.patience", 7),
        ("--model.optimizer {class_path:\\ SGD,\\ init_args:\\ {lr:\\ 1}}", "model.optimizer.lr", 1),
        ("", "data.batch_size", None),
    ],
)
def test_the_last_value_of_an_option_is_found_in_words_and_configs(words: str, option: str, value: object) -> None:
    Path("a.yaml").write_text(yaml.safe_dump(CONFIG))
    args = [word.replace("_SPACE_", " ") for word in words.replace("\\ ", "_SPACE_").split()]
    assert given(["--config", "a.yaml", *args], option) == value


def test_the_chosen_class_is_the_last_one_named() -> None:
    Path("a.yaml").write_text(yaml.safe_dump(CONFIG))
    assert chosen(["--config", "a.yaml"], "model.optimizer") == "torch.optim.SGD"
    assert chosen(["--config", "a.yaml", "--model.optimizer", "AdamW"], "model.optimizer") == "AdamW"
    assert chosen([], "model.optimizer", "torch.optim.SGD") == "torch.optim.SGD"


def test_a_config_is_read_once_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = yaml.safe_load

    def safe_load(text: str) -> object:
        read.append(text)
        return original(text)

    monkeypatch.setattr(yaml, "safe_load", safe_load)
    for text in ("{a: 1}", "{a: 23}"):
        Path("a.yaml").write_text(text)
        assert load("a.yaml") == load("a.yaml") == original(text)
    assert read == ["{a: 1}", "{a: 23}"]
    assert load("[") is None
