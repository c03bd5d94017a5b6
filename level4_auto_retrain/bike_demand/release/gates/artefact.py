"""Gate: the file that would go live is, bit by bit, the one that was registered."""

from bike_demand.handoff import CARD_FILE, MODEL_FILE, SUMS_FILE, read_handoff
from bike_demand.release.gates.case import Case, Finding


def is_the_registered_file(case: Case) -> Finding:
    """Compares the run's files with their checksums, and the model's digest with the registered one.

    Raises UserError, with the file at fault, where they are not whole.
    """
    card = read_handoff(case.handoff(case.version.run_id)).card
    evidence = {
        "registered": case.version.digest,
        "found": card.version,
        "files": [MODEL_FILE, CARD_FILE, SUMS_FILE],
    }
    if card.version != case.version.digest:
        return Finding(
            False, f"registered was {case.version.digest}, but its run keeps {card.version}", evidence
        )
    return Finding(True, f"digest {card.version}", evidence)
