"""Keeps what was asked and answered, at the cost of a few appends for a request."""

from bike_demand.prediction_log.writer import PredictionLog
from bike_demand.serving.answers import Answers
from bike_demand.serving.lines import Answered, Lines
from bike_demand.serving.metrics import Metrics

FLUSH_SECONDS = 1.0  # at most


class Recorder:
    """Keeps what was answered: in the prediction log, in the metrics, and as lines on standard output.

    Each of them may be left out. But for `flush` nothing here waits for a disk, a database or a reader.
    """

    def __init__(
        self,
        metrics: Metrics | None = None,
        log: PredictionLog[Answers] | None = None,
        lines: Lines | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._log, self._lines = log, lines

    def answered(self, answers: Answers) -> None:
        """Keep the answers to a request to predict."""
        if self._log is not None:
            self._log.add(answers, len(answers.rows))
        live = answers.live
        for who in set(answers.variants):
            model = live.other.model if who == "challenger" and live.other else live.model
            self.metrics.predictions(model.version, who, answers.variants.count(who))
        if answers.replaced is not None:
            self.metrics.replaced([field for each in answers.replaced if each for field in each])

    def flush(self) -> None:
        """Have in the prediction log what was answered so far, and take over what is normal now, if that is a
        matter of moments.
        """
        if self._log is not None:
            self._log.flush(FLUSH_SECONDS)

    def request(self, answered: Answered) -> None:
        """Keep that a request was answered."""
        self.metrics.request(answered.route, answered.status, answered.seconds)
        if self._lines is not None:
            self._lines.request(answered)

    def sync(self) -> None:
        """Bring the numbers of the logs into the metrics."""
        if self._log is not None:
            lost = self._lines.lost if self._lines else 0
            self.metrics.log(self._log.counts(), self._log.problem is not None, lost)
