"""What is stored of a study when it is started: all that whoever goes on with it must keep."""

from __future__ import annotations

from harness.config import Config
from harness.run.execution import Execution
from harness.study.study import StudyConfig


class Definition(Config):
    """A study's file, how its runs are executed and scored, and where its records are."""

    study: StudyConfig
    execution: Execution
    """Device, threads and precision, the same for all runs."""
    precision_reason: str = ""
    """Why it was this precision, in one line."""
    experiment_id: str
    """MLflow's experiment."""
    parent_run_id: str
    """MLflow's parent run."""
    metric: str
    """Key of the figure that arms are compared by."""
    objective: str
    """Key of the figure that settings are chosen by."""
    floor: float | None
    """What real images score by `metric`; none where it has no such value."""
    dataset_digest: str
    """Of the data."""
    created: float
    """Seconds since 1970."""
    plugins: dict[str, str] = {}
    """Name -> hash of every plugin that was loaded."""
    extractor: str = ""
    """What scores are measured with; early records have it in `metric` alone."""
    extractor_back: str = ""
    """What those of translations back are, where there are any."""

    def pin(self, study: StudyConfig) -> StudyConfig:
        """Return a study with this one's feature extractors where its file names none.

        A dataset's default may become another one; a study keeps what it was started with.
        """
        started = {
            "extractor": self.extractor or self._early_extractor(),
            "extractor_back": self.extractor_back,
        }
        kept = {
            key: name
            for key, name in started.items()
            if name and not name.startswith("inception") and getattr(study.evaluate, key) is None
        }
        return study.model_copy(update={"evaluate": study.evaluate.model_copy(update=kept)})

    def _early_extractor(self) -> str:
        """Return it from the metric: records without it all ranked by `test/fid_NAME_SAMPLES`."""
        return self.metric.removeprefix("test/fid_").rpartition("_")[0]
