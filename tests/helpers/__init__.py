"""What several test modules use; nothing here is collected as a test."""

import os

# `make test` has a worker for each core. With threads of their own they wait for one another: the
# tests of the phase take 42 s of CPU instead of 11. Read by the libraries when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
