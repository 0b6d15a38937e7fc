"""With damaged files in a run, a command works without them or ends with one line that names the file."""

import copy
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.analysis.report.curves import read_metrics
from cifar_cnn.analysis.report.environment import facts
from cifar_cnn.analysis.report.material import Material
from cifar_cnn.analysis.report.overview import basis, tiles
from cifar_cnn.analysis.run import Run
from cifar_cnn.analysis.runs import table
from cifar_cnn.analysis.shown import find_shown
from cifar_cnn.base.errors import InputError
from cifar_cnn.runs.checkpoints import load_trained, read_checkpoint
from cifar_cnn.runs.metric_rows import metric_rows
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.typed import mismatch
from tests.conftest import RunCommand

TEXT = ("fit.json", "test.json", "config.yaml", "metrics.csv")
ARRAYS = ("test_predictions.npz", "val_predictions.npz")
DATA = "CIFAR10DataModule"

NUMBERS = [0, -1, 7, 2**31, 2**63, 10**30, 0.5, -0.5, 1e300, math.nan, math.inf]
scalars = st.sampled_from([None, True, *NUMBERS, "", "x", "é", "\x1b[31m", "\ud800"])
values = st.recursive(
    scalars,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(["a", "class_path", ""]), some),
    max_leaves=3,
)


def places(content: Any, depth: int = 4) -> Iterator[tuple[Any, Any]]:
    """Each container in plain data, with each of its keys."""
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        if depth:
            yield from places(content[key], depth - 1)


@st.composite
def changed(draw: st.DrawFn, original: Any) -> Any:
    """Plain data with one value replaced or removed."""
    content = copy.deepcopy(original)
    container, key = draw(st.sampled_from(list(places(content))))
    if draw(st.booleans()):
        container[key] = draw(values)
    else:
        del container[key]
    return content


@st.composite
def cut(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes of a bad copy: truncated, or with some bytes changed."""
    place = draw(st.integers(0, len(original)))
    some = draw(st.binary(max_size=4))
    return original[:place] + (some + original[place + len(some) :] if draw(st.booleans()) else b"")


loaded = lru_cache(yaml.safe_load)  # parsing takes the longest


@st.composite
def damaged(draw: st.DrawFn, name: str, original: bytes) -> bytes:
    """The content of a damaged file of a run."""
    if name == "metrics.csv" or draw(st.integers(0, 3)) == 0:
        if name == "metrics.csv" and draw(st.booleans()):
            lines = [line.split(",") for line in original.decode().splitlines()]
            line = lines[draw(st.integers(0, len(lines) - 1))]
            line[draw(st.integers(0, len(line) - 1))] = str(draw(scalars)).replace("\ud800", "")
            return "".join(",".join(line) + "\n" for line in lines).encode()
        return draw(cut(original))
    if name.endswith(".json"):
        return json.dumps(draw(changed(json.loads(original)))).encode()
    if name.endswith(".yaml"):
        return yaml.safe_dump(draw(changed(loaded(original)))).encode("utf-8", "replace")
    with np.load(io.BytesIO(original)) as file:
        arrays = dict(file)
    array = draw(st.sampled_from(sorted(arrays)))
    logits, labels = arrays["logits"], arrays["labels"]
    others = [np.zeros(0), np.array(3), np.array("x"), logits.T, logits * np.nan, labels - 5, labels[:7]]
    arrays[array] = draw(st.sampled_from(others))
    np.savez(file_ := io.BytesIO(), **arrays)
    return file_.getvalue()


def one_line(work: Callable[[], Any], name: str = "") -> None:
    """Run code that may raise an error; its message must be one line that names the file."""
    line = f"{name}: it works"
    try:
        work()
    except InputError as error:
        line = str(error)
    assert name in line
    assert "\n" not in line
    assert line.encode()


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the tested run whose network and images are in memory."""
    run = Run(shutil.copytree(trained_run, tmp_path_factory.mktemp("damaged") / "version_0"))
    assert run.trained
    assert run.is_tested
    assert len(run.images("test")) == 50
    return run


def read_everything(run: Run, name: str) -> None:
    """Read all records of a run, as the commands do."""
    assert table(run.folder.parent)
    if name == "config.yaml":
        one_line(partial(read_run, run.folder), name)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "config", {"seed_everything": 0, "model": {}})  # parsing it takes the longest
        one_line(partial(read_run, run.folder), name)
    one_line(lambda: (run.status, run.label, run.metrics, run.is_tested), name)
    one_line(partial(report, run), name)


