import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import cifar_cnn
from cifar_cnn.analysis.compare.carrying_out import carry_out
from cifar_cnn.analysis.compare.cluster import Cluster
from cifar_cnn.analysis.compare.plan import Task
from cifar_cnn.base.errors import InputError
from cifar_cnn.cli.compare_arguments import split_executor
from cifar_cnn.runs.work import EvaluationWork
from tests.conftest import RunCommand

submitit = pytest.importorskip("submitit")
PARAMETERS: dict[str, Any] = {"timeout_min": 60, "slurm_partition": "gpu", "slurm_max_num_timeout": 7}
PLAN = Path("plan")

# The Slurm commands that submitit uses. Each job is a process; a requeued job starts again.
SLURM = """#!{python}
import os, pathlib, re, subprocess, sys
name, args = os.path.basename(sys.argv[0]), sys.argv[1:]
jobs = pathlib.Path({folder!r})
def begin(job):
    array, _, index = job.partition("_")
    variables = dict(SLURM_JOB_ID=job, **(dict(SLURM_ARRAY_JOB_ID=array, SLURM_ARRAY_TASK_ID=index) if index else {{}}))
    variables = {{**os.environ, **variables}}
    output = open(jobs / f"output_{{job}}", "a")
    process = subprocess.Popen(
        ["bash", jobs / "script"], env=variables, stdout=output, stderr=output, start_new_session=True
    )
    (jobs / job).write_text(str(process.pid))
if name == "sbatch":
    script = pathlib.Path(args[0]).read_text()
    with open(jobs / "script", "x") as file:  # fails for a second submission
        file.write(script)
    array = re.search("array=(.*)-(.*)%", script)
    for job in [f"7_{{i}}" for i in range(int(array[1]), int(array[2]) + 1)] if array else ["7"]:
        begin(job)
    print("Submitted batch job 7")
elif name == "srun":
    while args[0].startswith("-"):
        args = args[1:] if args[0] == "--unbuffered" else args[2:]
    (jobs / ("python_" + os.environ["SLURM_JOB_ID"])).write_text(str(os.getpid()))
    os.execvp(args[0], args)
elif name == "sacct":
    print("JobID|State|NodeList")
    for file in jobs.glob("7*"):
        state = pathlib.Path("/proc", file.read_text(), "stat")
        running = state.exists() and state.read_text().split()[2] != "Z"
        print(file.name, "RUNNING" if running else "FAILED", "", sep="|")
elif name == "scontrol":
    (jobs / "requeued").write_text(args[1])
    begin(args[1])
"""

