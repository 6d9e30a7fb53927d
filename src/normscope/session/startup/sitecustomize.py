"""Imported by the child's Python before the script, because the parent put this folder first on PYTHONPATH.

Python itself then runs the script, so `__main__`, tracebacks, exit codes and signals are its own.
First everything that led here is undone: the script's environment and path are as without us. Nothing of the
standard library is imported that Python has not imported by itself: a module of that name beside the script comes first.
"""

import marshal
import os
import sys


def _start() -> None:
    order = os.environ.pop("NORMSCOPE_RUN", None)
    if order is None:
        return
    settings = marshal.loads(bytes.fromhex(order))
    if settings["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = settings["pythonpath"]
    # The very package that the parent runs, wherever the parent had it from.
    sys.path.insert(0, settings["package"])
    try:
        if "arm" in settings:
            from normscope.trials import child
        else:
            from normscope.session import child
    finally:
        sys.path.remove(settings["package"])
    child.start(settings)


_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if p != _here]
sys.path_importer_cache.pop(_here, None)
try:
    _start()
except Exception as problem:  # noqa: BLE001  the script must run whatever happens to us
    sys.stderr.write(f"normscope: this run is not observed: {type(problem).__name__}: {problem}\n")

# Now the user's own sitecustomize, if there is one; otherwise the import error that Python expects then.
del sys.modules["sitecustomize"]
import sitecustomize  # noqa: E402, F401  # pyright: ignore
