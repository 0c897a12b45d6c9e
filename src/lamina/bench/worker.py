"""A side of the networks' benchmark in a process of its own: it waits, and times calls on request.

The process that asks and this one speak in lines of JSON: a job comes first, its answer says that
the side is ready; each ``{"calls": 3}`` after it is answered with the seconds of three calls. In
between it is blocked on its standard input. What libraries print goes to standard error.

This file needs the standard library alone: ``PYTHON -I worker.py`` runs ONNX Runtime and OpenVINO
in an environment that has neither lamina nor torch. `lamina.bench.torch_worker` serves the others.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

Job = dict[str, Any]
Call = Callable[[], Any]
Build = Callable[[Job], tuple[Callable[[], Call], dict[str, str]]]
"""Makes of a job what gets the call ready, and the versions of what runs it."""

WARM_UP = 3
"""Calls after the first one and before any that counts."""


def serve(build: Build) -> None:
    """Answer until standard input ends; an exception is answered as the side's reason.

    What gets the call ready is timed together with the first call, where compilers do their work.
    """
    answers = _keep_standard_output_for_answers()
    try:
        job = json.loads(sys.stdin.readline())
        prepare, versions = build(job)
        start = time.perf_counter()
        call = prepare()
        result = call()
        ready = time.perf_counter() - start
        output = None if job["training"] else result[0].tolist()
        for _ in range(WARM_UP):
            call()
    except Exception as error:
        _say(answers, {"error": reason(error)})
        return
    _forget_peak_memory()
    _say(answers, {"ready_s": ready, "output": output, "versions": versions})
    for line in sys.stdin:
        _say(answers, timed(call, json.loads(line)["calls"]))


def timed(call: Call, calls: int) -> dict[str, Any]:
    """The seconds of each call, the page faults of all, and the process's peak memory in bytes.

    One call before them is not counted: it wakes the threads and finds the caches as another side
    left them.

    Example:
        >>> answer = timed(lambda: None, 3)
        >>> len(answer["seconds"]), sorted(answer)
        (3, ['faults', 'peak_memory', 'seconds'])
    """
    call()
    seconds = []
    before = _faults()
    for _ in range(calls):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
        del result
    return {"seconds": seconds, "faults": _faults() - before, "peak_memory": peak_memory()}


def reason(error: BaseException) -> str:
    r"""An exception in one line.

    Example:
        >>> reason(ValueError("no such node\nat line 3"))
        'ValueError: no such node'
    """
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _keep_standard_output_for_answers() -> TextIO:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def _faults() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def _forget_peak_memory() -> None:
    """Let the peak start from now where the system can: what compiling took does not count."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory() -> int:
    """Bytes that were resident at most.

    The status file before ``getrusage``, whose figure a process inherits from the one that
    started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


# ---- the peers outside of PyTorch ---------------------------------------------------------------


def _onnxruntime(job: Job) -> tuple[Callable[[], Call], dict[str, str]]:
    import numpy as np
    import onnxruntime

    images = np.load(job["images"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    # Its threads spin while it runs, as they do by default, and not while others take their turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")

    def prepare() -> Call:
        session = onnxruntime.InferenceSession(job["onnx"], options, ["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, feed)[0]

    return prepare, {"onnxruntime": onnxruntime.__version__}


def _openvino(job: Job) -> tuple[Callable[[], Call], dict[str, str]]:
    import numpy as np
    import openvino

    images = np.load(job["images"])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job["threads"],
        "NUM_STREAMS": 1,
    }

    def prepare() -> Call:
        compiled = openvino.Core().compile_model(job["onnx"], "CPU", settings)
        request = compiled.create_infer_request()
        return lambda: request.infer([images], share_inputs=True, share_outputs=True)[0]

    return prepare, {"openvino": openvino.__version__}


BUILDERS: dict[str, Build] = {"onnxruntime": _onnxruntime, "openvino": _openvino}

if __name__ == "__main__":
    serve(lambda job: BUILDERS[job["side"]](job))
