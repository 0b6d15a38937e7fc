"""Submit tasks as jobs of a cluster, through submitit."""

import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_cnn.analysis.compare.plan import Task
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write_json
from cifar_cnn.base.paths import relative
from cifar_cnn.base.process import PROGRAM, environment
from cifar_cnn.runs.cluster_job import ClusterJob

if TYPE_CHECKING:  # an optional dependency
    from collections.abc import Iterator

    import submitit

IDS = "jobs.json"
WEEK = 7 * 24 * 60  # minutes


class Cluster:
    """Submits each task as a job; a second call waits for the jobs of the first one.

    If a job is preempted or reaches its time limit, it saves a checkpoint, is requeued by submitit and resumes. Slurm
    jobs continue when this process ends. Jobs of the ``local`` executor are processes on this machine, for trying out a
    plan, and stop with this process.

    Args:
        executor: an executor of submitit, such as ``slurm`` or ``local``.
        parameters: arguments of submitit's ``AutoExecutor`` and its ``update_parameters``, such as ``timeout_min``,
            ``gpus_per_node`` or ``slurm_partition``.

    Raises:
        InputError: submitit is not installed, or no time limit is given for Slurm.
    """

    def __init__(self, executor: str, parameters: Mapping[str, Any]) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise InputError("executor needs submitit: pip install 'cifar-cnn[cluster]'", options=["executor"])
        limits = {"timeout_min", f"{executor}_timeout_min", f"{executor}_time"}
        if executor == "slurm" and not limits & parameters.keys():
            raise InputError(
                "give timeout_min, the time limit of a job in minutes; a job that reaches it is requeued and resumed",
                options=["executor.timeout_min"],
            )
        self.executor = executor
        self.parameters = {**({"timeout_min": WEEK} if executor == "local" else {}), **parameters}
        self.at_once = 1
        self.interval = 0.5 if executor == "local" else 10.0  # cluster file systems are slow
        self._jobs: dict[str, submitit.Job[int]] = {}

    def prepare(self, tasks: Sequence[Task], folder: Path) -> None:
        """Submit the tasks that have no job yet, as one array of jobs.

        Raises:
            InputError: a parameter is invalid, or the cluster rejects the jobs.
        """
        self.at_once = max(1, len(tasks))  # the cluster decides how many run
        self._jobs = self._find_again(tasks, folder)
        new = [task for task in tasks if task.name not in self._jobs]
        if self._jobs:
            _say(f"Waiting for {_ids(self._jobs.values())}, submitted earlier", folder)
        if new:
            submitted = self._submit(new, folder)
            self._jobs |= submitted
            _say(f"Submitted {_ids(submitted.values())}", folder)
        if self.executor != "local":
            write_json(folder / IDS, {self.executor: {name: job.job_id for name, job in self._jobs.items()}})

    def start(self, task: Task, place: int) -> "Submitted":
        """Return the submitted job of a task."""
        return Submitted(self._jobs[task.name], task, stops_with_plan=self.executor == "local")

    def _submit(self, tasks: Sequence[Task], folder: Path) -> "dict[str, submitit.Job[int]]":
        import submitit

        variables = {"PYTHONPATH": environment().get("PYTHONPATH", "")}
        with _plain_errors(), submitit.helpers.clean_env():
            types = {"slurm": submitit.SlurmExecutor, "local": submitit.LocalExecutor}
            created = inspect.signature(types[self.executor]).parameters if self.executor in types else ()
            own = {name for name in self.parameters if name.removeprefix(f"{self.executor}_") in created}
            executor = submitit.AutoExecutor(
                folder / "jobs", self.executor, **{name: self.parameters[name] for name in own}
            )
            others = {name: value for name, value in self.parameters.items() if name not in own}
            executor.update_parameters(**{"name": f"cifar-cnn-{folder.name}", **others})
            with submitit.helpers.environment_variables(**variables):
                jobs = executor.submit_array([ClusterJob(task.work, task.log, PROGRAM) for task in tasks])
        return {task.name: job for task, job in zip(tasks, jobs, strict=True)}

    def _find_again(self, tasks: Sequence[Task], folder: Path) -> "dict[str, submitit.Job[int]]":
        """The jobs of an earlier call that have not ended."""
        import submitit

        try:
            known = json.loads((folder / IDS).read_text(encoding="utf-8")).get(self.executor, {})
        except (OSError, ValueError):
            return {}
        types = {"slurm": submitit.SlurmJob}
        if self.executor not in types:
            return {}
        names = [task.name for task in tasks if task.name in known]
        jobs: dict[str, submitit.Job[int]] = {
            name: types[self.executor](folder / "jobs", known[name]) for name in names
        }
        return {name: job for name, job in jobs.items() if not job.done()}


class Submitted:
    """A submitted job with the interface of a process.

    Args:
        job: the job.
        task: its task.
        stops_with_plan: whether it is stopped when this process is interrupted.
    """

    def __init__(self, job: "submitit.Job[int]", task: Task, stops_with_plan: bool) -> None:
        self._job, self._task, self._stops = job, task, stops_with_plan

    def poll(self) -> int | None:
        """Return 0 once the job has ended; the run's folder shows whether it succeeded."""
        if not self._job.done():
            return None
        if not self._job.paths.result_pickle.exists():  # killed, so its log has no error
            self._task.log.parent.mkdir(parents=True, exist_ok=True)
            with self._task.log.open("a", encoding="utf-8") as log:
                log.write(f"\ncifar-cnn: the job ended as {self._job.state}: see {relative(self._job.paths.stderr)}\n")
        return 0

    def terminate(self) -> None:
        """Stop a local job; jobs on a cluster continue."""
        if self._stops:
            self._job.cancel(check=False)

    def wait(self) -> None:
        """Wait until a local job has ended."""
        if self._stops:
            self._job.wait()


@contextmanager
def _plain_errors() -> "Iterator[None]":
    """Report errors of submitit and of the cluster in one line."""
    try:
        yield
    except Exception as error:
        line = " ".join(str(error).split())
        raise InputError(f"submitit: {line[:400] or type(error).__name__}") from error


def _ids(jobs: Any) -> str:
    ids = [job.job_id for job in jobs]
    return f"job{'s' if len(ids) > 1 else ''} {ids[0]}{f' to {ids[-1]}' if len(ids) > 1 else ''}"


def _say(what: str, folder: Path) -> None:
    print(f"{what}; their output is in {relative(folder / 'jobs')}", file=sys.stderr)
