"""uint8 frames in, frame features out: the frozen vision tower, in batches of one fixed shape.

Shapes: K frames of one video, B batch, C channels, H W pixels, R all frames of a shard, D width.
"""

import copy
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn

from plfeat.backbone.pixels import Pixels
from plfeat.device import full_precision
from plfeat.errors import UsageError

ALSO = ("pre", "patch")
"""What can be kept beside the projected features: the same before the projection, and every patch."""

_GPU_AHEAD = 2  # batches that a GPU may be behind us

Outputs = dict[str, torch.Tensor]


class UnderWay(Protocol):
    """A pass that was begun."""

    def result(self) -> Outputs: ...


class FrameEncoder:
    """`fit` brings one video's frames to the model's size as uint8; `forward` turns a batch of those into features."""

    def __init__(
        self,
        model: nn.Module,
        preprocess: PreprocessCfg,
        device: str = "cpu",
        compute: str = "float32",
        also: tuple[str, ...] = (),
        compiled: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.pixels = Pixels(preprocess, self.device)
        self.dtype: torch.dtype = getattr(torch, compute)
        self._plain = _Tower(model, also).to(self.device, self.dtype).eval()
        self._tower = torch.compile(self._plain, dynamic=False) if compiled else self._plain
        on_gpu = self.device.type == "cuda"
        self._side = torch.cuda.Stream(self.device) if on_gpu else None
        cores = torch.get_num_threads()
        self._threads = None if on_gpu else ThreadPoolExecutor(cores, "encode", lambda: torch.set_num_threads(1))
        self.ahead = _GPU_AHEAD if on_gpu else cores

    def fit(self, frames_KHWC: NDArray[np.uint8]) -> torch.Tensor:
        """`[K, 3, size, size]` uint8 on the device."""
        with self.beside():
            return self.pixels.fit(self.pixels.load(frames_KHWC, self.device))

    def submit(self, full: torch.Tensor, filled: int) -> UnderWay:
        """A pass over a whole batch, sooner or later; its first `filled` frames count."""
        if self._threads is not None:
            return self._threads.submit(self._pass, full, filled)
        outputs, stream = self._pass(full, filled), torch.cuda.current_stream(self.device)
        full.record_stream(stream)
        # a shard's patches would not fit a GPU: every pass leaves it while the next one is computed
        return _Leaving({name: _leave(value) for name, value in outputs.items()}, stream.record_event())

    def _pass(self, full: torch.Tensor, filled: int) -> Outputs:
        return {name: value[:filled] for name, value in self.forward(full).items()}

    def blank(self, count: int) -> torch.Tensor:
        with self.beside():
            return torch.zeros(count, 3, *self.pixels.size, dtype=torch.uint8, device=self.device)

    @torch.inference_mode()
    def forward(self, frames_BCHW: torch.Tensor) -> Outputs:
        """One pass: what is kept of each frame, on the device, as float32. Compiled, it knows one shape: a batch's."""
        return self._look(self._tower, self.pixels.normalise(frames_BCHW))

    @torch.inference_mode()
    def tower(self, pictures_BCHW: torch.Tensor) -> Outputs:
        """The same for any number of pictures that are already normalised, never compiled."""
        return self._look(self._plain, pictures_BCHW)

    def _look(self, tower: Any, pictures_BCHW: torch.Tensor) -> Outputs:
        with full_precision(self.device):
            return {name: value.float() for name, value in tower(pictures_BCHW.to(self.dtype)).items()}

    def encode(self, frames_BCHW: torch.Tensor, batch: int) -> torch.Tensor:
        """Features `[B, D]`, projected, not normalised. The frames may come from anywhere."""
        if self._side is not None:
            self._side.wait_stream(torch.cuda.current_stream(self.device))
            frames_BCHW.record_stream(self._side)
        batches = Batches(self, batch)
        batches.add(frames_BCHW)
        return batches.finish()["features"]

    def beside(self) -> Any:
        """On a GPU: what is done within runs beside the encoding."""
        return torch.cuda.stream(self._side) if self._side is not None else nullcontext()

    def join(self) -> None:
        """On a GPU: what ran beside is done before what comes next."""
        if self._side is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._side)


