"""Public data sets from the web: checked, kept in a cache, resumed after an interruption."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import calogen
from calogen.errors import CalogenError, DataFormatError
from calogen.files import directory_lock
from calogen.progress import progress

if TYPE_CHECKING:
    import requests

ZENODO = "https://zenodo.org/records/8099322/files/"
# The CaloChallenge's dataset 1, https://doi.org/10.5281/zenodo.8099322. The md5 are those of a public loader of these
# files; they have not been compared with Zenodo's own.
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
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**16  # bytes: what an interruption loses at most


def download(name: str, output: str | Path | None = None, base_url: str = ZENODO) -> list[Path]:
    """Download the files of a public data set, except those that are there and unharmed.

    Args:
        name: one of `DATASETS`.
        output: the directory; None: the environment variable CALOGEN_DATA, else the user's cache.
        base_url: address of the folder that holds the files.

    Returns:
        the files, in the order of `DATASETS`.

    Raises:
        DataFormatError: an unknown name; a file that is not the published one.
        CalogenError: the server does not answer, or the files cannot be written.
    """
    import pooch

    if name not in DATASETS:
        raise DataFormatError(f"public data sets are {', '.join(DATASETS)}. Received: {name}")
    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        path=output or pooch.os_cache("calogen"),
        base_url=base_url,
        registry=DATASETS[name],
        env=None if output else "CALOGEN_DATA",
    )
    return [_fetch(store, file) for file in DATASETS[name]]


def _fetch(store: Any, file: str) -> Path:
    import requests

    try:
        return Path(store.fetch(file, downloader=_resume))
    except requests.RequestException as error:
        raise CalogenError(
            f"cannot download {store.get_url(file)}: {_first_cause(error)}; check address and connection, then run the "
            "command again: it goes on where it stopped"
        ) from error
    except OSError as error:
        raise CalogenError(
            f"cannot write {store.abspath / file}: {error.strerror or error}; free some space, or choose another "
            "directory with --output or CALOGEN_DATA"
        ) from error
    except ValueError as error:  # a wrong md5: pooch has deleted the file
        raise DataFormatError(
            f"{store.get_url(file)} must have {store.registry[file]}. Received: a corrupted or another file, now "
            "deleted; run the command again"
        ) from error


def _resume(url: str, output_file: str, store: Any) -> None:
    """Complete `<file>.part`, perhaps begun earlier, and give it to pooch to check."""
    import requests

    part = store.abspath / f"{url.rpartition('/')[2]}.part"
    with directory_lock(store.abspath):
        done = part.stat().st_size if part.exists() else 0
        with _request(url, done) as response:
            resumed = response.status_code == 206
            missing = int(response.headers.get("Content-Length", 0))
            with (
                open(part, "ab" if resumed else "wb") as file,
                progress(f"downloading {part.stem}", missing, "bytes") as bar,
            ):
                if resumed:
                    bar.note(f"after the {done} of an earlier call")
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    bar.advance(len(chunk))
        if part.stat().st_size < missing + (done if resumed else 0):
            raise requests.ConnectionError("the connection ended before the file did")
        os.replace(part, output_file)


def _request(url: str, start: int) -> "requests.Response":
    """Ask for what follows the first `start` bytes (status 206); else the whole file."""
    import requests

    headers = {"Accept-Encoding": "identity", "User-Agent": f"calogen/{calogen.__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    follows = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    if start and (response.status_code == 416 or (response.status_code == 206 and not follows)):
        response.close()  # the part is no beginning of this file
        return _request(url, 0)
    try:
        response.raise_for_status()
    except requests.HTTPError:
        response.close()
        raise
    return response


def _first_cause(error: BaseException) -> BaseException:
    """What happened, beneath what libraries made of it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
