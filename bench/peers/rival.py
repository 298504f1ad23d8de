"""What the rivals in Python share: the conversation with run.mjs (see rival.mjs)."""

import json
import os
import sys
import time

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/peers/data")


def path(name):
    return os.path.join(DATA, name)


def serve(tasks):
    """Answers until run.mjs hangs up; tasks: name -> function that prepares and returns run() -> list of arrays."""
    import numpy as np

    ready = {}
    for line in sys.stdin:
        order = json.loads(line)
        task = order["task"]
        try:
            if task not in ready:
                ready[task] = tasks[task]()
            before = time.process_time()
            result = ready[task]()
            answer = {"cpuMs": 1e3 * (time.process_time() - before)}
            if order.get("save"):
                np.concatenate([np.asarray(a, np.float64).ravel() for a in result]).tofile(order["save"])
        except Exception as error:  # the reason becomes a row of the table
            answer = {"missing": f"{type(error).__name__}: {error}".splitlines()[0]}
        print("@" + json.dumps(answer), flush=True)