# Saves on SIGTERM. When it is started again, it ends at once.
SAVES = """
import pathlib, signal, sys, time
saved = pathlib.Path("saved")
def save(*_):
    time.sleep(0.2)
    saved.touch()
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
print("resumed" if saved.exists() else "begun", flush=True)
time.sleep(0 if saved.exists() else 60)
"""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll the jobs often."""
    monkeypatch.setattr(Cluster, "interval", property(lambda engine: 0.05, lambda engine, value: None), raising=False)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fake Slurm on this machine; its folder holds a file with the process ID of each job."""
    folder, programs = tmp_path / "slurm", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    for name in ("sbatch", "srun", "sacct", "scontrol"):
        (programs / name).write_text(SLURM.format(python=sys.executable, folder=str(folder)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    submitit.SlurmJob.watcher.clear()
    yield folder
    for file in folder.glob("7*"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("program.py").write_text(SAVES)
    monkeypatch.setattr("cifar_cnn.analysis.compare.cluster.PROGRAM", "program.py")


def task(name: str, *words: str) -> Task:
    return Task(name, 1, Path(f"{name}.txt"), EvaluationWork(Path("run"), list(words)), False)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_tasks_are_an_array_of_jobs(slurm: Path) -> None:
    tasks = [task("a", "--version"), task("b", "nonsense")]
    carry_out(tasks, Cluster("slurm", PARAMETERS), PLAN)
    assert Path("a.txt").read_text() == f"cifar-cnn {cifar_cnn.__version__}\n"
    assert tasks[1].failure.startswith("unknown command 'nonsense'")
    script = (slurm / "script").read_text()
    for line in ("partition=gpu", "time=60", "array=0-1%2", "job-name=cifar-cnn-plan"):
        assert f"#SBATCH --{line}\n" in script


@pytest.mark.usefixtures("saves")
def test_a_job_is_found_again_and_resumes_after_a_preemption(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = task("a")
    Cluster("slurm", PARAMETERS).prepare([one], PLAN)
    assert "Submitted job 7; their output is in plan/jobs" in capsys.readouterr().err
    wait_until(lambda: one.log.is_file() and one.log.read_text() == "begun\n")
    again = Cluster("slurm", PARAMETERS)
    again.prepare([one], PLAN)
    assert "Waiting for job 7, submitted earlier" in capsys.readouterr().err
    job = again.start(one, 0)
    assert job.poll() is None
    job.terminate()  # does nothing: the jobs of a cluster keep running
    job.wait()
    os.kill(int((slurm / "python_7").read_text()), signal.SIGUSR2)  # as Slurm does before a preemption
    wait_until(lambda: job.poll() is not None)
    assert (slurm / "requeued").read_text() == "7"
    assert one.log.read_text() == "resumed\n"


@pytest.mark.usefixtures("slurm")
def test_a_job_that_has_ended_is_submitted_again() -> None:
    one = task("a", "--version")
    (PLAN / "jobs").mkdir(parents=True)
    (PLAN / "jobs.json").write_text('{"slurm": {"a": "3", "gone": "4"}}')
    (PLAN / "jobs" / "3_0_result.pkl").touch()
    carry_out([one], Cluster("slurm", PARAMETERS), PLAN)
    assert one.log.read_text() == f"cifar-cnn {cifar_cnn.__version__}\n"


@pytest.mark.usefixtures("saves")
def test_jobs_of_this_machine_are_stopped_with_the_plan() -> None:
    one = task("a")
    engine = Cluster("local", {})
    engine.prepare([one], PLAN)
    wait_until(lambda: one.log.is_file() and one.log.read_text() == "begun\n")
    job = engine.start(one, 0)
    assert job.poll() is None
    job.terminate()
    job.wait()
    wait_until(Path("saved").is_file)
    carry_out([one], Cluster("local", {}), PLAN)
    assert one.log.read_text() == "resumed\n"


def test_parameters_are_json_or_text() -> None:
    words = ["--executor.timeout_min", "60", "--executor.slurm_time=2:00:00", "--trainer.max_epochs", "3"]
    words += ["--executor.slurm_setup", '["module load cuda"]', "--executor.slurm_exclusive=true", "--data.seed=4"]
    assert split_executor(words) == (
        ["--trainer.max_epochs", "3", "--data.seed=4"],
        {
            "timeout_min": 60,
            "slurm_time": "2:00:00",
            "slurm_setup": ["module load cuda"],
            "slurm_exclusive": True,
        },
    )


def test_mistakes_are_one_line(trained_run: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    run = str(trained_run)
    for words, message in (
        (["--jobs", "2", "--executor", "slurm"], "give either --jobs or --executor; --executor.slurm_array_paralleli"),
        (["--executor.timeout_min", "3"], "--executor.timeout_min needs --executor, such as --executor slurm"),
        (["--executor", "slurm"], r"give timeout_min, .* \(--executor.timeout_min\)"),
    ):
        assert re.search(message, run_command.refused("compare", run, *words))
    for executor, parameters, message in (
        ("local", {"slurm_partitio": "gpu"}, "submitit: Unknown argument 'partitio' for executor 'slurm'"),
        ("loca", {}, "submitit: AutoExecutor doesn't know any executor named loca"),
        ("slurm", {"timeout_min": 1}, 'submitit: Could not detect "srun"'),
    ):
        with pytest.raises(InputError, match=message):
            Cluster(executor, parameters).prepare([task("a")], PLAN)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"executor needs submitit: pip install 'cifar-cnn\[cluster\]'"):
        Cluster("local", {})
