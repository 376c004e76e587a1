"""The ``huggingface_hub`` client, asked for a few files by name, its errors in one line each.

Nothing outside ``vae/``, ``vocoder/`` and a trained checkpoint's ``fast/`` is ever requested.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vaerecon.models.checkpoint_weights import FAST, find_weights
from vaerecon.utils.files import FULL

logger = logging.getLogger(__name__)

LOG_IN = "log in with `hf auth login` (or set HF_TOKEN)"
NO_PARTS = (
    "vae/ and vocoder/ with a config.json each; expected a checkpoint of the AudioLDM, AudioLDM2 "
    "or MusicLDM family"
)


def fetch_configs(
    repo: str, revision: str | None, cache: dict[str, Any]
) -> tuple[dict[str, Path], str]:
    """The two configs of a hub repository, fetched or cached, and the commit they are from.

    A push in between cannot mix two versions: all else is asked for at the commit of the first.
    """
    from huggingface_hub import hf_hub_download

    if not cache.get("local_files_only") and not _answers(repo, revision, cache.get("token")):
        cache = cache | {"local_files_only": True}
    first = Path(hf_hub_download(repo, "vae/config.json", revision=revision, **cache))
    commit = first.parent.parent.name  # .../snapshots/<commit>/vae/config.json
    second = Path(hf_hub_download(repo, "vocoder/config.json", revision=commit, **cache))
    return {"vae": first, "vocoder": second}, commit


def _answers(repo: str, revision: str | None, token: str | bool | None) -> bool:
    """False if the hub refuses the connection, which the client would try five times, for 25 s."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(repo, "vae/config.json", revision=revision), token=token)
    except Exception as error:
        refused = isinstance(error, ConnectionError) or type(error).__name__ == "ConnectError"
        return not refused  # the client handles all other errors
    return True


def fetch_weights(
    repo: str, commit: str, cache: dict[str, Any], variant: str | None = None
) -> dict[str, list[Path]]:
    """The weights files of a hub repository, fetched or cached; no other file is asked for."""
    from huggingface_hub import file_exists

    exists = partial(file_exists, repo, revision=commit, token=cache.get("token"))
    return find_weights(_getter(repo, commit, cache), exists, variant, repo)


def fetch_fast(repo: str, commit: str, cache: dict[str, Any]) -> Path | None:
    """Folder of a hub repository's own network for the method ``fast``, or None."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    get = _getter(repo, commit, cache)
    try:
        config = get("fast/config.json")
    except LocalEntryNotFoundError:
        reason = "no connection, so whether it has its own network for 'fast' is not known"
        logger.warning("%s: %s; the bundled one is taken", repo, reason)
        return None
    if config is None:
        return None
    get(f"fast/{FAST}")
    return config.parent


def _getter(repo: str, commit: str, cache: dict[str, Any]) -> Callable[[str], Path | None]:
    """A function that fetches a file of the repository by its name, or gives None."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(name: str) -> Path | None:
        if try_to_load_from_cache(repo, name, cache.get("cache_dir"), commit) is _CACHED_NO_EXIST:
            return None  # was asked for before
        try:
            return Path(hf_hub_download(repo, name, revision=commit, **cache))
        except LocalEntryNotFoundError:  # not cached, and no hub to ask
            raise
        except EntryNotFoundError:
            return None

    return get


@contextmanager
def hub_errors(repo: str, revision: str | None, missing: str = NO_PARTS) -> Iterator[None]:
    """Replace the client's errors by one line each; ``missing`` describes files that must exist."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    endpoint = os.environ.get("HF_ENDPOINT", "the hub")
    try:
        yield
    except LocalEntryNotFoundError as error:
        raise OSError(f"{repo}: cannot be downloaded: {_unreachable(error, endpoint)}") from error
    except HfHubHTTPError as error:
        raise _refused(error, repo, revision, endpoint, missing) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(
            f"{repo}: no room for the download ({os.strerror(error.errno)}); free some, or set "
            "HF_HOME to a folder on another disk; what is there is taken up again"
        ) from error
    except ValueError:
        raise
    except Exception as error:  # the client's transport errors have no common base class
        raise _broken_off(error, repo, endpoint) from error


def _unreachable(error: Exception, endpoint: str) -> str:
    """Why a file that is not cached could not be fetched."""
    status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
    if status == 403:
        return f"{endpoint} refused access (403); {LOG_IN} with an account that may read it"
    if status is not None:
        return f"{endpoint} answered {status}, several times; try later, or another mirror"
    return (
        "no connection (or offline mode) and not in the cache; connect once, set HF_ENDPOINT to a "
        "mirror that you can reach, or copy another machine's cache and set HF_HOME to it"
    )


def _refused(error: Any, repo: str, revision: str | None, endpoint: str, missing: str) -> Exception:
    """The error for an answer of the hub that is no file."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        gated = f"gated; accept its licence on its page, then {LOG_IN} and load again"
        return OSError(f"{repo}: {gated}")
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = f"check the spelling, or if it is private {LOG_IN}"
        return ValueError(f"{repo}: no folder here, and not found on {endpoint}; {fix}")
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"{repo}: has no revision {revision!r} on {endpoint}")
    if isinstance(error, errors.EntryNotFoundError):
        return ValueError(f"{repo}: has no {missing}")
    status = error.response.status_code
    return OSError(f"{repo}: {endpoint} answered {status}; {LOG_IN}, or try later")


def _broken_off(error: Exception, repo: str, endpoint: str) -> Exception:
    """The error for a connection that fails."""
    if not re.match("https?://", os.environ.get("HF_ENDPOINT") or "https://"):
        fix = f"write HF_ENDPOINT=https://{endpoint.rpartition('://')[2]}"
        return ValueError(f"HF_ENDPOINT: got {endpoint!r}, expected an address; {fix}")
    kind = type(error).__name__
    if "Timeout" in kind:
        return OSError(
            f"{repo}: {endpoint} did not answer in time, several times; try later, or give it "
            "more seconds with HF_HUB_DOWNLOAD_TIMEOUT=60; loading again resumes"
        )
    return OSError(f"{repo}: download failed ({kind}: {error}); load again to resume")
