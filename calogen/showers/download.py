"""Download of public data sets, checked, cached, and resumed after interruptions."""

import json
import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import calogen
from calogen.errors import CalogenError, DataFormatError, TemporaryError
from calogen.files import TEMPORARY, atomic_path, require_writable_file
from calogen.locks import directory_lock
from calogen.process import tell
from calogen.progress import progress

if TYPE_CHECKING:
    import pooch
    import requests

ZENODO = "https://zenodo.org/records/8099322/files/"
# The CaloChallenge's dataset 1, https://doi.org/10.5281/zenodo.8099322. The md5 sums are those of a public loader of
# these files; they have not been compared with Zenodo's own.
DATASETS = {
    "calochallenge-photons": {
        "dataset_1_photons_1.hdf5": "md5:005d2adeda7db034b388112661265656",
        "dataset_1_photons_2.hdf5": "md5:4767715ed56e99565fd9c67340661e70",
    },
    "calochallenge-pions": {
        "dataset_1_pions_1.hdf5": "md5:6a5f52722064a1bcd8a0bc002f16515d",
        "dataset_1_pions_2.hdf5": "md5:fee7457b40127bc23c8ab909e2638ca0",
    },
}
RECORDS = {"getting-high": "https://zenodo.org/api/records/3826103"}
"""Data sets whose files and md5 sums Zenodo is asked for: the ILD photons of arXiv:2005.05334."""
# The files have 167 to 174 MB; as their exact sizes are not known, a file of more than twice this size is refused.
LARGEST = 350_000_000  # bytes
_MOST_ANSWER, _ANSWER_PART = 2**22, 2**16  # bytes of a record's description, in all and at a time
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**16  # bytes that an interruption loses at most


def download(name: str, output: str | Path | None = None, base_url: str | None = None) -> list[Path]:
    """Download the files of a public data set, unless they exist undamaged.

    Args:
        output: the directory; None: that in the environment variable CALOGEN_DATA, else the user's cache.
        base_url: address of the folder with the files, or of the record in `RECORDS`; None: the published one.

    Returns:
        the files, in the order of `DATASETS` or of the record.

    Raises:
        DataFormatError: the name is unknown, the record is none, or a file is longer than the published one.
        TemporaryError: the server does not answer, the connection breaks, the received file is not the published one,
            or another process downloads into this directory.
        CalogenError: the server has no such file, or it cannot be written.
    """
    import pooch

    if name not in DATASETS and name not in RECORDS:
        raise DataFormatError(f"public data sets are {', '.join((*DATASETS, *RECORDS))}. Received: {name}")
    store = pooch.create(
        path=output or pooch.os_cache("calogen"),
        base_url=base_url or ZENODO,
        registry=DATASETS.get(name),
        env=None if output else "CALOGEN_DATA",
    )
    sizes = dict.fromkeys(store.registry, LARGEST)
    if name in RECORDS:
        sizes = _ask_record(store, store.abspath / f"{name}.json", base_url or RECORDS[name])
    missing = [file for file in sizes if not (store.abspath / file).is_file()]
    if missing:
        size = sum(sizes[file] for file in missing) // 1_000_000 if name in RECORDS else 175 * len(missing)
        tell(f"downloading {name} into {store.abspath}: {', '.join(missing)}, {size} MB or less; parts of them go on")
    return [_fetch(store, file, sizes[file]) for file in sizes]


