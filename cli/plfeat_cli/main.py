"""`plfeat`: the entry point, and what an error looks like.

Exit codes: 0 ok, 1 failed while running, 2 usage, 3 data, 4 cache, 130 interrupted.
"""

import os
import sys
from typing import Annotated

import typer

from plfeat import __version__
from plfeat.errors import PlfeatError
from plfeat_cli import catalog, work

_INTERRUPTED = 130

app = typer.Typer(
    name="plfeat",
    help="Extract CLIP features of action videos once, ablate in minutes, finetune at the end.",
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Exit codes: 0 ok, 1 failed while running, 2 usage, 3 data, 4 cache, 130 interrupted.",
)
for command in (work.demo, work.extract, work.train, work.evaluate, work.report):
    app.command(command.__name__.replace("evaluate", "eval"))(command)
app.add_typer(catalog.datasets, name="datasets")
app.add_typer(catalog.models, name="models")
app.add_typer(catalog.cache, name="cache")


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
    except PlfeatError as error:
        return _fail(str(error), error.exit_code, debug)
    except typer.TyperException as error:
        return _fail(error.format_message() + " (plfeat --help lists what there is)", error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; running the same command again continues", _INTERRUPTED, debug=False)
    except BrokenPipeError:
        return 0
    except Exception as error:
        said = (str(error).strip().splitlines() or ["no message"])[0]
        return _fail(f"{type(error).__name__}: {said} (plfeat --debug … shows where)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        raise
    print("plfeat: " + " ".join(message.split()), file=sys.stderr)
    return code


def entry() -> None:
    sys.exit(main())


if __name__ == "__main__":
    entry()
