"""What several test modules use; nothing here is collected as a test."""

import os
import sys

# `make test` has a worker for each core. With threads of their own they wait for one another: the
# tests of the phase take 42 s of CPU instead of 11. Read by the libraries when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# jsonschema, which nbformat uses, imports this package if it is there: 38 grammars are compiled, a
# third of the time that collecting the tests takes. It checks a kind of address no notebook has.
sys.modules["rfc3987_syntax"] = None
