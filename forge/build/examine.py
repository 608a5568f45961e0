"""Everything that is wrong with a config, from every place that can tell: composing, lowering, the graph, the imports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import ForgeError
from forge.build.user_policy import policy_of
from forge.compose.cache import compose
from forge.compose.composer import compose_fresh
from forge.compose.lookups import Lookups
from forge.graph.check import check_graph, finding_of, in_order
from forge.graph.lower import lower
from forge.graph.replaced import replaced_objects
from forge.plan.findings import layout_findings, limit_findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.compose.project import Project
    from forge.graph.check import Finding

__all__ = ["examine"]


def examine(
    project: Project,
    name: str,
    overrides: Sequence[str | tuple[str, str]] = (),
    *,
    imports: bool = False,
    hydra_compat: bool = False,
    texts: Mapping[str, bytes] | None = None,
) -> list[Finding]:
    """All findings, sorted by file and line; ``imports`` and ``hydra_compat`` look for more.

    ``imports`` also imports what the config names, in a process of its own; ``hydra_compat`` adds what plain Hydra
    would make of the same files in another way. ``texts`` are contents that count in place of what those files hold.
    """
    problems: list[ForgeError] = []
    try:
        if texts:
            composed = compose_fresh(project, name, overrides, lookups=Lookups(texts), problems=problems)
        else:
            composed = compose(project, name, overrides, problems=problems)
        graph = lower(composed, problems=problems)
        arguments = composed.arguments
    except ForgeError as error:
        return in_order([finding_of(one) for one in (*problems, error)])
    policy = policy_of(project)
    folders = [folder for folder in project.source_folders if os.path.isdir(folder)]
    found = check_graph(
        graph,
        policy=policy,
        source_folders=folders,
        arguments=arguments,
        main=composed.meta.get("main"),
        problems=problems,
    )
    found += replaced_objects(composed)
    judged = {finding.key for finding in found}
    found += [finding for finding in limit_findings(graph, composed.main) if finding.key not in judged]
    found += layout_findings(graph, composed.main)
    if imports:
        from forge.build.inspected import check_imported  # starting a process is the rare case

        found += check_imported(graph, policy, folders)
    if hydra_compat:
        from forge.graph.hydra_compat import hydra_differences

        found += hydra_differences(composed, graph)
    return in_order(found)
