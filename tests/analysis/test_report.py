import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import cifar_cnn.cli
from cifar_cnn.analysis import report
from cifar_cnn.analysis.numbers import count, duration
from cifar_cnn.analysis.report import page as report_page
from cifar_cnn.analysis.report.calibration import calibration
from cifar_cnn.analysis.report.classes import confusion
from cifar_cnn.analysis.report.curves import curves, read_metrics
from cifar_cnn.analysis.report.mistakes import mistakes
from cifar_cnn.analysis.report.page import content
from cifar_cnn.analysis.run import load_run
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.predictions import Predictions, load_predictions
from tests.conftest import CONFIGS, PICTURES, SMALL, TESTED

Capture = pytest.CaptureFixture[str]
QUICK = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, *TESTED, "--trainer.max_epochs", "2"]
RUN = Path("lightning_logs/version_0")
WIDTHS = (360, 768, 1280)


@pytest.fixture(scope="module")
def tested_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, tested and reported at the end of the fit."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        more = ["--report", "true", *PICTURES, "--filters.every_n_epochs", "1", "--trainer.log_every_n_steps", "2"]
        assert cifar_cnn.cli.run([*QUICK, *more]) == 0
    return folder / RUN


@pytest.fixture
def run(tested_run: Path) -> Path:
    """A copy of the tested run in the current folder; tests may change it."""
    shutil.copytree(tested_run, RUN)
    return RUN


