"""`python tests/bench/extract.py [--out reports/bench/NAME.json] [options of plfeat bench extract]`

Runs `plfeat bench extract` twice: on clips that it makes itself (340x256, 10 s) and on toy clips (64x64, 2 s).
Ratios within one run are what counts; the rates depend on the machine and on what else it does.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    ours, theirs = parser.parse_known_args()
    plfeat = [sys.executable, "-m", "plfeat_cli.main"]
    with tempfile.TemporaryDirectory() as folder:
        toy = ["datasets", "make", "toy", "--out", f"{folder}/toy", "--videos", "480", "--quiet"]
        subprocess.run([*plfeat, *toy], check=True, capture_output=True)
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        found = {"date": datetime.now(UTC).date().isoformat(), "machine": machine}
        for name, more in {"clips like Kinetics": [], "toy clips": ["--root", f"{folder}/toy"]}.items():
            command = [*plfeat, "bench", "extract", *more, *theirs, "--json"]
            found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    text = json.dumps(found, indent=2)
    print(text)
    if ours.out:
        ours.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
