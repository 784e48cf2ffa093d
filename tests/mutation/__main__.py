"""Put each mutant into a copy of the project and see whether the tests notice: `make mutants`.

First the same tests run on the project as it is, for a test that fails anyway kills nothing.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mutation.mutant import Mutant
from mutation.mutants import MUTANTS
from mutation.running import Outcome, prepare, run_mutant, run_unchanged


def main() -> int:
    """Run the mutants asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose title holds one of these")
    parser.add_argument("-n", "--workers", type=int, default=2, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="print their titles and end")
    given = parser.parse_args()
    chosen = [
        mutant
        for mutant in MUTANTS
        if not given.words or any(word in mutant.title for word in given.words)
    ]
    if given.list or not chosen:
        print("\n".join(mutant.title for mutant in chosen) or "no mutant has such a title")
        return 0 if chosen else 2

    prepare()
    started = time.monotonic()
    with ThreadPoolExecutor(given.workers) as workers:
        try:
            if not sound_without_mutants(workers, chosen):
                return 1
            outcomes = []
            for mutant, outcome in zip(chosen, workers.map(run_mutant, chosen), strict=True):
                show(judge(mutant, outcome), outcome, mutant.title)
                outcomes.append(outcome)
        except KeyboardInterrupt:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return summarise(chosen, outcomes, time.monotonic() - started)


def sound_without_mutants(workers: ThreadPoolExecutor, chosen: Sequence[Mutant]) -> bool:
    """Tell whether all tests that mutants name pass on the project as it is."""
    selections = list(dict.fromkeys(mutant.tests for mutant in chosen))
    sound = True
    for tests, outcome in zip(selections, workers.map(run_unchanged, selections), strict=True):
        show(outcome.verdict, outcome, f"no mutant: {' '.join(tests)}")
        if outcome.verdict != "passed":
            print(outcome.output)
            sound = False
    return sound


def show(word: str, outcome: Outcome, what: str) -> None:
    """Print one line of the table."""
    print(f"{word:9} {outcome.seconds:5.1f} s  {what}", flush=True)


def judge(mutant: Mutant, outcome: Outcome) -> str:
    """Say in a word what became of a mutant; what is wrong is in capitals."""
    words = {
        "passed": "excused" if mutant.survives else "SURVIVED",
        "failed": "NO EXCUSE" if mutant.survives else "killed",
        "broken": "BROKEN",
    }
    return words[outcome.verdict]


def summarise(chosen: Sequence[Mutant], outcomes: Sequence[Outcome], seconds: float) -> int:
    """Print what is wrong and the sum of it; returns the exit code."""
    words = [judge(mutant, outcome) for mutant, outcome in zip(chosen, outcomes, strict=True)]
    for mutant, outcome, word in zip(chosen, outcomes, words, strict=True):
        if word == "excused":
            print(f"{mutant.title} survives: {mutant.survives}")
        elif word == "SURVIVED":
            print(f"{mutant.title}: {' '.join(mutant.tests)} did not notice")
        elif word == "NO EXCUSE":
            print(f"{mutant.title} is killed: the list need not say why it survives")
        elif word == "BROKEN":
            print(f"{mutant.title}: its tests could not run\n{outcome.output}")
    killed, excused = words.count("killed"), words.count("excused")
    wrong = len(words) - killed - excused
    print(
        f"{len(words)} mutants in {seconds:.0f} s: {killed} killed, {excused} survive with a reason, "
        f"{wrong} wrong"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
