"""Download models of the embedded engine from the Hugging Face hub, through `huggingface_hub` and into its cache.

The package reads HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE, resumes a broken connection, and moves a file into
the cache only when it is complete. This module compares sizes and hashes, and translates errors to sentences.
"""

import errno
import re
from hashlib import file_digest
from pathlib import Path

from providers.local_models import HubFile, KnownModel

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


class HubError(Exception):
    """A model cannot be downloaded or removed. The message states the cause and the remedy."""


def cache_directory() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(model: KnownModel, file: str) -> Path | None:
    """Return the path of a file of the model in the cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model.repository, file, revision=model.revision)
    return Path(path) if isinstance(path, str) else None


def pull(model: KnownModel) -> tuple[Path, Path]:
    """Download the files of a model, and return their paths. A progress bar is shown on standard error.

    Raises HubError. A file with a wrong size or hash is deleted.
    """
    try:
        return _download(model, model.model), _download(model, model.mmproj or _projector(model))
    except HubError:
        raise
    except OSError as error:
        sentence = _hub_sentence(error, model) or _disk_sentence(error)
    except Exception as error:  # noqa: BLE001 (the errors of httpx2, hf_xet and the hub have no common base class)
        broken = f"The download broke off ({type(error).__name__}). Run the command again."
        sentence = _hub_sentence(error, model) or broken
    raise HubError(sentence)


def remove(model: KnownModel) -> int:
    """Delete every revision of the model's repository from the cache. Return the freed bytes."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return 0
    revisions = [
        revision.commit_hash
        for repository in cache.repos
        if repository.repo_id == model.repository
        for revision in repository.revisions
    ]
    if not revisions:
        return 0
    strategy = cache.delete_revisions(*revisions)
    try:
        strategy.execute()
    except OSError as error:
        raise HubError(_disk_sentence(error)) from None
    return strategy.expected_freed_size


def _projector(model: KnownModel) -> HubFile:
    """Return the vision projector of a repository. If there are several, prefer the one with 8 bits."""
    from huggingface_hub import HfApi

    files = [file for file in HfApi().list_repo_files(model.repository, revision=model.revision) if "mmproj" in file]
    if not files:
        raise HubError(f"The repository '{model.repository}' has no vision projector (mmproj). Choose another one.")
    return HubFile(min(files, key=lambda file: ("q8_0" not in file.lower(), file)))


def _download(model: KnownModel, file: HubFile) -> Path:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(model.repository, file.file, revision=model.revision))
    blob = path.resolve()  # its name is the hash that the hub reported
    hashes = {value for value in (file.sha256, blob.name) if re.fullmatch("[0-9a-f]{64}", value)}
    if hashes - {_digest(blob)} or file.size not in (0, blob.stat().st_size):
        blob.unlink()
        path.unlink(missing_ok=True)
        raise HubError(
            f"The file '{file.file}' is not the expected one: its size or its hash differs. It was deleted. Run the "
            "command again. If the message stays the same, the file has changed on the hub."
        )
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _hub_sentence(error: Exception, model: KnownModel) -> str:
    """Return a sentence with cause and remedy for an error of `huggingface_hub`, "" for any other error."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{model.repository}"
    if isinstance(error.__cause__, errors.OfflineModeIsEnabled | errors.HfHubHTTPError):
        error = error.__cause__
    match error:
        case errors.GatedRepoError():
            return f"The model is gated. Accept its terms at {page}, then set HF_TOKEN to a token of your account."
        case errors.RepositoryNotFoundError() | errors.HFValidationError():
            return f"The hub has no public repository '{model.repository}'. Check the name, or set HF_TOKEN."
        case errors.RemoteEntryNotFoundError():
            return f"The repository '{model.repository}' does not have the file. {page}/tree/main lists its files."
        case errors.RevisionNotFoundError():
            return f"The repository '{model.repository}' has no revision '{model.revision}'. Update graphcap."
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE forbids downloads. Unset it, or copy the cache (HF_HOME) from another machine."
        case errors.LocalEntryNotFoundError():
            return "The hub cannot be reached. Check the network and HF_ENDPOINT, then run the command again."
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"The hub does not allow this download. Check the name '{model.repository}', or set HF_TOKEN."
        case errors.HfHubHTTPError():
            return f"The hub responded with status {error.response.status_code}. Run the command again later."
    return ""


def _disk_sentence(error: OSError) -> str:
    directory = cache_directory()
    if error.errno in _NOT_WRITABLE:
        return f"The cache {directory} cannot be written. Set HF_HOME to a directory that can."
    if error.errno == errno.ENOSPC:
        return f"There is no space left in {directory}. Free some, or set HF_HOME to another disk."
    return "The download broke off. Check the network, then run the command again."
