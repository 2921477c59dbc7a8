"""Requests to the hub: one commit of a repository, or its cached files, and the errors of both."""

import contextlib
import dataclasses
import os
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class HubId:
    """A model on the hub: "name" or "owner/name", and a branch, tag, commit or "refs/pr/N"."""

    name: str
    revision: str = "main"

    def __str__(self) -> str:
        return self.name if self.revision == "main" else f"{self.name}@{self.revision}"


class UnreachableError(ValueError):
    """Raised if the hub gives no usable answer."""


@dataclasses.dataclass(frozen=True)
class Online:
    """One commit of a repository, with a hash of the content of each file."""

    hub_id: HubId
    commit: str
    hashes: Mapping[str, str | None]

    def __contains__(self, name: str) -> bool:
        return name in self.hashes

    def names(self) -> Collection[str]:
        """Returns the names of all files."""
        return self.hashes

    def fetch(self, name: str) -> Path:
        """Returns the path of a file in the cache; downloads it if necessary."""
        from huggingface_hub import hf_hub_download

        path = Path(ask(hf_hub_download, self.hub_id, filename=name, revision=self.commit))
        if path.parents[name.count("/")].name != self.commit:
            raise ValueError(f"{self.hub_id}: the hub sent {name} from another commit than {self.commit}; try again")
        return path

    def lacks(self, what: str) -> ValueError:
        """Returns the error to raise if the repository has only `what`."""
        return ValueError(f"{self.hub_id} has {what} (commit {self.commit})")

    def remember(self, directory: Path) -> None:
        """Stores the commit of the revision in the cache, after all files are downloaded.

        By hand, because the library stores it only for files that are downloaded by branch or tag, not by commit.

        Source: huggingface_hub's guide "Understand caching": refs/REVISION holds the commit.
        """
        if self.hub_id.revision == self.commit:
            return
        ref = directory.parents[1] / "refs" / self.hub_id.revision
        staged = ref.with_name(f".{ref.name}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):  # a shared cache may be read-only; the entry is needed only offline
            ref.parent.mkdir(parents=True, exist_ok=True)
            staged.write_text(self.commit, encoding="ascii")
            os.replace(staged, ref)


@dataclasses.dataclass(frozen=True)
class Cached:
    """The cached files of a revision, and the reason why the hub is not asked."""

    hub_id: HubId
    why: str

    def __contains__(self, name: str) -> bool:
        return self._path(name) is not None

    def names(self) -> Collection[str]:
        """Returns nothing, because files that are not cached are unknown."""
        return ()

    def fetch(self, name: str) -> Path:
        """Returns the path of a file in the cache."""
        path = self._path(name)
        if path is None:
            raise self.lacks(f"no {name}")
        return path

    def lacks(self, what: str) -> ValueError:
        """Returns the error to raise if the repository has only `what`."""
        from huggingface_hub import constants

        return ValueError(f"for {self.hub_id} the cache at {constants.HF_HUB_CACHE} has {what}, and {self.why}")

    def remember(self, directory: Path) -> None:
        """Does nothing, because the revision is in the cache already."""

    def _path(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.hub_id.name, name, revision=self.hub_id.revision)
        return Path(path) if isinstance(path, str) else None


Files = Online | Cached


def resolve(hub_id: HubId) -> Online:
    """Asks the hub for the commit of a revision and its files."""
    from huggingface_hub import HfApi, constants

    timeout = constants.HF_HUB_ETAG_TIMEOUT
    info = ask(HfApi().model_info, hub_id, revision=hub_id.revision, files_metadata=True, timeout=timeout)
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise UnreachableError(f"{_endpoint()} does not answer as the hub does: it names the commit {info.sha!r}")
    hashes = {each.rfilename: each.lfs.sha256 if each.lfs else each.blob_id for each in info.siblings or ()}
    return Online(hub_id, info.sha, hashes)


def ask(function: Callable[..., Any], hub_id: HubId, **arguments: Any) -> Any:
    """Calls a function of huggingface_hub; any exception becomes one ValueError without its chain of causes."""
    try:
        return function(repo_id=hub_id.name, **arguments)
    except Exception as error:  # from requests or httpx, depending on the library's version
        raise _explained(error, hub_id, arguments.get("filename")) from None


def _explained(error: Exception, hub_id: HubId, file: str | None) -> ValueError:
    from huggingface_hub import errors

    access = "log in (`hf auth login`, or HF_TOKEN) with an account that may read it"
    page = f"{_endpoint()}/{hub_id.name}"
    if isinstance(error, errors.GatedRepoError):
        return ValueError(f"{hub_id.name} is gated: accept its conditions at {page}, and {access}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ValueError(f"there is no model {page}, or it is private: check the spelling, or {access}")
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"{hub_id.name} has no revision {hub_id.revision!r}: give a branch, a tag or a whole commit")
    if isinstance(error, errors.DisabledRepoError):
        return ValueError(f"{page} has been disabled by the hub")
    root = root_cause(error)
    detail = f"{type(root).__name__}: {' '.join(str(root).split())}"
    if file is not None:
        return ValueError(f"{hub_id}: {file} could not be downloaded, try again later ({detail})")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ValueError(f"access to {page} is denied: {access} ({detail})")
    return UnreachableError(f"{_endpoint()} gave no usable answer, check the network and its proxy ({detail})")


def root_cause(error: BaseException) -> BaseException:
    """Returns the first exception of a chain, such as "connection refused" under three layers of libraries."""
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = cause
    return error


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
