"""The commands that measure."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from plfeat_cli import output
from plfeat_cli.options import AsJson, ConfigFile, Pretrained, Quiet, Set

bench = typer.Typer(help="How fast it is here.")


@bench.command("extract")
def bench_extract(
    dataset: Annotated[str, typer.Option(help="Whose videos to take, with --root.")] = "folder",
    root: Annotated[Path | None, typer.Option(help="Videos to measure on. Default: clips made for it.")] = None,
    clips: Annotated[int, typer.Option(help="How many clips to make.", min=1)] = 96,
    model: Annotated[str, typer.Option(help="An open_clip model, or toy.")] = "toy",
    pretrained: Pretrained = None,
    workers: Annotated[int | None, typer.Option(help="Decoding processes. Default: one a core.", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Rounds; medians are told.", min=1)] = 5,
    sets: Set = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Decoding, encoding, both together, and the reader, against their limits and against a plain extractor."""
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    from plfeat.flows.extract import prepare
    from plfeat.flows.given import check_model
    from plfeat.means import Means
    from plfeat.presets import extract_config
    from plfeat.progress import load_torch

    settings = extract_config(config, sets or (), {"dataset": dataset, "model": model, "pretrained": pretrained})
    check_model(settings)
    with output.progress(quiet) as tick, ExitStack() as made:
        load_torch(tick)
        from plfeat.bench.clips import own_clips
        from plfeat.bench.extracting import Setup, bench_extract
        from plfeat.bench.reading import bench_read

        place = root or made.enter_context(own_clips(clips, tick))
        work = prepare(settings, place, Path(made.enter_context(TemporaryDirectory())), tick)
        means = Means(workers=workers or Means().workers)
        rates = bench_extract(Setup(work.kit, work.chunks(), work.found.files, means), repeats, tick)
        reading = bench_read(repeats, tick)
    if as_json:
        output.result({"extract": asdict(rates), "read": asdict(reading)})
        return
    output.table(
        [
            ["alone and together", "", "ratio"],
            [f"decode only, {rates.workers} workers", f"{rates.decode_videos:.1f} videos/s", ""],
            [f"encode only, {rates.device}", f"{rates.encode_frames:.0f} frames/s", _share(rates.flops_share)],
            ["pipeline", f"{rates.pipeline_videos:.1f} videos/s", f"{rates.of_limit:.2f} of the limit"],
            ["", "", f"{rates.of_encoder:.2f} of the encoder alone"],
            ["plain extractor", f"{rates.naive_videos:.1f} videos/s", f"we are {rates.of_naive:.1f} x as fast"],
            ["memcpy", f"{reading.memcpy_bytes / 1e9:.1f} GB/s", ""],
            ["a take again", "", f"{reading.of_memcpy:.2f} of memcpy"],
            ["a take, checksums checked", "", f"{reading.first_of_memcpy:.2f} of memcpy"],
            ["videos in random order", f"{reading.random_videos:,.0f} videos/s", ""],
            ["the same, in batches", f"{reading.batched_videos:,.0f} videos/s", ""],
        ]
    )


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} % of the chip's bf16 peak"


@bench.command("train")
def bench_train(
    model: Annotated[str, typer.Option(help="An open_clip model, or toy.")] = "toy",
    pretrained: Pretrained = None,
    classes: Annotated[int, typer.Option(help="How many classes.", min=2)] = 24,
    frames: Annotated[int, typer.Option(help="Frames of a video.", min=1)] = 8,
    members: Annotated[int, typer.Option(help="Of the fleet.", min=2)] = 16,
    steps: Annotated[int, typer.Option(help="Steps in a round.", min=1)] = 8,
    repeats: Annotated[int, typer.Option(help="Rounds; medians are told.", min=1)] = 5,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")] = None,
    sets: Set = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """A step of training: as most cached trainers take it, alone, in a fleet, and with frames encoded on the way."""
    from plfeat.presets import train_config
    from plfeat.progress import load_torch

    settings = train_config(None, config, sets or ())
    with output.progress(quiet) as tick:
        load_torch(tick)
        from plfeat.bench import training
        from plfeat.flows.backbones import open_backbone

        task = training.Task(classes, frames, members, steps)
        rates = training.bench_train(settings, lambda: open_backbone(model, pretrained), task, repeats, device, tick)
    if as_json:
        output.result(asdict(rates))
        return
    said = {
        "naive": f"naive: h5py, {classes} classes, 77 tokens",
        "one": "a fleet of one",
        "fleet": f"a fleet of {members}",
        "live": "live: frames encoded in every step",
    }
    ratios = {
        "one": f"{rates.one_of_naive:.1f} x naive, {rates.one_of_live:.1f} x live",
        "fleet": f"{rates.fleet_of_one:.2f} x a fleet of one",
    }
    output.table(
        [
            ["one step, by way", "samples/s", "GFLOP a step", "ratio"],
            *(
                [text, f"{rates.samples[name]:.0f}", f"{rates.flops[name] / 1e9:.1f}", ratios.get(name, "")]
                for name, text in said.items()
            ),
            [
                f"one large product, {rates.device}",
                "",
                f"{rates.matmul_flops / 1e9:.0f} /s",
                f"a fleet of one reaches {100 * rates.one_of_matmul:.0f} %",
            ],
        ]
    )
