"""Which environment variables a config may read: an allow-list of names, so that no secret leaves through a config."""

from __future__ import annotations

import os
import re
from typing import Final

from forge.base.errors import InterpolationError
from forge.base.secrets import is_secret_name
from forge.base.spelling import did_you_mean

__all__ = ["read_variable"]

# Where a run happens and how it is launched: what the schedulers and launchers set, and plain locations.
_ALLOWED: Final = re.compile(
    r"HOME|USER|LOGNAME|HOSTNAME|PWD|TMPDIR|SCRATCH|WORK|LANG|TZ"
    r"|(?:LOCAL_|GROUP_|NODE_)?RANK|(?:LOCAL_)?WORLD_SIZE|MASTER_(?:ADDR|PORT)|NNODES|NPROC_PER_NODE|NODE_RANK"
    r"|CUDA_VISIBLE_DEVICES|OMP_NUM_THREADS|(?:SLURM|PET|TORCHELASTIC|SKYPILOT|NCCL|GLOO|FORGE|XDG)_[A-Z0-9_]+"
    r"|HF_(?:HOME|HUB_CACHE|DATASETS_CACHE|HUB_OFFLINE)|(?:MODELS|DATA|OUTPUT|CACHE|DATASETS)_DIR"
)

_PLAIN: Final = ("HOME", "USER", "LOGNAME", "HOSTNAME", "PWD", "TMPDIR", "RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
# Slurm's JWT and the like stand in families that are otherwise harmless.
_SUSPECT: Final = re.compile(r"_(?:TOKEN|KEY|JWT|AUTH|PASS|PWD|CRED|CERT|COOKIE)S?(?:_|\Z)")


def read_variable(name: str) -> str | None:
    """The value of an environment variable a config may read, None when it is not set; InterpolationError otherwise."""
    if not _ALLOWED.fullmatch(name) or is_secret_name(name) or _SUSPECT.search(name):
        raise InterpolationError(
            f"the environment variable {name!r} may not be read from a config",
            hint=did_you_mean(name, _PLAIN)
            or "configs read HOME, USER, *_DIR, FORGE_*, SLURM_*, ...; give other values on the command line",
        )
    return os.environ.get(name)