def report(run: Run) -> None:
    """Create the parts of a report that depend on a run's records."""
    metrics: Any = {}
    one_line(lambda: metrics.update(read_metrics(run.folder / "metrics.csv")), "metrics.csv")
    assert run.record
    material = Material(run, find_shown(run), metrics, None)
    texts = [basis(run), *facts(material).values(), *(text for tile in tiles(material) for text in tile.values())]
    assert " ".join(texts).encode()


@pytest.mark.parametrize("name", [*TEXT, *ARRAYS])
def test_a_damaged_file_is_one_line_or_ignored(run: Run, name: str) -> None:
    path = run.folder / name
    original = {each: (run.folder / each).read_bytes() for each in (*TEXT, *ARRAYS)}

    @settings(max_examples=10, deadline=None, database=None, derandomize=True)
    @given(damaged(name, original[name]))
    @example(b"")
    @example(original[name][:-9])
    @example(b"\xff\xfe")
    @example(b"[" * 2000)
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read_everything(run, name)
        finally:
            for each, whole in original.items():
                (run.folder / each).write_bytes(whole)

    check()


@pytest.fixture(scope="module")
def content(trained_run: Path) -> dict[str, Any]:
    """The best checkpoint of the run."""
    return torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)


@st.composite
def changed_checkpoint(draw: st.DrawFn, original: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint with one entry replaced or removed."""
    group = draw(st.sampled_from(["", DATA, "hyper_parameters"]))
    content = {**original, group: copy.deepcopy(original[group])} if group else dict(original)
    part = content[group] if group else content
    name = draw(st.sampled_from(sorted(part)))
    if draw(st.booleans()):
        part[name] = draw(values)
    else:
        del part[name]
    return content


def predict(path: Path) -> None:
    """Use a checkpoint as `cifar-cnn predict` does."""
    trained = load_trained(path)
    probabilities = trained.probabilities(torch.zeros(2, 3, trained.image_size, trained.image_size, dtype=torch.uint8))
    assert probabilities.shape == (2, len(trained.class_names))


def test_a_damaged_checkpoint_is_one_line(content: dict[str, Any], trained_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    whole = (trained_run / "checkpoints" / "best.ckpt").read_bytes()

    @settings(max_examples=10, deadline=None, database=None, derandomize=True)
    @given(changed_checkpoint(content) | cut(whole))
    def check(damaged: dict[str, Any] | bytes) -> None:
        if isinstance(damaged, bytes):
            path.write_bytes(damaged)
        else:
            torch.save(damaged, path)
        one_line(partial(predict, path), "some.ckpt")

    check()


@pytest.mark.parametrize(
    ("group", "entry", "value", "line"),
    [
        ("", "state_dict", None, "state_dict must be a mapping, not null"),
        ("", "global_step", "x", "global_step must be an integer, not 'x'"),
        ("", DATA, {}, f"{DATA}.class_names is missing"),
        (DATA, "class_names", [], f"{DATA}.class_names must be a list of at least one name, not a list"),
        (DATA, "class_names", [1] * 10, rf"{DATA}.class_names\[0\] must be text, not 1"),
        (DATA, "class_names", ["a", "b"], "class_names has 2 names, num_classes is 10"),
        (DATA, "mean", [0.5] * 65, f"{DATA}.mean must be a list of a number for each of 1 to 64 channels, not a list"),
        (DATA, "mean", [0.5] * 7, "mean has 7 numbers, std 3"),
        (DATA, "std", [0.5, 0.5, 0.0], f"{DATA}.std must be a list of positive numbers"),
        (DATA, "std", [0.5], "mean has 3 numbers, std 1"),
    ],
)
def test_the_line_about_a_checkpoint_names_the_entry(
    content: dict[str, Any], tmp_path: Path, group: str, entry: str, value: Any, line: str
) -> None:
    changed = {**content, group: {**content[group], entry: value}} if group else {**content, entry: value}
    torch.save(changed, tmp_path / "some.ckpt")
    with pytest.raises(InputError, match=rf"some\.ckpt is not a checkpoint of this project, or is damaged \({line}"):
        read_checkpoint(tmp_path / "some.ckpt")


def test_a_network_with_other_outputs_than_class_names_is_one_line(content: dict[str, Any], tmp_path: Path) -> None:
    data = {**content[DATA], "class_names": content[DATA]["class_names"][:7]}
    options = {**content["hyper_parameters"], "num_classes": 7}
    torch.save({**content, DATA: data, "hyper_parameters": options}, tmp_path / "some.ckpt")
    with pytest.raises(InputError, match="the network has 10 outputs, the checkpoint 7 class names"):
        predict(tmp_path / "some.ckpt")


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        ("config.yaml", "trainer:", "trainer: [1]\nx:", "config {run}/config.yaml: trainer must be a mapping, not a"),
        ("config.yaml", "model:", "\ud800", "config {run}/config.yaml is not valid YAML"),
        ("metrics.csv", "0.", "9" * 200_000, "{run}/metrics.csv: field larger than field limit"),
        ("metrics.csv", "0,", "zero,", "{run}/metrics.csv: epoch in row 1 must be an integer, not 'zero'"),
    ],
)
def test_comparing_a_damaged_run_is_one_line(
    trained_run: Path, run_command: RunCommand, name: str, old: str, new: str, line: str
) -> None:
    run = Path(shutil.copytree(trained_run, "lightning_logs/version_0"))
    text = (run / name).read_text(encoding="utf-8").replace(old, new, 1)
    (run / name).write_bytes(text.encode(errors="surrogatepass"))
    assert run_command.refused("compare", run).startswith(line.format(run=run))


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_run_with_damaged_test_predictions_is_untested(run: Run, content: bytes | None) -> None:
    path = run.folder / "test_predictions.npz"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-100] if content is None else content)
        assert not run.is_tested
    finally:
        path.write_bytes(whole)
    assert run.is_tested


def test_the_checksum_decides_whether_the_best_checkpoint_was_tested(run: Run, content: dict[str, Any]) -> None:
    best = run.checkpoint
    whole = best.read_bytes()
    try:
        os.utime(best, (2e9, 2e9))  # as in a copy, or after the clock was changed
        assert run.is_tested
        assert find_shown(run).split == "test"
        torch.save({**content, "global_step": 3}, best)
        for name in ("test.json", "test_predictions.npz"):
            os.utime(run.folder / name, (3e9, 3e9))
        assert not run.is_tested
        (line,) = find_shown(run).missing
        assert line == "Test results: training continued after the test; run `cifar-cnn test` again"
    finally:
        best.write_bytes(whole)


def test_values_of_an_epoch_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,epoch_seconds,val/accuracy,note\n0,9,1.5,nan,\n1,19,1.5,0.5,text\n2,29,1.5,-inf,\n3,3")
    assert read_metrics(path) == {"epoch_seconds": ([1, 2, 3], [1.5] * 3), "val/accuracy": ([2], [0.5])}
    assert len(metric_rows(path)) == 3  # the last row is incomplete


def test_a_wrong_field_is_named_with_its_position() -> None:
    assert mismatch({"a": [1, True]}, dict[str, list[int]]) == "a[1] must be an integer, not true"
    assert mismatch({"a": None}, dict[str, list[int] | None]) is None
    assert mismatch([1], dict[str, int]) == "its content must be a mapping, not a list"
    assert mismatch({1: 1}, dict[str, int]) == "a name in its content must be text, not 1"
    assert mismatch(math.nan, float, "loss") == "loss must be a number, not nan"
    assert mismatch(10**400, float | None, "loss") == "loss must be a number, not a larger integer"
    assert mismatch("\ud800", int | str, "name") == "name must be an integer or text, not '\\ud800'"
