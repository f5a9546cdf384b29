"""How many small faults in the science the tests notice: mutation testing.

uv run python -m benchmarks.mutants [--number 600] [--seed 42] [--again]

Mutants of the modules below are drawn by seed; each is tested by the tests that call the function that has the fault,
shortest first, until one fails or the time of :data:`LONGEST` is spent. A mutant whose tests take five times as long as
usual counts as noticed. What is known stands in ``build/mutants``, so a campaign may be ended at any time and goes on
when it is begun anew; a mutant is tested anew once its function changes, and with ``--again`` if it survived.

mutmut 3.8 runs the tests twice in one process, which Hypothesis refuses, and draws no sample; cosmic-ray 8.7 imports
everything anew for every mutant, 5 s each. Here every mutant is a fork of a process that has imported what the tests
need of other packages.
"""

import argparse
import contextlib
import csv
import importlib
import json
import math
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import types
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutation import Mutant, Planted, keys, mutants

REPOSITORY = Path(__file__).parents[1]
KEPT = REPOSITORY / "build/mutants"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.csv")
SOURCE = Path("src/skinbit")
AREAS = {
    "splits": ("data/splits.py", "data/lesions.py", "data/assignment.py"),
    "sampling": ("training/sampling.py",),
    "metrics": ("matching/scoring/*.py", "matching/labels.py"),
    "selection": ("matching/curves.py", "matching/methods.py"),
    "cuts": ("matching/cuts/*.py",),
    "linkage": ("matching/clustering/[fm]*.py", "matching/grouping.py"),
    "constraints": ("matching/clustering/constraints.py",),
    "calibration": ("matching/similarity/calibration.py", "matching/expected/*.py"),
}
TESTS = (
    "tests/matching/test_*.py",
    "tests/reference/test_*.py",
    "tests/data/test_splits.py",
    "tests/data/test_metadata.py",
    "tests/data/test_bad_input_matrix.py",
    "tests/training/test_sampling.py",
    "tests/decisions/test_labels.py",
)
LONGEST = 20.0
MOST_MEMORY = 10 << 30
PYTEST = ["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "--tb=no"]
QUICK = ["-m", "not long and not faults", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


@dataclass(frozen=True)
class Result:
    """What became of a mutant.

    Attributes:
        key: Of the mutant.
        fate: ``killed``, ``timeout`` or ``survived``.
        seconds: Wall time.
        tests: Number of tests chosen for it.
    """

    key: str
    fate: str
    seconds: float
    tests: int


class Callers:
    """Which functions of Skinbit each test calls, and how long it takes; a plugin of pytest."""

    def __init__(self) -> None:
        self.called: set[types.CodeType] = set()
        self.by_test: dict[str, tuple[float, set[str]]] = {}
        self.by_fixture: dict[int, set[str]] = {}
        self.before: set[str] = set()

    def _note(self, frame: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            self.called.add(frame.f_code)

    def _take(self) -> set[str]:
        source = str(REPOSITORY / SOURCE)
        called, self.called = self.called, set()
        codes = [code for code in called if code.co_filename.startswith(source)]
        return {
            f"{Path(code.co_filename).relative_to(REPOSITORY)}:{code.co_qualname.partition('.<locals>')[0]}"
            for code in codes
        }

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Note what a fixture of several tests calls, for all of them."""
        self.before |= self._take()
        try:
            return (yield)
        finally:
            self.by_fixture[id(fixturedef)] = self._take()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """Note what a test and its fixtures call."""
        self.called, self.before = set(), set()
        started = time.perf_counter()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            used = [each for several in item._fixtureinfo.name2fixturedefs.values() for each in several]
            shared = (self.by_fixture.get(id(each), set()) for each in used)
            functions = self._take().union(self.before, *shared)
            self.by_test[item.nodeid] = (time.perf_counter() - started, functions)


class Chosen:
    """Run some tests only, in their order, and let Hypothesis stop at the first counterexample; a plugin of pytest."""

    def __init__(self, tests: Iterable[str]) -> None:
        self.rank = {test: rank for rank, test in enumerate(tests)}

    def pytest_collection(self) -> None:
        """Search no smaller counterexamples."""
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings.default, phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the chosen tests."""
        items[:] = sorted((one for one in items if one.nodeid in self.rank), key=lambda one: self.rank[one.nodeid])


def modules() -> dict[Path, str]:
    """Return the modules in which faults are planted, each with its area."""
    return {
        path.relative_to(REPOSITORY): area
        for area, patterns in AREAS.items()
        for pattern in patterns
        for path in sorted((REPOSITORY / SOURCE).glob(pattern))
        if path.name != "__init__.py"
    }


def draw(number: int, seed: int) -> list[Mutant]:
    """Return mutants drawn at random, in the order in which they are drawn: that of the hashes of key and seed."""
    rank = {key: sha256(f"{seed} {key}".encode()).hexdigest() for path in modules() for key in keys(path)}
    least = set(sorted(rank, key=rank.__getitem__)[:number])
    drawn = [mutant for path in modules() for mutant in mutants(path, least)]
    return sorted(drawn, key=lambda mutant: rank[mutant.key])


def find_callers() -> tuple[dict[str, Any], list[str]]:
    """Return time and called functions of every test, and what tests import; where tests have changed they are run."""
    kept = KEPT / "tests.json"
    known = json.loads(kept.read_text()) if kept.exists() else {"files": {}, "modules": []}
    paths = [path for pattern in TESTS for path in sorted(REPOSITORY.glob(pattern))]
    hashes = {path.relative_to(REPOSITORY).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}
    if stale := [path for path, digest in hashes.items() if known["files"].get(path, {}).get("hash") != digest]:
        child = os.fork()
        if not child:
            callers = Callers()
            failed = pytest.main([*PYTEST, *QUICK, *stale], plugins=[callers])
            known["files"] |= {path: {"hash": hashes[path], "tests": {}} for path in stale}
            for test, (seconds, called) in callers.by_test.items():
                known["files"][test.partition("::")[0]]["tests"][test] = [seconds, sorted(called)]
            own = ("skinbit", "tests", "conftest", "__")
            known["modules"] = sorted({*known["modules"], *(name for name in sys.modules if not name.startswith(own))})
            if not failed:
                kept.write_text(json.dumps(known))
            os._exit(int(failed))
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit("the tests fail without any fault")
        known = json.loads(kept.read_text())
    return {test: told for path in hashes for test, told in known["files"][path]["tests"].items()}, known["modules"]


def choose_tests(tests: Mapping[str, tuple[float, list[str]]], mutant: Mutant) -> dict[str, float]:
    """Return the tests that call a mutant's function, shortest first, with their times.

    Of what stands outside of functions those that call any function of the module, or import it.
    """
    name, is_function = f"{mutant.path}:{mutant.function}", mutant.function.rpartition(".")[2].lstrip("_")[:1].islower()
    module = ".".join(mutant.path.with_suffix("").parts[1:])
    files = set() if is_function else {test.partition("::")[0] for test in tests}
    importing = {file for file in files if f"from {module} import" in (REPOSITORY / file).read_text()}
    calling = {
        test: seconds
        for test, (seconds, called) in tests.items()
        if name in called
        or test.partition("::")[0] in importing
        or (not is_function and any(each.startswith(f"{mutant.path}:") for each in called))
    }
    chosen: dict[str, float] = {}
    for test, seconds in sorted(calling.items(), key=lambda item: item[1]):
        if sum(chosen.values()) + seconds <= LONGEST:
            chosen[test] = seconds
    return chosen


def fate_of(mutant: Mutant, chosen: Mapping[str, float], folder: Path) -> str:
    """Run the chosen tests on a mutant in a fork and return its fate."""
    if not chosen:
        return "survived"
    child = os.fork()
    if not child:
        _test_planted(mutant, chosen, folder)
    ends = time.monotonic() + 10 + 5 * sum(chosen.values())
    while time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "killed" if os.waitstatus_to_exitcode(status) else "survived"
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def _test_planted(mutant: Mutant, chosen: Mapping[str, float], folder: Path) -> None:
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.meta_path.insert(0, Planted(mutant))
        files = dict.fromkeys(test.partition("::")[0] for test in chosen)
        code = int(pytest.main([*PYTEST, *QUICK, f"--basetemp={folder}", *files], plugins=[Chosen(chosen)]))
    finally:
        os._exit(code)


def interval(found: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson."""
    z, share = 1.959964, found / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return middle - half, middle + half


def report(drawn: Iterable[Mutant], results: Mapping[str, Result], equivalent: Container[str]) -> str:
    """Return the score as text, and the survivors that nobody has explained."""
    fates = [(mutant, results[mutant.key].fate) for mutant in drawn if mutant.key in results]
    counted = [(mutant, fate) for mutant, fate in fates if fate != "survived" or mutant.key not in equivalent]
    left = [mutant for mutant, fate in counted if fate == "survived"]
    total = len(counted)
    if not total:
        return "no mutant was tested"
    area_of = modules()
    by_area, left_by_area = (
        Counter(area_of[each.path] for each in some) for some in ([one for one, _ in counted], left)
    )
    lines = [f"survived: {mutant}" for mutant in left]
    lines += [f"{area}: {n - left_by_area[area]} of {n}" for area, n in by_area.items()]
    low, high = interval(total - len(left), total)
    lines.append(f"{len(fates) - total} of {len(fates)} change nothing ({EQUIVALENT.name})")
    lines.append(
        f"{total - len(left)} of {total} noticed: {1 - len(left) / total:.1%} (95 % interval {low:.1%} to {high:.1%})"
    )
    return "\n".join(lines)


def read_equivalent() -> dict[str, str]:
    """Return the reason why each mutant that changes nothing does not, by its key."""
    with EQUIVALENT.open(newline="") as file:
        return {row["key"]: row["reason"] for row in csv.DictReader(file)}


def campaign(number: int, seed: int, again: bool) -> str:
    """Test the mutants that are drawn and have no result yet; return the report."""
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / "results.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    known = {each.key: each for each in (Result(**json.loads(line)) for line in lines)}
    drawn, (tests, imported) = draw(number, seed), find_callers()
    import_all(imported)
    with tempfile.TemporaryDirectory() as folder, kept.open("a") as file:
        waiting = [mutant for mutant in drawn if mutant.key not in known]
        left = [mutant for mutant in drawn if mutant.key in known and known[mutant.key].fate == "survived"]
        for mutant in [*waiting, *(one for one in left if again and one.key not in read_equivalent())]:
            chosen, started = choose_tests(tests, mutant), time.monotonic()
            fate = fate_of(mutant, chosen, Path(folder) / "tests")
            result = Result(mutant.key, fate, round(time.monotonic() - started, 1), len(chosen))
            known[mutant.key] = result
            print(json.dumps(asdict(result)), file=file, flush=True)
            print(f"{fate} in {result.seconds} s: {mutant}", flush=True)
    return report(drawn, known, read_equivalent())


def import_all(names: Iterable[str]) -> None:
    """Import modules where they can be."""
    for name in names:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)


def main() -> None:
    """Run the campaign and print its score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=600, help="of mutants")
    parser.add_argument("--seed", type=int, default=42, help="of the draw")
    parser.add_argument("--again", action="store_true", help="test those anew that survived")
    arguments = parser.parse_args()
    os.chdir(REPOSITORY)
    print(campaign(arguments.number, arguments.seed, arguments.again))


if __name__ == "__main__":
    main()
