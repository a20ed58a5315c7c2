"""Writing a study up: from MLflow's records to tables, figures and words."""

from harness.results.report.write import Report, write_report

__all__ = ["Report", "write_report"]
