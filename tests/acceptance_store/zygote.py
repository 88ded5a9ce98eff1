"""Commands as processes that start at once: a process that has imported torch, and forks for each of them.

`python -m zygote` reads lines of JSON ({"command": […], "out": path, "err": path, "cwd": path}), answers each with the
pid of the child, and later, on a line of its own, with how it ended. Every child is the leader of its own group.
"""

import json
import os
import select
import signal
import sys


def serve() -> None:
    import av  # noqa: F401
    import h5py  # noqa: F401
    import open_clip  # noqa: F401
    import torch

    from plfeat_cli.main import main

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    waited, buffer = set[int](), b""
    answers.write(json.dumps({"ready": True}) + "\n")
    while True:
        ready, _, _ = select.select([0], [], [], 0.02)
        if ready:
            read = os.read(0, 65536)
            if not read:
                break
            buffer += read
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            asked = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become(asked, main)
            waited.add(pid)
            answers.write(json.dumps({"pid": pid}) + "\n")
        for pid in list(waited):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                waited.discard(pid)
                answers.write(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}) + "\n")
    for pid in waited:
        os.kill(pid, signal.SIGKILL)


def _become(asked: dict, main) -> None:  # type: ignore[no-untyped-def, type-arg]
    code = 1
    try:
        os.setsid()
        for number, path in ((1, asked["out"]), (2, asked["err"])):
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, number)
            os.close(target)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.chdir(asked["cwd"])
        code = main(asked["command"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
