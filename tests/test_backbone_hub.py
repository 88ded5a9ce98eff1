"""Weights of the hub without a hub: from its cache at once, or one line after a few tries. A real server on this
machine stands for the hub, and counts what it is asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import open_clip
import pytest
from huggingface_hub import constants
from safetensors.torch import save_file

from plfeat.backbone import hub
from plfeat.backbone.load import Backbone, load
from plfeat.backbone.plan import plan
from plfeat.errors import PlfeatError
from plfeat_cli.main import main

RECORD = {"hf_hub": "someone/some-clip/"}
FOLDER = "models--someone--some-clip"
CONTENT = b"weights of a published model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """`files` are there; everything else is not. The first `hung_up` questions get no answer at all, the first `late`
    ones after two seconds."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.hung_up = self.late = 0
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Nobody wants to read of those who did not wait for an answer."""


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        if content := self._content():
            self._send(content)

    def do_GET(self) -> None:
        if content := self._content():
            self._send(content)
            self.wfile.write(content)

    def _content(self) -> bytes | None:
        if "/resolve/" in self.path:  # the hub's library asks for other things too, about itself
            self.server.asked.append(f"{self.command} {self.path}")
        number = len(self.server.asked)
        if number <= self.server.hung_up:
            self.close_connection = True
            return None
        if number <= self.server.late:
            time.sleep(2)
        content = self.server.files.get(self.path.removeprefix("/someone/some-clip/resolve/main/"))
        if content is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
        return content

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        for name, value in {"ETag": '"abc"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        _lives_at(f"http://127.0.0.1:{server.server_port}", tmp_path, monkeypatch)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed(server: Hub) -> Hub:
    """A network through which nothing comes."""
    server.hung_up = 10**6
    return server


def _lives_at(endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_ETAG_TIMEOUT say to a new process."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    url = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(hub, "_PAUSE", 0.0)


def _cache(folder: Path, **files: Callable[[Path], object]) -> Path:
    """As the hub's own library lays files down."""
    place = folder / "hub" / FOLDER
    snapshot = place / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    for name, write in files.items():
        write(snapshot / name.replace("__", "."))
    return snapshot


def test_without_a_network_the_hub_is_asked_three_times_and_every_way_out_is_named(closed: Hub, tmp_path: Path) -> None:
    with pytest.raises(PlfeatError) as caught:
        load(plan("ViT-B-32", "openai"))
    said = str(caught.value)
    assert len(closed.asked) == hub.TRIES == 3
    for fact in ("'openai' of ViT-B-32", str(tmp_path / "hub" / "models--timm--vit_base_patch32"), closed_at(closed)):
        assert fact in said
    for way in ("--weights FILE", "--pretrained FILE", "HF_HOME", "--model toy", "--pretrained random:0"):
        assert way in said
    assert "\n" not in said


def closed_at(server: Hub) -> str:
    return f"http://127.0.0.1:{server.server_port} cannot be reached"


def test_that_is_said_before_a_video_is_opened_or_a_folder_made(
    closed: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "videos" / "a class" / "a video.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"whoever opens this says so")
    command = ["extract", "--dataset", "folder", "--root", str(tmp_path / "videos"), "--cache", str(tmp_path / "cache")]
    assert main([*command, "--quiet"]) == 1
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert "--weights FILE" in said
    assert not (tmp_path / "cache").exists()


def test_where_downloads_are_forbidden_nobody_is_asked(closed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PlfeatError, match="HF_HUB_OFFLINE forbids to download; name a file"):
        hub.weights("weights", RECORD)
    assert closed.asked == []


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_weights_in_the_cache_are_taken_without_asking(closed: Hub, tmp_path: Path, name: str) -> None:
    snapshot = _cache(tmp_path, **{name.replace(".", "__"): lambda path: path.write_bytes(CONTENT)})
    assert hub.weights("weights", RECORD) == str(snapshot / name)
    assert closed.asked == []


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_slow_network_still_downloads(server: Hub, tmp_path: Path, name: str) -> None:
    server.files, server.late = {name: CONTENT}, 1
    found = Path(hub.weights("weights", RECORD))
    assert found.is_relative_to(tmp_path / "hub" / FOLDER)
    assert (found.name, found.read_bytes()) == (name, CONTENT)


def test_a_network_that_fails_once_still_downloads(server: Hub) -> None:
    server.files, server.hung_up = {"open_clip_model.safetensors": CONTENT}, 1
    assert Path(hub.weights("weights", RECORD)).read_bytes() == CONTENT


def test_what_the_hub_does_not_have_is_not_called_a_missing_network(server: Hub) -> None:
    with pytest.raises(PlfeatError, match=r"weights 'x' could not be downloaded \(.*404.*; name a file") as caught:
        hub.weights("weights 'x'", RECORD)
    assert "cannot be reached" not in str(caught.value)


def test_a_model_of_the_hub_is_loaded_from_its_cache_alone(closed: Hub, toy_backbone: Backbone, tmp_path: Path) -> None:
    config = {"model_cfg": open_clip.get_model_config("toy"), "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    state = {name: value.contiguous() for name, value in toy_backbone.model.state_dict().items()}
    _cache(
        tmp_path,
        open_clip_config__json=lambda path: path.write_text(json.dumps(config)),
        open_clip_model__safetensors=lambda path: save_file(state, path),
    )
    found = load(plan("hf-hub:someone/some-clip"))
    for side in ("image_sha256", "text_sha256"):
        assert found.about[side] == toy_backbone.about[side]
    assert found.about["model"] == "hf-hub:someone/some-clip"
    assert len(closed.asked) == 1


def test_a_model_of_the_hub_that_is_nowhere_is_one_line(closed: Hub, tmp_path: Path) -> None:
    with pytest.raises(PlfeatError) as caught:
        plan("hf-hub:someone/some-clip")
    assert len(closed.asked) == hub.TRIES
    for fact in (str(tmp_path / "hub" / FOLDER), closed_at(closed), "HF_HOME", "local-dir:PATH"):
        assert fact in str(caught.value)
