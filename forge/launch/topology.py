"""Where the processes of a run are: one value for a laptop, for hosts reached by ssh, for Slurm and for Kubernetes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, Literal

from forge.base.hosts import count_hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Kind", "Mount", "Topology"]

Kind = Literal["local", "ssh", "slurm", "k8s_pytorchjob", "k8s_pytorchjob_elastic", "k8s_trainjob", "k8s_job"]

_KUBERNETES: Final = ("k8s_pytorchjob", "k8s_pytorchjob_elastic", "k8s_trainjob", "k8s_job")
_KINDS: Final = ("local", "ssh", "slurm", *_KUBERNETES)
_ELASTIC: Final = ("local", "ssh", "k8s_pytorchjob_elastic")
# What only some kinds can use: a value there that would have no effect is a mistake, so it is refused.
_BELONGS_TO: Final[Mapping[str, tuple[str, ...]]] = {
    "min_nodes": _ELASTIC,
    "max_nodes": _ELASTIC,
    "rdzv_id": ("local", "ssh", "slurm", "k8s_pytorchjob_elastic"),
    "rdzv_endpoint": ("local", "ssh", "slurm"),
    "hosts": ("ssh",),
    "folder": ("ssh", "slurm"),
    "partition": ("slurm",),
    "account": ("slurm",),
    "qos": ("slurm",),
    "constraint": ("slurm",),
    "setup": ("ssh", "slurm"),
    "requeue": ("slurm",),
    "mail": ("slurm",),
    "exclusive": ("slurm",),
    "array": ("slurm",),
    "tmp_dir": ("ssh", "slurm"),
    "log_folder": ("slurm",),
    "sbatch": ("slurm",),
    "trainer_version": ("k8s_trainjob",),
    "node_selector": _KUBERNETES,
    "python": ("ssh", "slurm", *_KUBERNETES),
    "time": ("slurm", *_KUBERNETES),
    "image": _KUBERNETES,
    "namespace": _KUBERNETES,
    "mounts": _KUBERNETES,
    "queue": _KUBERNETES,
    "runtime": ("k8s_trainjob",),
}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DNS_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
_LONGEST_LABEL: Final = 63
# What the last of the pods is called behind the name of the job: the longest name that comes of it.
_PODS: Final = {"k8s_job": "-{}", "k8s_trainjob": "-node-0-{}-abcde"}
_QUANTITY: Final = re.compile(r"(\d+\.?\d*|\.\d+)([KMGTPE]i|[kMGTPE])?", re.ASCII)
_TIME: Final = re.compile(r"(\d+-)?\d+:[0-5]\d:[0-5]\d", re.ASCII)
_ARRAY: Final = re.compile(r"(\d+)-(\d+)%1", re.ASCII)
_LONGEST_WARNING: Final = 65535  # Slurm keeps it in two bytes
_EARLIER: Final = 60  # seconds by which Slurm may be early with its signal
_COUNTED: Final = ("nodes", "ntasks", "ntasks-per-node")  # the ranks follow from what else says them
_DIRECTIVE: Final = re.compile(r"[a-z][a-z-]*")
_ONE_LINE: Final = ("partition", "account", "qos", "constraint", "mail", "memory_per_node", "log_folder", "job_name")
_HOST: Final = re.compile(r"[^:]+(:\d{1,5})?", re.ASCII)
_ENDPOINT: Final = re.compile(r"[^\s:/]+(:\d{1,5})?")


@dataclass(frozen=True)
class Mount:
    """A Kubernetes volume claim and the absolute path at which containers see it."""

    claim: str
    path: str
    read_only: bool = False

    def __post_init__(self) -> None:
        if not _DNS_NAME.fullmatch(self.claim):
            raise ValueError(f"a volume claim is a name of small letters, digits, - and ., not {self.claim!r}")
        if not self.path.startswith("/") or ":" in self.path:
            raise ValueError(f"a volume is mounted at an absolute path without a colon, not {self.path!r}")


@dataclass(frozen=True)
class Topology:
    """How many processes run on how many nodes, how they find each other, and what the cluster has to know.

    `nodes` counts machines and `nproc_per_node` the processes on each. An elastic run has `min_nodes` and `max_nodes`.
    `signal_seconds` is how long before its end a job is told to save, `time` is written ``hours:minutes:seconds``, and `env` holds
    plain variables only: secrets stay in the environment or in the cluster's own store. `setup` are lines of shell before
    the run, `sbatch` further options of sbatch, `python` the interpreter on the nodes, and `hosts` may say ``host:processes``.
    """

    kind: Kind = "local"
    nodes: int = 1
    nproc_per_node: int = 1
    min_nodes: int | None = None
    max_nodes: int | None = None
    max_restarts: int = 0
    rdzv_backend: Literal["c10d", "static"] = "c10d"
    rdzv_endpoint: str | None = None
    rdzv_id: str | None = None
    job_name: str = "forge"
    env: Mapping[str, str] = field(default_factory=dict)
    signal_seconds: int = 180
    gpus_per_node: int | None = None
    cpus_per_node: int | None = None
    memory_per_node: str | None = None
    time: str | None = None
    hosts: tuple[str, ...] = ()
    folder: str | None = None
    setup: tuple[str, ...] = ()
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    requeue: bool = False
    mail: str | None = None
    exclusive: bool = False
    array: str | None = None
    tmp_dir: str | None = None
    log_folder: str | None = None
    sbatch: Mapping[str, str | int] = field(default_factory=dict)
    python: str | None = None
    image: str | None = None
    namespace: str | None = None
    mounts: tuple[Mount, ...] = ()
    queue: str | None = None
    runtime: str | None = None
    trainer_version: Literal["2.1", "2.2"] = "2.2"
    node_selector: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind is one of {', '.join(_KINDS)}, not {self.kind!r}")
        # A config gives lists; a frozen value holds tuples.
        for name in ("hosts", "setup", "mounts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_belonging()
        self._check_numbers()
        self._check_elastic()
        self._check_rendezvous()
        self._check_names()
        self._check_time()
        self._check_slurm()
        if self.kind in _KUBERNETES:
            self._check_kubernetes()

    @property
    def ranks(self) -> int:
        """The number of processes of the whole run."""
        return sum(count for _, count in self.counted_hosts) or self.nodes * self.nproc_per_node

    @property
    def counted_hosts(self) -> tuple[tuple[str, int], ...]:
        """The hosts, each with the number of its processes: ``a:4`` has 4, and ``a`` as many as `nproc_per_node` says."""
        return count_hosts(self.hosts, self.nproc_per_node)

    @property
    def seconds(self) -> int | None:
        """The time limit in seconds; None for none."""
        if self.time is None:
            return None
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def elastic(self) -> bool:
        """Whether nodes may join and leave."""
        return self.min_nodes is not None

    def _check_belonging(self) -> None:
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name, kinds in _BELONGS_TO.items():
            if self.kind not in kinds and getattr(self, name) not in (defaults[name], {}):
                raise ValueError(f"{name} belongs to {', '.join(kinds)}; it means nothing to {self.kind}")

    def _check_numbers(self) -> None:
        for name, least in (("nodes", 1), ("nproc_per_node", 1), ("max_restarts", 0), ("signal_seconds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}, not {getattr(self, name)}")
        for name, least in (("gpus_per_node", 0), ("cpus_per_node", 1)):
            count = getattr(self, name)
            if count is not None and count < least:
                raise ValueError(f"{name} is at least {least}, or null for what the cluster gives, not {count}")
        if self.kind == "local" and self.nodes > 1 and self.rdzv_backend == "static":
            raise ValueError(
                "several local nodes find each other through the c10d rendezvous: set rdzv_backend to c10d"
            )

    def _check_elastic(self) -> None:
        if (self.min_nodes is None) != (self.max_nodes is None):
            raise ValueError("an elastic run needs both min_nodes and max_nodes")
        if self.kind == "k8s_pytorchjob_elastic" and self.min_nodes is None:
            raise ValueError("k8s_pytorchjob_elastic needs min_nodes and max_nodes")
        if self.min_nodes is None or self.max_nodes is None:
            return
        if not 1 <= self.min_nodes <= self.nodes <= self.max_nodes:
            raise ValueError(
                f"min_nodes ({self.min_nodes}), nodes ({self.nodes}) and max_nodes ({self.max_nodes}) have to ascend from 1"
            )
        if self.rdzv_backend != "c10d":
            raise ValueError("an elastic run needs rdzv_backend c10d")

    def _check_rendezvous(self) -> None:
        if self.rdzv_backend not in ("c10d", "static"):
            raise ValueError(f"rdzv_backend is c10d or static, not {self.rdzv_backend!r}")
        if self.rdzv_endpoint is not None and not _ENDPOINT.fullmatch(self.rdzv_endpoint):
            raise ValueError(f"rdzv_endpoint is a host or host:port, not {self.rdzv_endpoint!r}")
        if self.kind == "ssh" and len(self.hosts) != self.nodes:
            raise ValueError(f"ssh needs one host for each of {self.nodes} nodes, and hosts has {len(self.hosts)}")
        if any(not host or host.startswith("-") or any(mark.isspace() for mark in host) for host in self.hosts):
            raise ValueError("a host is a name without spaces that does not begin with a dash")
        if odd := next((host for host in self.hosts if not _HOST.fullmatch(host)), None):
            raise ValueError(
                f"a host is written name, or name:processes, not {odd!r}; ~/.ssh/config names addresses with colons"
            )
        if any(count < 1 for _, count in self.counted_hosts):
            raise ValueError("a host has at least one process: host:1")
        names = [host for host, _ in self.counted_hosts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"hosts has {twice} twice: several processes of one host are written {twice}:2")

    def _check_slurm(self) -> None:
        if self.signal_seconds > _LONGEST_WARNING:
            raise ValueError(f"signal_seconds is at most {_LONGEST_WARNING}, not {self.signal_seconds}")
        if self.kind == "slurm" and self.seconds is not None and self.seconds <= self.signal_seconds + _EARLIER:
            raise ValueError(
                f"the run is told to save {self.signal_seconds} seconds before its time of {self.time} is over, and Slurm may be a minute"
                " early: nothing would be trained; set a longer time, or fewer signal_seconds"
            )
        jobs = None if self.array is None else _ARRAY.fullmatch(self.array)
        if self.array is not None and (jobs is None or int(jobs[1]) > int(jobs[2])):
            raise ValueError(
                f"the jobs of an array continue the run one after another: array is written 0-7%1, not {self.array!r}"
            )
        for name, value in self.sbatch.items():
            if not _DIRECTIVE.fullmatch(name) or "\n" in str(value):
                raise ValueError(f"sbatch.{name} is a long option of sbatch with a value on one line")
            if name in _COUNTED:
                raise ValueError(f"sbatch.{name} says how many processes there are, which nodes and nproc_per_node say")
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise TypeError(f"sbatch.{name} is text: write it in quotes, and '' for an option without a value")
        for name in _ONE_LINE:
            if "\n" in (getattr(self, name) or ""):
                raise ValueError(f"{name} is written on one line")

    def _check_time(self) -> None:
        if self.time is None:
            return
        if not _TIME.fullmatch(self.time):
            raise ValueError(f"time is written hours:minutes:seconds or days-hours:minutes:seconds, not {self.time!r}")
        if not self.seconds:
            raise ValueError(f"time is more than {self.time}: leave it null where there is no limit")

    def _check_kubernetes(self) -> None:
        """What the cluster would refuse, maybe after a part of the manifests is there already."""
        if not self.image or any(mark.isspace() for mark in self.image):
            raise ValueError(f"{self.kind} needs the container image to run: set image, a word without spaces")
        room = _LONGEST_LABEL - len(_PODS.get(self.kind, "-worker-{}").format((self.max_nodes or self.nodes) - 1))
        if not _DNS_LABEL.fullmatch(self.job_name) or len(self.job_name) > room:
            raise ValueError(
                f"job_name is at most {room} small letters, digits and -, beginning with a letter, not {self.job_name!r}"
            )
        for name in ("namespace", "queue", "runtime"):
            value = getattr(self, name)
            if value is not None and not _DNS_NAME.fullmatch(value):
                raise ValueError(f"{name} is a name of small letters, digits and -, not {value!r}")
        if self.memory_per_node is not None and not _QUANTITY.fullmatch(self.memory_per_node):
            raise ValueError(f"memory_per_node is written 64Gi or 64G on Kubernetes, not {self.memory_per_node!r}")
        for name, value in self.node_selector.items():
            if not isinstance(value, str):
                raise TypeError(f"node_selector.{name} is text: write it in quotes, as '{value}'")
        places = [mount.path.rstrip("/") for mount in self.mounts]
        if twice := next((place for place in places if places.count(place) > 1), None):
            raise ValueError(f"one volume is mounted at a path, and mounts has {twice} twice")

    def _check_names(self) -> None:
        if not self.job_name or any(mark.isspace() for mark in self.job_name):
            raise ValueError(f"job_name is a word without spaces, not {self.job_name!r}")
        for name, value in self.env.items():
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not a name of an environment variable")
            if not isinstance(value, str):
                raise TypeError(f"env.{name} is text: write it in quotes, as '{value}'")
