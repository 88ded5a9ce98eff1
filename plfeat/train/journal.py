"""A training's curve while it grows: `log.jsonl`, a line an epoch; TensorBoard or Weights & Biases if asked for."""

import json
import math
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from plfeat.errors import UsageError, first_line
from plfeat.train.fleet import Epoch

TRACKERS = ("tensorboard", "wandb")


class Journal:
    """Begins with the epochs that a resumed training already has."""

    def __init__(
        self,
        folder: Path,
        seeds: tuple[int, ...],
        curve: list[Epoch],
        track: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.seeds = seeds
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "log.jsonl").open("w", encoding="utf-8")
        self._tracker = _tracker(track, folder, settings or {})
        for epoch in curve:
            self.write(epoch)

    def write(self, epoch: Epoch) -> None:
        line: dict[str, Any] = {"epoch": epoch.epoch, "rate": epoch.rate, "loss": self._by_seed(epoch.loss_E)}
        if epoch.val_top1_E is not None:
            line["val_top1"] = self._by_seed(epoch.val_top1_E)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._tracker:
            values = {
                f"{kind}/seed-{seed}": x for kind in ("loss", "val_top1") for seed, x in line.get(kind, {}).items()
            }
            self._tracker.write(epoch.epoch, values)

    def _by_seed(self, values: list[float]) -> dict[str, float | None]:
        """The values by seed. JSON knows neither infinity nor NaN; they become null."""
        return {
            str(seed): value if math.isfinite(value) else None for seed, value in zip(self.seeds, values, strict=True)
        }

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._tracker:
            self._tracker.close()


class _TensorBoard:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # what it has of this training is written again
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("settings", f"```json\n{json.dumps(settings, indent=2)}\n```")

    def write(self, epoch: int, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import wandb

        try:
            self._run = wandb.init(project="plfeat", name=folder.name, dir=str(folder), config=settings)
        except wandb.Error as error:
            raise UsageError(
                f"--track wandb: {first_line(error)}; `wandb login`, or WANDB_MODE=offline to sync later"
            ) from error

    def write(self, epoch: int, values: dict[str, float | None]) -> None:
        self._run.log({name: value for name, value in values.items() if value is not None}, step=epoch)

    def close(self) -> None:
        self._run.finish()


def _tracker(name: str | None, folder: Path, settings: dict[str, Any]) -> _TensorBoard | _WandB | None:
    if name is None:
        return None
    try:
        return _TensorBoard(folder, settings) if name == "tensorboard" else _WandB(folder, settings)
    except ImportError as error:
        raise UsageError(f"--track {name} needs another package: pip install 'plfeat[tracking]'") from error
