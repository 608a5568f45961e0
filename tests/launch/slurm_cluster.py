"""A Slurm of our own on this machine: hosts in network namespaces, of which one has the controller; from Debian's slurm-wlm and munge.

python tests/launch/slurm_cluster.py up FOLDER [NODES]      # as root; prints the line that opens a shell on its host ``login``
python tests/launch/slurm_cluster.py down FOLDER
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

from namespaces import Made, Network

LOGIN = "login"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
CONFIG = """\
ClusterName=forge
SlurmctldHost=login({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket
StateSaveLocation={folder}/ctl
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdTimeout={patience}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SlurmdParameters=config_overrides
ReturnToService=2
SwitchType=switch/none
JobRequeue=1
KillWait=10
MinJobAge=3600
InactiveLimit=0
Waittime=0
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
"""
NODE = "NodeName={name} NodeAddr={address} CPUs=4 RealMemory=8000\n"
PARTITION = "PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE State=UP\n"


class Slurm(Made):
    """A cluster of hosts ``n1``, ``n2`` ..., and a host ``login`` from which jobs are submitted; a node is down after ``patience`` seconds."""

    def __init__(self, folder: Path, nodes: int = 2, patience: int = 300) -> None:
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.network = Network(folder / "hosts", [LOGIN, *self.nodes])
        self.patience = patience
        self.variables = {"SLURM_CONF": str(folder / "slurm.conf")}

    def up(self) -> None:
        """Start it, and wait until its nodes are idle."""
        for name in ("ctl", "log", "run", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._write_config()
        self.network.up()
        key = self.folder / "munge.key"
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
        self.said("munged", "--force", f"--key-file={key}", *self._munge_places())
        self.said("slurmctld", "-c")
        for node in self.nodes:
            self.start_node(node)
        self.until_idle()

    def down(self) -> None:
        """End it, with the jobs that are left."""
        self.network.down()

    def said(self, *words: str, host: str = LOGIN) -> str:
        """What a program of Slurm prints on a host."""
        return self.network.said(host, *words, **self.variables)

    def start_node(self, node: str) -> None:
        """Let a host take part in it."""
        self.said("slurmd", "-N", node, host=node)

    def until_idle(self) -> None:
        """Wait until its nodes are idle."""
        end = time.monotonic() + 60
        while len(self.said("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()) < len(self.nodes):
            if time.monotonic() > end:
                raise TimeoutError(f"the nodes of {self.folder} do not become idle: see {self.folder}/log")
            time.sleep(0.2)

    def _write_config(self) -> None:
        address = self.network.addresses
        text = CONFIG.format(folder=self.folder, address=address[LOGIN], patience=self.patience)
        text += "".join(NODE.format(name=node, address=address[node]) for node in self.nodes)
        (self.folder / "slurm.conf").write_text(text + PARTITION.format(nodes=",".join(self.nodes)))

    def _munge_places(self) -> list[str]:
        places = {
            "socket": "munge.socket",
            "pid-file": "munged.pid",
            "seed-file": "munge.seed",
            "log-file": "munged.log",
        }
        return [f"--{name}={self.folder}/run/{file}" for name, file in places.items()]


def main() -> None:
    """Start or end the one in a folder."""
    verb, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    there = len(list((folder / "spool").glob("n*")))
    slurm = Slurm(folder, int(sys.argv[3]) if len(sys.argv) > 3 else there or 2)
    if verb == "down":
        slurm.down()
        return
    slurm.up()
    shell = slurm.network.command(LOGIN, "env", f"SLURM_CONF={folder}/slurm.conf", "bash")
    sys.stdout.write(f"{shlex.join(shell)}\n")


if __name__ == "__main__":
    main()