def _ask_record(store: "pooch.Pooch", known: Path, url: str) -> dict[str, int]:
    """Enter a Zenodo record's files and md5 sums into the store; gives their sizes in bytes.

    Args:
        known: the file that keeps the answer, so that the record is asked for once.
        url: address of the record in Zenodo's interface for programs.
    """
    import requests

    if not known.is_file():
        try:
            with _request(url, 0) as response:
                answer = b"".join(islice(response.iter_content(_ANSWER_PART), _MOST_ANSWER // _ANSWER_PART))
        except requests.RequestException as error:
            raise _failed(url, error) from error
        require_writable_file(known, len(answer))
        with atomic_path(known) as temporary:
            temporary.write_bytes(answer)
    sizes: dict[str, int] = {}
    try:
        for item in json.loads(known.read_bytes())["files"]:
            file, checksum, size = str(item["key"]), str(item["checksum"]), int(item["size"])
            if (
                not re.fullmatch(r"[\w.+-]+", file)
                or file.startswith(".")
                or not re.fullmatch(r"md5:[0-9a-f]{32}", checksum)
            ):
                raise ValueError(f"{file!a:.100} {checksum!a:.50}")
            store.registry[file], store.urls[file], sizes[file] = checksum, str(item["links"]["self"]), size
    except (ValueError, TypeError, KeyError) as error:
        known.unlink(missing_ok=True)
        raise DataFormatError(
            f"{url} must list files with key, checksum (md5), size and links. Received: {error!r:.200}; check it"
        ) from error
    return sizes


def _fetch(store: "pooch.Pooch", file: str, largest: int) -> Path:
    """The path of a file, which is downloaded unless it exists already and is undamaged."""
    import requests

    path = store.abspath / file
    try:
        if _is_published(store, file, path):
            return path
        with directory_lock(store.abspath, sweep=False):  # keeps the part that an earlier call has left
            if not _is_published(store, file, path):  # another process may have downloaded it meanwhile
                _complete(store, file, largest)
    except requests.RequestException as error:
        raise _failed(store.get_url(file), error) from error
    except OSError as error:
        kind = TemporaryError if error.errno in TEMPORARY else CalogenError
        raise kind(
            f"cannot write {path}: {error.strerror or error}; free some space, or choose another "
            "directory with --output or CALOGEN_DATA"
        ) from error
    return path


def _is_published(store: "pooch.Pooch", file: str, path: Path) -> bool:
    import pooch

    algorithm, _, known = store.registry[file].partition(":")
    return path.is_file() and pooch.file_hash(str(path), alg=algorithm) == known


def _complete(store: "pooch.Pooch", file: str, largest: int) -> None:
    """Download the rest of `<file>.part`, and rename it if it is the published file."""
    import requests

    url, part = store.get_url(file), store.abspath / f"{file}.part"
    done = part.stat().st_size if part.exists() else 0
    with _request(url, done) as response:
        done = done if response.status_code == 206 else 0
        missing = int(response.headers.get("Content-Length", 0))
        _require_size(url, done + missing, part, largest)
        require_writable_file(store.abspath / file, missing)
        with open(part, "ab" if done else "wb") as target, progress(f"downloading {file}", missing, "bytes") as bar:
            if done:
                bar.note(f"after the {done} of an earlier call")
            received = done
            for chunk in response.iter_content(_CHUNK):
                received += len(chunk)
                _require_size(url, received, part, largest)
                target.write(chunk)
                target.flush()
                bar.advance(len(chunk))
    if part.stat().st_size < missing + done:
        raise requests.ConnectionError("the connection ended before the file did")
    if not _is_published(store, file, part):
        part.unlink()
        raise TemporaryError(
            f"{url} must have {store.registry[file]}. Received: a corrupted or another file, now deleted; run the "
            "command again (if that does not help, the server has another file)"
        )
    os.replace(part, store.abspath / file)


def _require_size(url: str, size: int, part: Path, largest: int) -> None:
    """Refuse a file that is longer than any published one, as a server may send without end."""
    if size > largest:
        part.unlink(missing_ok=True)
        raise DataFormatError(
            f"{url} must have at most {largest:,} bytes. Received: more, now deleted; check the address"
        )


def _failed(url: str, error: "requests.RequestException") -> CalogenError:
    """The error for a failed download; permanent if the server has no such file."""
    status = 0 if error.response is None else error.response.status_code
    permanent = 400 <= status < 500 and status not in (408, 425, 429)  # timeout, too early, too many requests
    permanent |= isinstance(error, ValueError)  # the address is malformed
    return (CalogenError if permanent else TemporaryError)(
        f"cannot download {url}: {_first_cause(error)}; check address and connection, then run the command again: it "
        "goes on where it stopped"
    )


def _request(url: str, start: int) -> "requests.Response":
    """Request the bytes from `start` on (status 206), or the whole file."""
    import requests

    headers = {"Accept-Encoding": "identity", "User-Agent": f"calogen/{calogen.__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    follows = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    if start and (response.status_code == 416 or (response.status_code == 206 and not follows)):
        response.close()  # the existing part is not the beginning of this file
        return _request(url, 0)
    try:
        response.raise_for_status()
    except requests.HTTPError:
        response.close()
        raise
    return response


def _first_cause(error: BaseException) -> BaseException:
    """The exception that was raised first, from which libraries have made others."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
