"""A run as a job of Slurm: the script that sbatch takes, made from a topology and nothing else.

One task on each node looks after one torchrun. Before its time is over, the job's own shell is told (``--signal=B:``, which leaves
the ranks alone: SIGUSR1 would kill a torchrun at once), asks the run to stop through its folder, and queues the job again
once the run is saved. Directives come first: sbatch stops reading them at the first command.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

from forge.launch.address import endpoint_of
from forge.launch.agent import AGENT
from forge.launch.process import SAFE
from forge.launch.torchrun import TRAINS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.launch.topology import Topology

__all__ = ["job_log", "sbatch_script"]

_PORTS: Final = "$((20000 + SLURM_JOB_ID % 10000))"
_TORCHRUN_PORT: Final = 29400
_SHOWN: Final = "SLURM_|CUDA_|NCCL_|GLOO_|TORCH_|OMP_|UCX_|FI_|MASTER_"  # not all of them: others hold secrets
# What is installed, without the seconds that torch takes to say so itself.
_VERSIONS: Final = (
    'import sys; from importlib.metadata import distributions; names = ("torch", "transformers", "nvidia-cuda-runtime", "nvidia-nccl"); '
    'print("python", sys.version.split()[0], *sorted(f"{one.name} {one.version}" for one in distributions() if one.name.startswith(names)))'
)


def job_log(topology: Topology, run_folder: str, job: str = "%j") -> str:
    """The file that takes what a job prints; ``%j`` is what Slurm writes the number of the job for."""
    folder = topology.log_folder or os.path.join(run_folder, "logs")
    literal = folder.replace("%", "%%") if job == "%j" else folder
    return os.path.join(literal, f"slurm-{job}.out")


def sbatch_script(topology: Topology, run_folder: str) -> str:
    """The script for a run whose folder, an absolute path, is there already and is seen by every node."""
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH --{name}{_value(value)}" for name, value in _directives(topology, run_folder)),
            "set -uo pipefail",
            "",
            *_surroundings(topology, run_folder),
            "",
            *_told(topology),
            "",
            *_said(),
            "",
            *_started(topology),
            "",
            *_ended(topology),
            "",
        ]
    )


def _directives(topology: Topology, run_folder: str) -> Iterator[tuple[str, str | None]]:
    """What the job asks of Slurm; what is None is not asked for."""
    asked: dict[str, object] = {
        "job-name": topology.job_name,
        "nodes": topology.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": topology.gpus_per_node or None,
        "cpus-per-task": topology.cpus_per_node,
        "mem": topology.memory_per_node,
        "partition": topology.partition,
        "account": topology.account,
        "qos": topology.qos,
        "constraint": topology.constraint,
        "time": topology.time,
        "array": topology.array,
        "output": job_log(topology, run_folder),
        "signal": f"B:USR1@{topology.signal_seconds}",
        "mail-user": topology.mail,
        "mail-type": "BEGIN,END,FAIL,REQUEUE,TIME_LIMIT_80" if topology.mail else None,
    }
    yield from (
        (name, str(value)) for name, value in asked.items() if value is not None and name not in topology.sbatch
    )
    yield "open-mode", "append"  # a job that is queued again goes on with its log
    if topology.nodes > 1:
        yield "wait-all-nodes", "1"
    if topology.exclusive:
        yield "exclusive", None
    yield ("requeue" if topology.requeue else "no-requeue"), None
    yield from ((name, str(value)) for name, value in topology.sbatch.items())


def _value(value: str | None) -> str:
    return "" if value is None else f"={shlex.quote(value)}" if value else ""


def _surroundings(topology: Topology, run_folder: str) -> Iterator[str]:
    yield f"run={shlex.quote(run_folder)}"
    yield f"python={shlex.quote(topology.python or sys.executable)}"
    folder = shlex.quote(topology.folder) if topology.folder else '"$SLURM_SUBMIT_DIR"'
    yield f"cd {folder} || exit 2"
    yield from (f"export {name}={shlex.quote(value)}" for name, value in {**SAFE, **topology.env}.items())
    if topology.tmp_dir:
        yield f"export TMPDIR={shlex.quote(topology.tmp_dir)}"
    yield 'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"'
    yield from topology.setup
    if topology.rdzv_endpoint:
        endpoint = endpoint_of(topology.rdzv_endpoint, _TORCHRUN_PORT)
        yield f"export MASTER_ADDR={shlex.quote(endpoint.host)}"
        port = str(endpoint.port) if _has_port(topology.rdzv_endpoint) else _PORTS
    else:
        yield 'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
        yield "export MASTER_ADDR"
        port = _PORTS
    yield f"export MASTER_PORT={port}"


def _has_port(endpoint: str) -> bool:
    return endpoint.rpartition(":")[2].isdecimal() and endpoint.count(":") == 1


def _told(topology: Topology) -> Iterator[str]:
    if not _goes_on(topology):
        yield "# The time is nearly over: the run saves and ends."
        yield """trap 'touch "$run/STOP"' USR1"""
        return
    yield "# What asked the last job to stop does not ask this one."
    yield 'if [ -e "$run/REQUEUE" ]; then rm -f "$run/STOP" "$run/REQUEUE"; fi'
    yield "# The time is nearly over: the run saves and ends, and goes on in the next job; not one that is to stop anyway."
    if topology.requeue:
        yield "told=0"
    told = "told=1; " if topology.requeue else ""
    yield f"""trap '[ -e "$run/STOP" ] || {{ {told}touch "$run/REQUEUE" "$run/STOP"; }}' USR1"""


def _goes_on(topology: Topology) -> bool:
    """Whether another start of the job, or the next one, takes the run further."""
    return topology.requeue or topology.array is not None


def _said() -> Iterator[str]:
    yield 'echo "job $SLURM_JOB_ID, start ${SLURM_RESTART_COUNT:-0}, on $SLURM_JOB_NODELIST, $(date)"'
    yield f"printenv | grep -E '^({_SHOWN})' | sort"
    yield f'"$python" -c {shlex.quote(_VERSIONS)}'
    yield "if command -v nvidia-smi > /dev/null; then nvidia-smi -L; fi"


def _started(topology: Topology) -> Iterator[str]:
    id_ = shlex.quote(topology.rdzv_id) if topology.rdzv_id else '"$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"'
    yield f"id={id_}"
    yield "# In the background, so that this shell hears the signal."
    cpus = f" --cpus-per-task={topology.cpus_per_node}" if topology.cpus_per_node else ""
    yield f"srun --wait=60{cpus} \\"
    mark = " --mark requeue" if _goes_on(topology) else ""
    meet = ' --meet "$MASTER_ADDR:$MASTER_PORT" --nodes "$SLURM_NNODES" --id "$id"' if topology.nodes > 1 else ""
    yield f'  "$python" -m forge.launch.node{mark}{meet} "$run" \\'
    yield f'  "$python" {" ".join(AGENT)} --nnodes "$SLURM_NNODES" --nproc-per-node {topology.nproc_per_node} \\'
    restarts = f" --max-restarts {topology.max_restarts}" if topology.max_restarts else ""
    yield f'  --rdzv-backend c10d --rdzv-endpoint "$MASTER_ADDR:$MASTER_PORT" --rdzv-id "$id"{restarts} \\'
    yield f'  -m forge.launch.rank {TRAINS} "$run" &'


def _ended(topology: Topology) -> Iterator[str]:
    yield "step=$!"
    yield "# A signal ends a wait, and not what is waited for."
    yield "while kill -0 $step 2> /dev/null; do wait $step; done"
    yield "wait $step; code=$?"
    yield 'echo "the run ended with $code, $(date)"'
    if topology.requeue:
        yield 'if [ $code -eq 3 ] && [ $told -eq 1 ]; then scontrol requeue "$SLURM_JOB_ID"; fi'
    yield "exit $code"
