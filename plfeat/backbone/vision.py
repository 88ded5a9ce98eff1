"""uint8 frames in, frame features out: the frozen vision tower, in batches of one fixed shape.

Shapes: K frames of one video, B batch, C channels, H W pixels, R all frames of a shard, D width.
"""

import copy
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn

from plfeat.backbone.pixels import Pixels
from plfeat.errors import UsageError

ALSO = ("pre", "patch")
"""What can be kept beside the projected features: the same before the projection, and every patch."""

_GPU_AHEAD = 2  # batches that a GPU may be behind us

Outputs = dict[str, torch.Tensor]


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
        self.pixels = Pixels(preprocess)
        self.device = torch.device(device)
        self.dtype: torch.dtype = getattr(torch, compute)
        tower = _Tower(model, also).to(self.device, self.dtype).eval()
        self._tower = torch.compile(tower) if compiled else tower
        on_gpu = self.device.type == "cuda"
        self._side = torch.cuda.Stream(self.device) if on_gpu else None
        self._events: deque[Any] = deque()
        cores = torch.get_num_threads()
        self._threads = None if on_gpu else ThreadPoolExecutor(cores, "encode", lambda: torch.set_num_threads(1))
        self.ahead = _GPU_AHEAD if on_gpu else cores

    def fit(self, frames_KHWC: NDArray[np.uint8]) -> torch.Tensor:
        """`[K, 3, size, size]` uint8 on the device."""
        with self.beside():
            return self.pixels.fit(self.pixels.load(frames_KHWC, self.device))

    def submit(self, full: torch.Tensor, filled: int) -> "Future[Outputs]":
        """A pass over a whole batch, sooner or later; its first `filled` frames count."""
        if self._threads is not None:
            return self._threads.submit(self._pass, full, filled)
        done: Future[Outputs] = Future()
        done.set_result(self._pass(full, filled))
        full.record_stream(torch.cuda.current_stream(self.device))
        self._events.append(torch.cuda.current_stream(self.device).record_event())
        return done

    def wait(self, done: "Future[Outputs]") -> None:
        """Until that pass is over, so that no more than `ahead` are under way."""
        done.result()
        if self._events:
            self._events.popleft().synchronize()

    def _pass(self, full: torch.Tensor, filled: int) -> Outputs:
        return {name: value[:filled] for name, value in self.forward(full).items()}

    def blank(self, count: int) -> torch.Tensor:
        with self.beside():
            return torch.zeros(count, 3, *self.pixels.size, dtype=torch.uint8, device=self.device)

    @torch.inference_mode()
    def forward(self, frames_BCHW: torch.Tensor) -> Outputs:
        """One pass: what is kept of each frame, on the device, as float32."""
        return self.tower(self.pixels.normalise(frames_BCHW))

    @torch.inference_mode()
    def tower(self, pictures_BCHW: torch.Tensor) -> Outputs:
        """The same for pictures that are already normalised."""
        return {name: value.float() for name, value in self._tower(pictures_BCHW.to(self.dtype)).items()}

    def encode(self, frames_BCHW: torch.Tensor, batch: int) -> torch.Tensor:
        """Features `[B, D]`, projected, not normalised."""
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
        self._passes: list[Future[Outputs]] = []

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
        return {name: torch.cat([output[name] for output in outputs]).cpu() for name in outputs[0]}

    def _encode(self) -> None:
        self.encoder.join()
        filled, self._filled = self._filled, 0
        full, self._buffer = self._buffer, self.encoder.blank(self.batch)
        self._passes.append(self.encoder.submit(full, filled))
        if len(self._passes) > self.encoder.ahead:
            self.encoder.wait(self._passes[-self.encoder.ahead - 1])


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
    fitted = torch.cat([encoder.fit(picture[None]) for picture in pictures])
    encoder.join()
    fast, slow = encoder.forward(fitted)["features"], encoder.tower(reference.to(encoder.device))["features"]
    cosines = F.cosine_similarity(fast, slow).tolist()
    return {
        "pictures": len(pictures),
        "cosine_min": round(min(cosines), 6),
        "cosine_mean": round(sum(cosines) / len(cosines), 6),
    }
