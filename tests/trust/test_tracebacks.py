import json
import traceback
from pathlib import Path

import pytest
import torch

from cifar_cnn.trust import tracebacks
from cifar_cnn.trust.tracebacks import is_own, own_line, own_traceback, with_own_frames


def wrong_json() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        raise RuntimeError("no settings") from error


def library_cause() -> None:
    try:
        torch.zeros(1).view(2)
    except RuntimeError:
        raise RuntimeError("no view") from None


def test_the_users_files_are_recognized_by_their_folder() -> None:
    assert is_own(__file__)
    assert is_own("mine.py")
    for library in (torch.__file__, json.__file__, tracebacks.__file__, pytest.__file__, "<frozen runpy>"):
        assert not is_own(library)


def test_a_traceback_keeps_the_users_frames_and_those_of_its_cause() -> None:
    with pytest.raises(RuntimeError) as caught:
        wrong_json()
    error = with_own_frames(caught.value)
    assert error is caught.value
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "wrong_json"
    assert error.__cause__ is not None
    assert [frame.name for frame in traceback.extract_tb(error.__cause__.__traceback__)] == ["wrong_json"]
    assert own_line(error) == f'{Path(__file__).name}, line 16: raise RuntimeError("no settings") from error'


def test_a_printed_traceback_names_no_library_file() -> None:
    with pytest.raises(RuntimeError) as caught:
        library_cause()
    text = own_traceback(caught.value)
    assert text is not None
    assert {line.split(chr(34))[1] for line in text.splitlines() if line.startswith("  File ")} == {__file__}
    assert text.endswith("RuntimeError: no view")


def test_an_exception_without_a_user_frame_is_unchanged() -> None:
    assert own_traceback(RuntimeError("nowhere")) is None
    error = RuntimeError("nowhere")
    assert with_own_frames(error) is error


def test_an_exception_wrapped_by_a_library_is_unwrapped() -> None:
    with pytest.raises(RuntimeError) as caught:
        wrong_json()
    wrapped = ValueError("no class")
    wrapped.__cause__ = caught.value
    assert with_own_frames(wrapped) is caught.value
    text = own_traceback(wrapped)
    assert text is not None
    assert text.endswith("RuntimeError: no settings")
