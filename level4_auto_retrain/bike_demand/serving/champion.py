"""What is live in an environment: the version behind its alias, and the one that answers beside it."""

from pathlib import Path

from bike_demand.errors import UserError
from bike_demand.serving.copies import Copies
from bike_demand.serving.live import Live, Other
from bike_demand.serving.model import Model
from bike_demand.settings import SERVING
from bike_demand.tracking import CHAMPION, DEPLOYMENT_TAG, Tracking, Version


class Champion:
    """Loads what the registry's aliases say."""

    def __init__(
        self, tracking: Tracking, alias: str = CHAMPION, folder: Path = SERVING / "production"
    ) -> None:
        self._tracking, self._alias = tracking, alias
        self._copies = Copies(tracking, folder)

    def load(self, known: Live | None = None) -> tuple[Live | None, str | None]:
        """What is live, which is `known` where nothing changed, and None where nothing is; and what is wrong
        with the other model, which then does not answer: the live one does not depend on it.

        Raises UserError or OSError where the registry does not answer or the live version is no good.
        """
        arms = self._tracking.arms(self._alias)
        if arms is None:
            return None, None
        model = self._loaded(arms.shown, known)
        other, problem = None, None
        if arms.other is not None and arms.role is not None:
            try:
                beside = self._loaded(arms.other, known)
                deployment = arms.other.tags.get(DEPLOYMENT_TAG, "")
                other = Other(beside, deployment, arms.role, arms.share, arms.salt)
            except (UserError, OSError) as error:
                problem = f"the {arms.role} does not answer: {error}"
        live = Live(model, arms.shown.tags.get(DEPLOYMENT_TAG, ""), other)
        if live == known:
            return known, problem
        if known is None or (live.model, live.deployment) != (known.model, known.deployment):
            self._copies.remember(live)
        return live, problem

    def current(self, known: Live | None = None) -> tuple[Live | None, str | None]:
        """What to answer with, and what is wrong where that is not what the registry says.

        Then it is `known` or, without it, the last version that went live here. None: nothing was released.
        """
        try:
            live, problem = self.load(known)
        except (UserError, OSError) as error:
            return known or self._copies.last(), str(error)
        if live is None and known is not None:
            return known, "no version is live in the registry any more; release one"
        return live, problem

    def _loaded(self, version: Version, known: Live | None) -> Model:
        """The version's model, which may be loaded already: a challenger that becomes champion is."""
        if known is not None:
            for model in (known.model, known.other.model if known.other else known.model):
                if (model.version, model.digest) == (str(version.number), version.digest):
                    return model
        return self._copies.load(version)
