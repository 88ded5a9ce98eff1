"""Files of the Hugging Face Hub: from its cache on this machine, else downloaded, else one line within seconds.

The hub's own client asks six times with growing pauses, and open_clip asks it for every name that the weights may have,
so on a machine without a network nothing was said for a minute. Here the first question decides whether there is one.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

from plfeat.errors import PlfeatError, first_line

TRIES = 3
_PAUSE = 1.0  # seconds between two tries
_PATIENCE = 5.0  # seconds after which there is no other
_LATE = 60.0  # seconds for the answer of somebody who has picked up

_WAYS = (
    "name a file that holds them (extract: --weights FILE; train, eval, predict: --pretrained FILE), or copy that "
    "folder from a machine that has it (HF_HOME says where it is looked for), or try things out with --model toy or "
    "--pretrained random:0"
)


def weights(what: str, record: Mapping[str, Any]) -> str:
    """The file of a tag's weights. One in the cache is taken without asking: published weights do not change."""
    repository, _, name = str(record.get("hf_hub", "")).rpartition("/")
    if "file" in record or not repository:
        return str(download_pretrained(dict(record)))
    names = _alternatives(name or HF_WEIGHTS_NAME)
    for cached in (_cached(repository, name) for name in names):
        if cached is not None:
            return str(cached)
    reason = silence(repository, names[0], TRIES)
    if reason:
        raise PlfeatError(f"{what} are not in {_folder(repository)}, and {reason}; {_WAYS}")
    return _download(what, _WAYS, lambda: download_pretrained(dict(record)))


def config(repository: str) -> tuple[Path, bool]:
    """The configuration of a repository; and whether the hub answers, or else all has to come from the cache."""
    cached = _cached(repository, HF_CONFIG_NAME)
    reason = silence(repository, HF_CONFIG_NAME, TRIES if cached is None else 1)
    if reason and cached is None:
        raise PlfeatError(
            f"model hf-hub:{repository} is not in {_folder(repository)}, and {reason}; copy that folder from a machine "
            "that has it (HF_HOME says where it is looked for), or name one with local-dir:PATH"
        )
    if reason and cached is not None:
        return cached, False
    what, next_step = f"the configuration of hf-hub:{repository}", "is that its name, and may you read it?"
    return Path(_download(what, next_step, lambda: download_pretrained_from_hf(repository, HF_CONFIG_NAME))), True


def silence(repository: str, name: str, tries: int) -> str:
    """Why the hub does not answer, or nothing. Asked by its own client, which knows about proxies and mirrors. Any
    answer will do, be it that there is no such file, or one that is slow to come, once somebody has picked up."""
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # one clear line of ours instead of every retry
    started, timeout = time.monotonic(), float(constants.HF_HUB_ETAG_TIMEOUT)
    while True:
        tries -= 1
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=timeout)
            return ""
        except HfHubHTTPError:
            return ""
        except OfflineModeIsEnabled:
            return "HF_HUB_OFFLINE forbids to download"
        except Exception as error:  # what it is called depends on the release of the hub's library
            if type(error).__name__ == "ReadTimeout" and timeout < _LATE:
                timeout = _LATE
            elif tries < 1 or time.monotonic() - started > _PATIENCE:
                return f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {first_line(error)[:120]})"
            else:
                time.sleep(_PAUSE)


def _download(what: str, next_step: str, download: Callable[[], str]) -> str:
    try:
        return str(download())
    except Exception as error:  # unknown, private, cut off: the hub's library has an exception for each
        raise PlfeatError(f"{what} could not be downloaded ({first_line(error)[:200]}); {next_step}") from error


def _folder(repository: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _cached(repository: str, name: str) -> Path | None:
    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def _alternatives(name: str) -> list[str]:
    """The names under which open_clip looks for the same weights, in its order."""
    safe = HF_SAFE_WEIGHTS_NAME if name == HF_WEIGHTS_NAME else str(Path(name).with_suffix(".safetensors"))
    return [safe, name]
