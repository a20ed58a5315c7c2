"""What is kept: MLflow's records, the workspace they lie in, and what code made them."""

import os

# Before MLflow is imported or its server started: no telemetry, no chatter, no job processes
# behind the UI.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
