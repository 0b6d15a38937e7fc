import logging

import pytest

from cifar_cnn.quiet import plain_output

log = logging.getLogger("cifar_cnn")


def test_a_repeated_warning_is_printed_once_per_command(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with plain_output():
            for _ in range(2):
                log.warning("%s has changed", "net.py")
                with plain_output():
                    log.info("Loading")
        assert capsys.readouterr().err == "net.py has changed\nLoading\nLoading\n"


@pytest.mark.parametrize("name", ["utilities.rank_zero", "accelerators.cuda"])
def test_notes_of_lightning_are_hidden_and_its_warnings_are_not(name: str) -> None:
    logger = logging.getLogger(f"lightning.pytorch.{name}")
    with plain_output():
        assert not logger.filter(logging.makeLogRecord({"levelno": logging.INFO, "msg": "Tip: install more"}))
        assert logger.filter(logging.makeLogRecord({"levelno": logging.WARNING, "msg": "A value is missing"}))
    assert logger.filter(logging.makeLogRecord({"levelno": logging.INFO, "msg": "Tip: install more"}))
