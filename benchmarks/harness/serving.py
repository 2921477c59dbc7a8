"""A worker's side of the protocol: one JSON object per line, requests on standard input, answers on standard output.

    {"do": "build", "case": {...}}  ->  {"seconds": 1.5}

A request that fails is answered {"error": MESSAGE}. The worker ends when its input is closed. This module needs only
the standard library, because workers of other implementations run in environments without JAX.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Handlers = Mapping[str, Callable[..., Mapping[str, Any]]]
# JAX's status code and PyTorch's exception class.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OutOfMemoryError")


def serve(handlers: Handlers) -> None:
    """Answers requests until there are no more; `do` selects the handler, the other keys are its arguments."""
    # Libraries print to standard output: that goes to standard error instead, and answers keep the original stream.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answer(handlers, json.loads(line))) + "\n")
        answers.flush()


def answer(handlers: Handlers, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a handler's answer, or {"error": one line} if it raises."""
    arguments = {name: value for name, value in request.items() if name != "do"}
    try:
        return handlers[request["do"]](**arguments)
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        return {
            "error": "out of memory" if any(name in message for name in _OUT_OF_MEMORY) else message.splitlines()[0]
        }