class Tags(HTMLParser):
    """All elements and their attributes; raises for a closing tag without an opening one."""

    VOID = ("meta", "link", "img", "input", "br", "col", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_all_sections_and_loads_no_other_file(tested_run: Path) -> None:
    path = tested_run / "report.html"
    page = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 5e6
    assert "Not in this report" not in page
    tags = Tags(page).found
    sections = [attributes["id"] for tag, attributes in tags if tag == "section"]
    in_order = ["curves", "classes", "calibration", "mistakes", "filters", "maps", "cam", "layers", "theory", "repeat"]
    assert sections == in_order
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert links == [f"#{name}" for name in sections]
    sources = [attributes["src"] for tag, attributes in tags if "src" in attributes]
    assert len(sources) > 100
    assert all(source and source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\((?!#)|@import|<script src", page)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page)) - {"http://www.w3.org/2000/svg"}
    assert addresses <= {"http://www.w3.org/1999/xlink"}
    assert {"svg"} <= {tag for tag, _ in tags}


def test_the_page_shows_the_figures_of_the_run(tested_run: Path) -> None:
    page = (tested_run / "report.html").read_text(encoding="utf-8")
    test = json.loads((tested_run / "test.json").read_text())
    fit = json.loads((tested_run / "fit.json").read_text())
    assert f'Test accuracy</dt><dd class="value">{test["accuracy"]:.2%}' in page
    assert "50 test images, never used for model selection" in page
    assert "315.8" not in page
    assert "315,818" in page
    assert fit["seed"] == 0
    assert fit["epochs"] == 2
    assert fit["images_per_second"] > 0
    for value in (fit["hardware"], fit["precision"], *fit["versions"].values()):
        assert value in page
    assert fit["command"].split()[0] in page
    assert "max_epochs: 2" in page
    for row, name in zip(test["confusion_matrix"], test["class_names"], strict=True):
        best = test["class_names"][int(np.argmax(row))]
        assert f'title="{name} predicted as {best}: {max(row)} times"' in page


def test_a_report_is_fast(run: Path) -> None:
    start = time.process_time()
    report.write_report(load_run(str(run)))
    assert time.process_time() - start < 5


def test_untested_runs_are_reported_on_validation_images(run: Path, capsys: Capture) -> None:
    (run / "test.json").unlink()
    assert cifar_cnn.cli.run(["report"]) == 0
    assert capsys.readouterr().out == f"Report  {run}/report.html\n"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Validation set, which also selected the checkpoint; no test results." in page
    assert "Test accuracy" not in page
    best = max(read_metrics(run / "metrics.csv")["val/accuracy"][1])
    assert f'Validation accuracy</dt><dd class="value">{best:.2%}' in page
    assert "40 validation images" in page
    kept = load_predictions(run / "val_predictions.npz", 10)
    assert kept is not None
    assert (kept.classes == kept.labels).float().mean().item() == pytest.approx(best, abs=0.03)


def test_a_test_of_other_weights_is_not_shown(run: Path) -> None:
    kept = load_predictions(run / "test_predictions.npz", 10)
    assert kept is not None
    Predictions(-kept.logits, kept.labels).save(run / "test_predictions.npz")
    found = content(load_run(str(run)))
    assert found["split"] == "validation"
    assert found["tiles"][0]["name"] == "Validation accuracy"
    assert any("training continued after the test" in line for line in found["missing"])
    (run / "test_predictions.npz").unlink()
    assert (
        "Test results: no predictions were saved; run `cifar-cnn test` again" in content(load_run(str(run)))["missing"]
    )


def test_a_test_with_other_augmentation_is_marked(run: Path) -> None:
    arguments = ["test", "--ckpt_path", str(run), "--model.tta", "flip"]
    assert cifar_cnn.cli.run(arguments) == 0
    test = json.loads((run / "test.json").read_text())
    assert test["tta"] == "flip"
    tile = content(load_run(str(run)))["tiles"][0]
    assert (tile["name"], tile["value"]) == ("Test accuracy", f"{test['accuracy']:.2%}")
    assert tile["note"].endswith("; test-time augmentation: flip")


def test_the_intact_parts_of_a_damaged_run_are_reported(run: Path) -> None:
    for name in ("metrics.csv", "fit.json", "test.json"):
        (run / name).write_text("{")
    (run / "test_predictions.npz").write_bytes(b"PK")
    shutil.rmtree(run / "filters")
    page = report.write_report(load_run(str(run))).read_text(encoding="utf-8")
    assert 'id="curves"' not in page
    assert 'id="filters"' not in page
    assert 'id="layers"' in page
    assert "not recorded" in page


def test_a_run_without_its_images_is_reported(image_folder: Path) -> None:
    options = ["--data.source", "ImageFolder", "--data.source.root", str(image_folder), "--data.val_size", "10"]
    more = ["--model.backbone.num_classes", "2", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    backbone = ["--model.backbone", "SimpleCNN", "--data.batch_size", "8", "--report", "false"]
    assert cifar_cnn.cli.run(["fit", *options, *backbone, *more]) == 0
    assert cifar_cnn.cli.run(["test", "--report", "false", "--trainer.enable_progress_bar", "false"]) == 0
    shutil.rmtree(image_folder)
    page = report.write_report(load_run()).read_text(encoding="utf-8")
    assert "Pictures of test images: " in page
    assert "röt predicted as" in page
    assert 'id="mistakes"' not in page
    assert 'id="calibration"' in page


def test_a_failed_report_does_not_end_a_fit(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(report_page, "write_report", fail)
    assert cifar_cnn.cli.run([*QUICK, "--trainer.max_epochs", "1", "--report", "true"]) == 0
    captured = capsys.readouterr()
    assert "Report  " not in captured.out
    assert "No report was written: out of luck (RuntimeError)" in captured.err


def test_mistakes_on_the_command_line_are_one_line(run: Path, capsys: Capture) -> None:
    assert cifar_cnn.cli.run(["report", "nowhere"]) == 2
    assert "no checkpoint nowhere" in capsys.readouterr().err
    shutil.copy(run / "checkpoints/best.ckpt", "copy.ckpt")
    assert cifar_cnn.cli.run(["report", "copy.ckpt"]) == 2
    assert "copy.ckpt is not in a run folder" in capsys.readouterr().err
    assert cifar_cnn.cli.run(["report", str(run / "checkpoints/last.ckpt")]) == 2
    assert f"best checkpoint, not last.ckpt: give the folder {run}\n" in capsys.readouterr().err
    assert cifar_cnn.cli.run(["reprot"]) == 2
    assert "report" in capsys.readouterr().err


def test_classes_and_calibration_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.9, 0.1]])
    predictions = Predictions(probabilities.log(), torch.tensor([0, 0, 1, 1]))
    found = confusion(predictions, ("a", "b"))
    assert found["matrix"] == [[2, 0], [1, 1]]
    first, second = found["rows"]
    assert (first["recall"], first["precision"]) == (1, pytest.approx(2 / 3))
    assert second["f1"] == pytest.approx(2 / 3)
    assert (second["mistaken"], second["times"]) == ("a", 1)
    assert found["pairs"] == [("b", "a", 1, 0.5)]
    # 15 bins: 0.7 and 0.8 are alone in their bins and correct; of the two 0.9, one is correct.
    assert calibration(predictions)["ece"] == pytest.approx((0.3 + 0.2 + 2 * 0.4) / 4, abs=1e-6)
    images = ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), predictions.labels, ("a", "b"))
    (only,) = mistakes(predictions, images, ("a", "b"))
    assert (only["true"], only["predicted"], only["confidence"]) == ("b", "a", pytest.approx(0.9))


def test_a_class_without_images_has_no_figures() -> None:
    logits = torch.tensor([[2.0, 0, 1], [0, 2, 1], [2, 0, 1]])
    found = confusion(Predictions(logits, torch.tensor([0, 0, 2])), ("a", "b", "c"))
    assert [(row["images"], row["recall"], row["precision"], row["f1"]) for row in found["rows"]] == [
        (2, 0.5, 0.5, 0.5),
        (0, None, None, None),
        (1, 0, None, 0),  # never predicted
    ]


def test_the_learning_rate_is_drawn_from_the_first_step_even_in_a_short_run(run: Path) -> None:
    (run / "metrics.csv").write_text("epoch,step,lr,epoch_seconds\n0,1,0.2,\n0,3,0.4,1.5\n")
    metrics = read_metrics(run / "metrics.csv")
    assert metrics["lr"] == ([0.25, 1.0], [0.2, 0.4])
    first = json.loads((run / "fit.json").read_text())["learning_rate"]
    assert first == pytest.approx(0.01)  # the start of quickstart.yaml's warm-up
    assert curves({"lr": ([1.0], [0.4])}) is None
    (chart,) = curves({"lr": ([1.0], [0.4])}, first) or []
    assert "Learning rate over the epochs" in chart


def test_the_head_says_that_a_run_is_unfinished(run: Path) -> None:
    record = json.loads((run / "fit.json").read_text())
    (run / "fit.json").write_text(json.dumps({**record, "finished": None}))
    header, _, rest = report.write_report(load_run(str(run))).read_text(encoding="utf-8").partition("</header>")
    assert "Training has not finished: it is still running or was interrupted." in header
    assert "unfinished: started " in rest


def test_numbers_are_formatted_briefly() -> None:
    assert [count(n) for n in (7, 999, 315_818, 4_188_800, 999_600, 5.55e8, 1.2e10)] == [
        *("7", "999", "316 k", "4.19 M", "1,000 k", "555 M", "12 G")
    ]
    assert [duration(s) for s in (37.6, 307, 7380)] == ["38 s", "5 min 7 s", "2 h 3 min"]


# Shows the page in frames of several widths, and writes its findings into the document for --dump-dom.
HARNESS = """<!doctype html><meta charset="utf-8"><title>waiting</title><body><script>
const page = %s, found = [];
const load = (width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.srcdoc = page;
  frame.onload = () => setTimeout(() => {
    const inner = frame.contentDocument, root = inner.documentElement;
    const images = [...inner.images], scrub = inner.querySelector(".scrub"), slider = scrub.querySelector("input");
    const frames = [...scrub.querySelectorAll("[data-frame]")];
    const shown = () => frames.filter((e) => !e.hidden).map((e) => e.dataset.label);
    const before = shown();
    slider.value = 0; slider.dispatchEvent(new Event("input"));
    found.push({
      width: frame.contentWindow.innerWidth, overflow: root.scrollWidth - frame.contentWindow.innerWidth,
      images: images.length, broken: images.filter((i) => !i.complete || !i.naturalWidth).length,
      before, after: shown(), label: scrub.querySelector("output").textContent,
      background: frame.contentWindow.getComputedStyle(inner.body).backgroundColor,
      wide: [...inner.querySelectorAll("svg.chart")].filter((e) => e.getBoundingClientRect().width < 200).length,
    });
    done();
  }, 50);
  document.body.append(frame);
});
(async () => {
  for (const width of %s) await load(width);
  document.title = "done"; document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
})();
</script>"""


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """The command of a headless Chromium that uses no network."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    options += ["--disable-component-update", "--disable-sync", "--no-first-run"]
    return [program, *options, f"--user-data-dir={tmp_path / 'user'}"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(tested_run: Path, tmp_path: Path, browser: list[str], dark: bool) -> None:
    page = (tested_run / "report.html").read_text(encoding="utf-8")
    harness = tmp_path / "harness.html"
    escaped = json.dumps(page).replace("</", "<\\/")
    harness.write_text(HARNESS % (escaped, list(WIDTHS)), encoding="utf-8")
    options = ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    result = subprocess.run([*browser, *options, harness.as_uri()], capture_output=True, text=True, timeout=240)
    assert "CONSOLE" not in result.stderr, result.stderr
    match = re.search(r"<pre>(.*?)</pre>", result.stdout, re.DOTALL)
    assert match, result.stdout[-500:] + result.stderr[-2000:]
    views = json.loads(match[1])
    assert [view["width"] for view in views] == list(WIDTHS)
    for view in views:
        assert view["images"] > 100
        assert (view["broken"], view["overflow"], view["wide"]) == (0, 0, 0), view
        assert (view["before"], view["after"]) == (["after epoch 2"], ["before training"])
        assert view["label"] == "before training"
        assert view["background"] == ("rgb(17, 20, 24)" if dark else "rgb(245, 246, 248)")


def test_the_page_in_print(tested_run: Path, tmp_path: Path, browser: list[str]) -> None:
    pdf = tmp_path / "report.pdf"
    options = ["--no-pdf-header-footer", f"--print-to-pdf={pdf}", (tested_run / "report.html").resolve().as_uri()]
    # A dark screen must not make the printed page dark.
    subprocess.run([*browser, "--blink-settings=preferredColorScheme=0", *options], capture_output=True, timeout=240)
    content = pdf.read_bytes()
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 8


def test_the_record_says_that_a_run_is_unfinished(run: Path) -> None:
    fit = json.loads((run / "fit.json").read_text())
    assert fit["finished"] >= fit["started"]
    assert fit["images"]["train"] == 260
    begun = {**fit, "finished": None, "git_commit": None, "command": "cifar-cnn fit --ckpt_path last", "earlier": [fit]}
    (run / "fit.json").write_text(json.dumps(begun))
    found = content(load_run(str(run)))
    started = fit["started"].replace("T", " ")
    assert found["facts"]["Trained"] == f"unfinished: started {started}, and still running or interrupted"
    assert found["facts"]["Commit"] == "not recorded"
    assert found["command"] == f"{fit['command']}\ncifar-cnn fit --ckpt_path last"