class Batches:
    """Fitted frames in, in any portions; features out in the same order. Every pass has `batch` frames, the last one
    padded. On a CPU every pass has one thread, and as many run side by side as there are cores: no thread waits for
    another, and the features do not depend on how many there are. On a GPU passes are queued."""

    def __init__(self, encoder: FrameEncoder, batch: int) -> None:
        self.encoder = encoder
        self.batch = batch
        self._buffer = encoder.blank(batch)
        self._filled = 0
        self._passes: list[UnderWay] = []

    def add(self, frames_KCHW: torch.Tensor) -> None:
        while len(frames_KCHW):
            portion = frames_KCHW[: self.batch - self._filled]
            with self.encoder.beside():
                self._buffer[self._filled : self._filled + len(portion)] = portion
            self._filled += len(portion)
            frames_KCHW = frames_KCHW[len(portion) :]
            if self._filled == self.batch:
                self._encode()

    def finish(self) -> Outputs:
        """Everything that was added, on the CPU; afterwards the next shard can begin."""
        if self._filled or not self._passes:
            self._encode()
        outputs, self._passes = [done.result() for done in self._passes], []
        return {name: _in_a_row([output.pop(name) for output in outputs]) for name in list(outputs[0])}

    def _encode(self) -> None:
        self.encoder.join()
        filled, self._filled = self._filled, 0
        full, self._buffer = self._buffer, self.encoder.blank(self.batch)
        self._passes.append(self.encoder.submit(full, filled))
        if len(self._passes) > self.encoder.ahead:
            self._passes[-self.encoder.ahead - 1].result()  # no more than these are under way


class _Leaving:
    """A pass on a GPU, on its way to pinned memory; `event` is its end."""

    def __init__(self, pinned: Outputs, event: Any) -> None:
        self._outputs, self._event = pinned, event

    def result(self) -> Outputs:
        """Waits for this pass alone. What is pinned is needed for the next ones."""
        if self._event is not None:
            self._event.synchronize()
            self._outputs, self._event = {name: value.clone() for name, value in self._outputs.items()}, None
        return self._outputs


def _leave(value: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)


def _in_a_row(parts: list[torch.Tensor]) -> torch.Tensor:
    """`torch.cat`, but a part goes as soon as it was copied: all patches of a shard are too many to have twice."""
    whole, end = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:]), 0
    while parts:
        part = parts.pop(0)
        whole[end : end + len(part)] = part
        end += len(part)
    return whole


class _Tower(nn.Module):
    """The vision tower with its last step taken apart where that is asked for. A copy: the model stays as it is."""

    def __init__(self, model: nn.Module, also: tuple[str, ...]) -> None:
        super().__init__()
        visual: Any = copy.deepcopy(getattr(model, "visual", model))
        self.projection = None
        if "pre" in also:
            if not isinstance(getattr(visual, "proj", None), nn.Parameter):
                raise UsageError("this model's vision tower has no projection that could be left out (--also pre)")
            self.projection, visual.proj = visual.proj, None
        if "patch" in also:
            if not hasattr(visual, "output_tokens"):
                raise UsageError("this model's vision tower does not give its patches (--tokens patch)")
            visual.output_tokens = True
        self.visual = visual
        self.also = also

    def forward(self, pictures_BCHW: torch.Tensor) -> Outputs:
        out = self.visual(pictures_BCHW)
        pooled, patches = out if "patch" in self.also else (out, None)
        features = pooled if self.projection is None else pooled @ self.projection
        kept = {"features": features, "pre": pooled, "patch": patches}
        return {name: kept[name] for name in ("features", *self.also)}


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, what is done within leaves the cores to the encoding and to the decoders. (Torch's own threads spin
    while they wait for each other, which costs the others more than it gains.)"""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(wanted: str | None) -> str:
    """The GPU where there is one."""
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise UsageError(f"--device {wanted}: expected cpu, cuda or cuda:N")
    if wanted != "cpu" and int(wanted[5:] or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {wanted}: torch sees {torch.cuda.device_count()} CUDA devices here")
    return wanted


def deviation(encoder: FrameEncoder, preprocess: PreprocessCfg, pictures: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """Cosines between the features of `[H, W, 3]` pictures and those that open_clip's own transform leads to."""
    if not pictures:
        return {"pictures": 0}
    transform = image_transform_v2(preprocess, is_train=False)
    reference = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    with encoder.beside():  # written there, the pictures have to be put together there
        fitted = torch.cat([encoder.fit(picture[None]) for picture in pictures])
    encoder.join()
    fast, slow = encoder.tower(encoder.pixels.normalise(fitted)), encoder.tower(reference.to(encoder.device))
    cosines = F.cosine_similarity(fast["features"], slow["features"]).tolist()
    return {
        "pictures": len(pictures),
        "cosine_min": round(min(cosines), 6),
        "cosine_mean": round(sum(cosines) / len(cosines), 6),
    }
