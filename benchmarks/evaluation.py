"""Processor seconds that evaluating a finished study takes: figures of folds, transfer, distractors, pools and reports.

``python -m benchmarks.evaluation --env ham10000`` runs the nodes of ``evaluation`` anew, on the embeddings and compared
keypoints that the study has stored: everything but features, views, keypoints and trainings.
"""

import argparse
import os
import resource
import time
from pathlib import Path

from benchmarks.timing import describe_machine, peak_resident_megabytes

_STORED = ("compare_keypoints", "combine_")
"""Nodes whose outputs the study has stored, by parts of their names."""


def processor_seconds() -> float:
    """Return the time that this process and its ended children have spent on processors."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def evaluate(project: Path, env: str) -> int:
    """Evaluate a study.

    Args:
        project: Its folder.
        env: Its environment.

    Returns:
        Number of nodes that ran.
    """
    os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(project / "conf/logging.yml"))
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    from skinbit.runtime.session import StudySession

    bootstrap_project(project)
    parameters = {"tracking": {"enabled": False}}
    with StudySession.create(project_path=project, env=env, runtime_params=parameters) as session:
        session.load_context()  # tells the registry which experiments there are
        nodes = [node.name for node in pipelines["evaluation"].nodes if not any(part in node.name for part in _STORED)]
        session.run(pipeline_names=["evaluation"], node_names=nodes)
    return len(nodes)


def main() -> None:
    """Print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="ham10000")
    given = parser.parse_args()
    print(describe_machine("numpy", "scipy"), flush=True)
    started, used = time.perf_counter(), processor_seconds()
    n_nodes = evaluate(Path.cwd(), given.env)
    seconds, used = time.perf_counter() - started, processor_seconds() - used
    print(
        f"{n_nodes} nodes: {used:.0f} processor seconds, {seconds:.0f} s, {peak_resident_megabytes():,.0f} MB at most"
    )


if __name__ == "__main__":
    main()
