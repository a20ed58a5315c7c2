"""MLflow's own pages: served from here, or by the server that holds the records."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.records.provenance import without_password
from harness.records.workspace import UI_PORT, Workspace


def ui_address(tracking_uri: str) -> str:
    """Return where a store's pages are: on its server, or where `harness ui` serves them."""
    server = without_password(tracking_uri)
    return server if server.startswith("http") else f"http://127.0.0.1:{UI_PORT}"


def serve_ui(workspace: Workspace, port: int) -> int:
    """Run MLflow's own UI on 127.0.0.1 until it is ended, and return its exit status."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", workspace.tracking_uri]
    command += ["--default-artifact-root", str(workspace.artifacts), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    # The server warns of its own dependencies' deprecations, which are not its user's.
    process = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        return 0
