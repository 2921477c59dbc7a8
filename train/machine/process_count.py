"""How many processes share a job, as a TPU slice or Slurm says it. Reads what JAX reads, without starting JAX."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

# The server is on the same host: it answers at once or is not there.
_METADATA_SECONDS = 2.0
_ENDPOINTS = "worker-network-endpoints"  # jax/_src/clusters/cloud_tpu_cluster.py
TPU_FILES = ("accel[0-9]*", "vfio/[0-9]*")  # in /dev, of a machine that has TPUs
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")  # what JAX needs


def processes_of_environment(environ: Mapping[str, str], root: Path = Path("/")) -> int:
    """How many processes share a job here, by the first that says so: TPU variables, Slurm, a TPU VM's metadata.

    Args:
      environ: environment variables.
      root: under which /dev lies. Metadata is only asked for where a TPU is: elsewhere nobody answers.
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
