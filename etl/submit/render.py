"""Job scripts for Slurm: a header from the site and the settings, then the script of deploy/slurm."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from etl.submit.attempts import digest_settings
from etl.submit.chain import ChainJob
from etl.submit.settings import SubmitSettings
from etl.submit.site import Site

__all__ = ["JOB_FUNCTIONS", "job_title", "render_script"]

JOB_FUNCTIONS = "job.sh"
"""File of the functions that all job scripts use; each chain has a copy."""

_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)


def job_title(job: ChainJob, chain: Path) -> str:
    """The job's name in Slurm, such as `extract.chain`; in Slurm's lists, spaces would look like columns."""
    return re.sub(r"[^\w.-]", "_", f"{job.name}.{chain.absolute().name}", flags=re.ASCII)


def render_script(job: ChainJob, site: Site, settings: SubmitSettings, deploy: Path) -> str:
    """The whole script of a job, for sbatch.

    Raises:
        OSError: deploy/slurm has no script for it.
    """
    body = (deploy / "slurm" / f"{job.script}.sh").read_text(encoding="utf-8")
    shebang, _, rest = body.partition("\n")
    header = [f"#SBATCH {option}" for option in _options(job, site, settings)]
    return "\n".join([shebang, *header, "", *_variables(job, site, settings), "", rest])


def _options(job: ChainJob, site: Site, settings: SubmitSettings) -> list[str]:
    nodes = site.nodes_of(job.shape)
    log = str(settings.chain.absolute() / f"{job.name}.log").replace("%", "%%")  # Slurm fills %j and its like
    given = {
        "--job-name": job_title(job, settings.chain),
        "--chdir": str(Path.cwd()),
        "--output": log,
        "--open-mode": "append",
        "--time": job.shape.time,
        "--nodes": str(job.shape.nodes),
        "--ntasks-per-node": str(job.shape.ranks_per_node),
        "--cpus-per-task": str(max(1, nodes.cores // job.shape.ranks_per_node)),
        "--signal": f"{'B:' if site.launcher == 'mpirun' else ''}USR1@{site.signal_s}",
        "--account": settings.account or site.account,
        "--partition": nodes.partition,
    }
    return [
        "--requeue",
        *(f"{name}={_quoted(value)}" for name, value in given.items() if value),
        *(_quoted_option(option) for option in (*nodes.options, *site.options)),
    ]


def _variables(job: ChainJob, site: Site, settings: SubmitSettings) -> list[str]:
    """Lines that set what the script uses; see deploy/slurm/job.sh."""
    chain = settings.chain.absolute()
    texts = {
        "JOB": job.name,
        "CHAIN": str(chain),
        "SETTINGS_DIGEST": digest_settings(),
        "MARK": job.mark,
        "LAUNCHER": site.launcher,
        "RANKS": str(job.shape.nodes * job.shape.ranks_per_node),
        "STRIPE": site.stripe,
        **job.paths,
    }
    python = site.python or (sys.executable,)
    return [
        *(f"{name}={shlex.quote(value)}" for name, value in texts.items()),
        *(f"{name}={_array(words)}" for name, words in (("PYTHON", python), ("OPTIONS", site.launcher_options))),
        *_exports(site.environment),
        "prepare_site() {",
        *(f"    module load {shlex.quote(name)} || return" for name in site.modules),
        *(f"    {line}" for line in site.setup),
        "    true",
        "}",
        f". {shlex.quote(str(chain / JOB_FUNCTIONS))}",
    ]


def _exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def _array(words: Sequence[str]) -> str:
    return f"({' '.join(map(shlex.quote, words))})"


def _quoted(value: str) -> str:
    """A value as sbatch reads it in a line of a script."""
    return value if _PLAIN.fullmatch(value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _quoted_option(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}={_quoted(value)}" if equals else option
