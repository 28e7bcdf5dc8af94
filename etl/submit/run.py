"""Submit a chain: render its scripts, submit what is not done, and let it begin once all of it is in the queue."""

import logging
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from etl.exit_status import ExitStatus, JobError
from etl.extract.settings import ExtractSettings
from etl.files import replace_atomically
from etl.settings import SETTINGS_FILE, load_settings
from etl.submit.attempts import attempts_path, digest_settings, read_attempts
from etl.submit.chain import ChainJob, pipeline_tables, plan_chain, run_folder
from etl.submit.kubernetes import is_kubernetes_site, render_manifests
from etl.submit.record import ChainRecord, lock_chain, read_chain, write_chain
from etl.submit.render import JOB_FUNCTIONS, render_script
from etl.submit.settings import SubmitSettings
from etl.submit.site import default_deploy, load_site, site_path
from etl.submit.slurm import cancel_jobs, queued_jobs, release_job, submit_script

__all__ = ["is_done", "submit"]

log = logging.getLogger(__name__)


def submit(settings: SubmitSettings) -> int:
    """Submit the chain, or print its scripts with `--dry-run`; returns the exit status.

    Raises:
        ValueError: settings, site file or pipeline.toml cannot be used.
        JobError: a chain of this folder runs, or Slurm refuses a job; then no job of this chain is left.
    """
    deploy = settings.deploy or default_deploy()
    if not (deploy / "slurm" / JOB_FUNCTIONS).is_file():
        raise ValueError(f"--deploy must be the folder deploy/ of the checkout, with slurm/ and sites/, got {deploy}")
    if is_kubernetes_site(site_path(settings.site, deploy)):
        return _print_manifests(settings, deploy)
    site = load_site(settings.site, deploy)
    jobs = plan_chain(settings, site)
    scripts = {job.name: render_script(job, site, settings, deploy) for job in jobs}
    if settings.dry_run:
        for name, script in scripts.items():
            print(f"---- {settings.chain / name}.sh\n{script}")
        return ExitStatus.DONE
    settings.chain.mkdir(parents=True, exist_ok=True)
    with lock_chain(settings.chain):
        earlier = _require_ended(settings.chain)
        todo = [job for job in jobs if settings.first or not is_done(settings.chain, job)]
        for job in jobs:
            if job not in todo:
                log.info("%s is done and is not submitted again; --first %s does so", job.name, job.name)
        if not todo:
            log.info("all jobs of the chain in %s are done", settings.chain)
            return ExitStatus.DONE
        _write_scripts(settings.chain, deploy, scripts)
        _submit_jobs(settings.chain, todo, earlier)
    print(f"{len(todo)} jobs are submitted; their state: python -m etl.submit --status --chain {settings.chain}")
    return ExitStatus.DONE


def _print_manifests(settings: SubmitSettings, deploy: Path) -> int:
    path = site_path(settings.site, deploy)
    if not settings.dry_run:
        raise ValueError(
            f"--dry-run must be given for {path}, whose kind is kubernetes; kubectl apply submits the output"
        )
    extract = load_settings(ExtractSettings, "etl.extract", [])
    text = SETTINGS_FILE.read_text(encoding="utf-8") if SETTINGS_FILE.is_file() else ""
    paths = (str(extract.catalogue), str(extract.out), run_folder(pipeline_tables()))
    print(render_manifests(path, paths, text), end="")
    return ExitStatus.DONE


def is_done(chain: Path, job: ChainJob) -> bool:
    """Whether the last attempt of a job ended with status 0, with the settings of now, and its result is there."""
    if job.result and not Path(job.result).exists():
        return False
    attempts = read_attempts(attempts_path(chain, job.name))
    last = attempts[-1] if attempts else {}
    return (last.get("event"), last.get("status"), last.get("settings")) == ("end", 0, digest_settings())


def _require_ended(chain: Path) -> dict[str, str]:
    """Numbers of jobs that were submitted before, once none of them waits or runs.

    What an etl.submit that was killed has left in the queue, held, is cancelled.

    Raises:
        JobError: some wait or run, or Slurm does not answer.
    """
    record = read_chain(chain)
    if record is None:
        return {}
    left = queued_jobs(list(record.numbers.values()))
    if left and not record.complete:
        log.info("cancelling what an interrupted etl.submit has left: %s", " ".join(left))
        cancel_jobs(list(left))
    elif left:
        names = {name: number for name, number in record.numbers.items() if number in left}
        states = [f"{name} ({number}) {left[number].state}" for name, number in names.items()]
        raise JobError(
            f"the chain in {chain} has not ended: {', '.join(states)}. Wait for it, end it by scancel "
            f"{' '.join(names.values())}, or choose another --chain",
            ExitStatus.BAD_INPUT,
        )
    return dict(record.numbers)


def _write_scripts(chain: Path, deploy: Path, scripts: dict[str, str]) -> None:
    shutil.copyfile(deploy / "slurm" / JOB_FUNCTIONS, chain / JOB_FUNCTIONS)
    for name, script in scripts.items():
        with replace_atomically(chain / f"{name}.sh") as part:
            part.write_text(script, encoding="utf-8")


def _submit_jobs(chain: Path, jobs: Sequence[ChainJob], earlier: dict[str, str]) -> None:
    """Submit jobs, the first ones held until all are in the queue; if one is refused, cancel those before it."""
    numbers: dict[str, str] = {}
    digest = digest_settings()
    with _interrupts_noted() as interrupts:
        try:
            for job in jobs:
                if interrupts:
                    raise JobError("interrupted")
                after = [numbers[name] for name in job.needs if name in numbers]
                numbers[job.name] = submit_script(chain / f"{job.name}.sh", after, hold=not after)
                write_chain(chain, ChainRecord(earlier | numbers, digest, complete=False))
            for job in jobs:
                if not any(name in numbers for name in job.needs):
                    release_job(numbers[job.name])
            write_chain(chain, ChainRecord(earlier | numbers, digest, complete=True))
        except (JobError, OSError) as error:
            with suppress(JobError):
                cancel_jobs(list(numbers.values()))
            left = f"; cancelled: {' '.join(numbers.values())}" if numbers else ""
            raise JobError(f"the chain is not submitted: {error}{left}") from None
    for name, number in numbers.items():
        log.info("%s: job %s", name, number)


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Put signals that come in the `with` block into the list: between jobs is the place to stop."""
    noted: list[int] = []

    def note(kind: int, frame: FrameType | None) -> None:
        noted.append(kind)

    before = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield noted
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
