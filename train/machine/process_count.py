"""The number of processes that share a job, from the environment of a TPU slice or of Slurm.

Reads the variables and metadata that JAX reads, without starting JAX.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

# The metadata server runs on the host itself: it answers at once or does not exist.
_METADATA_SECONDS = 2.0
_ENDPOINTS = "worker-network-endpoints"  # jax/_src/clusters/cloud_tpu_cluster.py
TPU_FILES = ("accel[0-9]*", "vfio/[0-9]*")  # device files of TPUs, below /dev
_SLURM = (
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)  # as JAX reads them


def processes_of_environment(environ: Mapping[str, str], root: Path = Path("/")) -> int:
    """Returns the number of processes of a job here: from TPU variables, else Slurm, else a TPU VM's metadata.

    Args:
      environ: environment variables.
      root: the directory that contains /dev. The metadata server is queried only on a machine with a TPU.
    """
    slices = int(environ.get("MEGASCALE_NUM_SLICES") or 1)
    if names := environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES"):
        return len(names.split(",")) * slices
    if all(name in environ for name in _SLURM):
        return int(environ["SLURM_NTASKS"])
    has_tpu = any(path for pattern in TPU_FILES for path in root.glob(f"dev/{pattern}"))
    endpoints = _metadata(_ENDPOINTS, environ) if has_tpu and "TPU_SKIP_MDS_QUERY" not in environ else None
    return len(endpoints.split(",")) * slices if endpoints else slices


def _metadata(key: str, environ: Mapping[str, str]) -> str | None:
    server = environ.get("GCE_METADATA_IP", "metadata.google.internal")
    address = f"http://{server}/computeMetadata/v1/instance/attributes/{key}"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=_METADATA_SECONDS) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError, ValueError):
        return None
