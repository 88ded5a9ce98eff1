"""`python tests/bench/train.py [--out reports/bench/NAME.json] [options of plfeat bench train]`

Runs `plfeat bench train` twice: with the toy model and 24 classes, and with ViT-B-32's text tower (random weights; only
shapes matter) and 400 classes, where a plain trainer needs 16 GiB and most of a minute for a step on two cores.
Ratios within one run are what counts; the rates depend on the machine and on what else it does.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

CASES = {
    "toy, 24 classes": ["--repeats", "9"],
    "ViT-B-32, 400 classes": [
        *("--model", "ViT-B-32", "--pretrained", "random:0", "--classes", "400"),
        *("--members", "2", "--steps", "1", "--repeats", "3"),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    ours, theirs = parser.parse_known_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    found = {"date": datetime.now(UTC).date().isoformat(), "machine": machine}
    for name, case in CASES.items():
        command = [sys.executable, "-m", "plfeat_cli.main", "bench", "train", *case, *theirs, "--json"]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    text = json.dumps(found, indent=2)
    print(text)
    if ours.out:
        ours.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
