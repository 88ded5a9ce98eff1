"""`plfeat`: the entry point, and what an error looks like.

Exit codes: 0 ok, 1 failed while running, 2 usage, 3 data, 4 cache, 130 interrupted.
"""

import io
import os
import signal
import sys
import traceback
from typing import Annotated

import typer

from plfeat import __version__
from plfeat.errors import PlfeatError, first_line
from plfeat_cli import bench, caches, catalog, extract, output, work

_INTERRUPTED = 130

app = typer.Typer(
    name="plfeat",
    help="Extract CLIP features of action videos once, ablate in minutes, finetune at the end.",
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Exit codes: 0 ok, 1 failed while running, 2 usage, 3 data, 4 cache, 130 interrupted.",
)
for command in (work.demo, extract.extract, work.train, work.evaluate, work.predict, work.report):
    app.command(command.__name__.replace("evaluate", "eval"))(command)
app.add_typer(catalog.datasets, name="datasets")
app.add_typer(catalog.models, name="models")
app.add_typer(caches.cache, name="cache")
app.add_typer(bench.bench, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"plfeat {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del debug, version  # read by `main` and by the callback


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. Users never see a traceback unless they ask."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in arguments or bool(os.environ.get("PLFEAT_DEBUG"))
    try:
        code = app(arguments, standalone_mode=False)
        if code == _INTERRUPTED:  # typer catches Ctrl-C itself
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = _explain(error)
        print("plfeat: " + output.visible(" ".join(message.split())), file=sys.stderr)
        return code


def _explain(error: BaseException) -> tuple[str, int]:
    """What to say, in one line, and the exit code."""
    if isinstance(error, KeyboardInterrupt) or _stopped:
        return "interrupted; running the same command again continues (train: with --resume)", _INTERRUPTED
    if isinstance(error, PlfeatError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return error.format_message() + " (plfeat --help lists what there is)", error.exit_code
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}", 1
    return f"{type(error).__name__}: {first_line(error)} (plfeat --debug … shows where)", 1


_stopped: list[int] = []


def _stop(number: int, frame: object) -> None:
    """Ctrl-C and a polite kill end alike; whatever a library makes of the exception, the flag tells what happened. Once
    is enough: a second one would interrupt the tidying up."""
    _stopped.append(number)
    for either in (signal.SIGINT, signal.SIGTERM):
        signal.signal(either, signal.SIG_IGN)
    raise KeyboardInterrupt


def _open_what_is_closed() -> None:
    """Somebody may have closed stdin, stdout or stderr; other files must not take their places."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            setattr(sys, name, os.fdopen(number, mode))


def entry() -> None:
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a bar still gets its number
    if "OMP_WAIT_POLICY" not in os.environ:  # torch's threads wait awake for the next small step, but not for long
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # that would be against whatever else runs here
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(main())


if __name__ == "__main__":
    entry()
