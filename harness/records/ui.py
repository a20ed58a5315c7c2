"""MLflow's own pages: served from here, or by the server that holds the records."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import webbrowser
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

from harness.records.provenance import without_password
from harness.records.view import VIEW
from harness.records.workspace import Workspace

KIND = "workflowType=machine_learning"  # else pages open on those for language models
START_SECONDS = 120.0  # that a server may take to answer


def ui_address(workspace: Workspace) -> str:
    """Return where a store's pages are: on its server, or where `harness ui` serves them."""
    server = without_password(workspace.tracking_uri).rstrip("/")
    return server if server.startswith("http") else f"http://127.0.0.1:{workspace.ui_port}"


def study_page(experiment_id: str) -> str:
    """Return the address of a study's prepared view, from a server's root on."""
    query = f"{KIND}&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    return f"/#/experiments/{experiment_id}/runs?{query}"


def run_page(experiment_id: str, run_id: str, file: str | None = None) -> str:
    """Return the address of a run, or of a file that is attached to it, likewise."""
    place = "" if file is None else f"/artifacts/{file}"
    return f"/#/experiments/{experiment_id}/runs/{run_id}{place}?{KIND}"


def has_browser() -> bool:
    """Return whether a browser with windows can be expected here."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def serve_ui(workspace: Workspace, port: int, shown: str | None) -> int:
    """Run MLflow's own UI on 127.0.0.1 until it is ended, and return its exit status.

    Args:
        workspace: Whose records.
        port: Where it listens; reports link there from now on.
        shown: The address that a browser opens once the server answers; None: none is opened.
    """
    workspace.remember_ui_port(port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", workspace.tracking_uri]
    command += ["--default-artifact-root", str(workspace.artifacts), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    quiet = {
        "PYTHONWARNINGS": "ignore",  # of its own dependencies' deprecations
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for language models
    }
    # A session of its own: the server's own processes do not end with it.
    process = subprocess.Popen(command, env=os.environ | quiet, start_new_session=True)
    if shown is not None:
        Thread(target=_open_when_served, args=(process, shown), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _open_when_served(process: subprocess.Popen[bytes], address: str) -> None:
    """Open a browser as soon as somebody answers, unless the server ends before."""
    root, _, _ = address.partition("/#")
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            urlopen(root, timeout=5).close()
        except (URLError, OSError):
            time.sleep(0.5)
        else:
            webbrowser.open(address)
            return
