"""Download models of the embedded engine from the Hugging Face hub, through `huggingface_hub` and into its cache.

The package reads HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE, and resumes a broken connection. This module
continues the download of an earlier process, compares sizes and hashes, and translates errors to sentences.
"""

import errno
import re
import shutil
from pathlib import Path

from providers.errors import EngineFailed
from providers.local_models import HubFile, KnownModel, content_digest, downloaded

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
_CONNECT_SECONDS = 10.0


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

    Raises EngineFailed. A file with a wrong size or hash is deleted; an unfinished file is continued by the next call.
    """
    from huggingface_hub import constants, get_session

    try:
        if downloaded(model) is None:  # without a network, `huggingface_hub` fails only after half a minute
            get_session().head(constants.ENDPOINT, timeout=_CONNECT_SECONDS, follow_redirects=False)
        projector = model.mmproj or _projector(model)
        return _download(model, model.model), _download(model, projector)
    except EngineFailed:
        raise
    except Exception as error:  # noqa: BLE001 (the errors of httpx2 and the hub have no common base class)
        raise EngineFailed(_sentence(error, model)) from None


def remove(model: KnownModel) -> int:
    """Delete the model's repository from the cache, unfinished downloads included. Return the freed bytes."""
    folder = _repository_folder(model)
    try:
        freed = sum(blob.stat().st_size for blob in folder.glob("blobs/*"))
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise EngineFailed(_sentence(error, model)) from None
    return freed


def _repository_folder(model: KnownModel) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return cache_directory() / repo_folder_name(repo_id=model.repository, repo_type="model")


def _projector(model: KnownModel) -> HubFile:
    """Return the vision projector of a repository. If there are several, prefer the one with 8 bits."""
    from huggingface_hub import HfApi

    files = [file for file in HfApi().list_repo_files(model.repository, revision=model.revision) if "mmproj" in file]
    if not files:
        raise EngineFailed(f"The repository '{model.repository}' has no vision projector (mmproj). Choose another one.")
    return HubFile(min(files, key=lambda file: ("q8_0" not in file.lower(), file)))


def _download(model: KnownModel, file: HubFile) -> Path:
    """Return the path of a file in the cache. Download and verify its content first unless it is there."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    is_cached = hf_hub_download(model.repository, file.file, revision=model.revision, dry_run=True).is_cached
    if not is_cached:
        url = hf_hub_url(model.repository, file.file, revision=model.revision)
        metadata = get_hf_file_metadata(url)
        if not re.fullmatch(r"[\w-]+", str(metadata.etag)):  # it becomes the name of a file
            raise EngineFailed(f"The hub names no valid hash (ETag) for '{file.file}'. Check HF_ENDPOINT.")
        _fetch(url, file, _repository_folder(model) / "blobs" / str(metadata.etag), metadata.size or 0)
    path = Path(hf_hub_download(model.repository, file.file, revision=model.revision))
    if is_cached:
        _verify(path.resolve(), file)
    return path


def _fetch(url: str, file: HubFile, blob: Path, size: int) -> None:
    """Download a file to `blob`, whose name is its hash. Continue where an earlier download ended.

    `hf_hub_download` 2.4 would start again, because it deletes unfinished downloads.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

    unfinished = blob.with_name(f"{blob.name}.incomplete")
    lock = cache_directory() / ".locks" / blob.parents[1].name / f"{blob.name}.lock"  # also used by `huggingface_hub`
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():  # another process has downloaded it
            return
        done = unfinished.stat().st_size if unfinished.exists() else 0
        if done > size:  # unknown size, or not the beginning of this file
            done = 0
        if (free := shutil.disk_usage(blob.parent).free) < size - done:
            raise EngineFailed(
                f"The file '{file.file}' needs {(size - done) / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free in "
                f"{cache_directory()}. Free some, or set HF_HOME to another disk."
            )
        with unfinished.open("ab" if done else "wb") as content:
            if done < size or not size:
                http_get(
                    url,
                    content,
                    resume_size=done,
                    headers=build_hf_headers(),
                    expected_size=size or None,
                    displayed_filename=Path(file.file).name,
                )
        _verify(unfinished, file)
        unfinished.rename(blob)


def _verify(content: Path, file: HubFile) -> None:
    """Compare the content's size and hash with the row, and its hash with its name, if that is a hash.

    If anything differs, delete the content and raise EngineFailed.
    """
    hashes = {value for value in (file.sha256, content.stem) if re.fullmatch("[0-9a-f]{64}", value)}
    state = content.stat()
    if hashes - {content_digest(content, state.st_mtime_ns)} or file.size not in (0, state.st_size):
        content.unlink()
        raise EngineFailed(
            f"The file '{file.file}' is not the expected one: its size or its hash differs. It was deleted. Run the "
            "command again. If the message stays the same, the file has changed on the hub."
        )


def _sentence(error: Exception, model: KnownModel) -> str:
    """Return a sentence with cause and remedy for an error of `huggingface_hub`, its HTTP client or the disk."""
    if hub := _hub_sentence(error, model):
        return hub
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return f"The cache {cache_directory()} cannot be written. Set HF_HOME to a directory that can."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"There is no space left in {cache_directory()}. Free some, or set HF_HOME to another disk."
    broken = f"The download broke off ({type(error).__name__})."
    return f"{broken} Check the network, then run the command again to continue it."


def _hub_sentence(error: Exception, model: KnownModel) -> str:
    import httpx2
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
        case errors.LocalEntryNotFoundError() | httpx2.ConnectError() | httpx2.TimeoutException() | httpx2.ProxyError():
            return "The hub cannot be reached. Check the network and HF_ENDPOINT, then run the command again."
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"The hub does not allow this download. Check the name '{model.repository}', or set HF_TOKEN."
        case errors.HfHubHTTPError():
            return f"The hub responded with status {error.response.status_code}. Run the command again later."
    return ""
