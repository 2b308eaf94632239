"""What a plan makes of a file in Ganeti's text format: the same file, with instances on their new nodes.

Theory. Only what a move changes is written anew: an instance's primary node, and the free memory of its old and its new
node by the memory of an instance that runs. Disk changes hands only where its template keeps it on the node. So
Ganeti's own tools judge the end of a plan by all that the file says, also what a snapshot does not hold.
"""

from __future__ import annotations

from collections import defaultdict

from migrator.errors import Refused
from migrator.inventory.ganeti import Lines, copied, instance_name, node_of, parse, running, sections_of, size_mib
from migrator.model.facts import Link
from migrator.model.plan import Plan

FREE_MEMORY, FREE_DISK = 3, 5  # columns of a node
MEMORY, DISK, PRIMARY = 1, 2, 6  # columns of an instance


def after_plan(text: str, source: str, plan: Plan) -> str:
    """The file once every move of the plan has ended; `source` names it in errors.

    BadInput for a file that is none of Ganeti's, Refused for a plan that was made of another one.
    """
    parse(text, source, Link())
    sections = sections_of(text, source)
    nodes = {node_of(fields, where): fields[0] for where, fields in _fields(sections[1], source)}
    goals = {name: (way[0].source, way[-1].target) for name, way in plan.ways().items()}
    gone_mib: dict[tuple[str, int], int] = defaultdict(int)  # by node and column: what is freed there
    lines = text.splitlines()
    for (number, _), (where, fields) in zip(sections[2], _fields(sections[2], source), strict=True):
        name = instance_name(fields, where)
        if name not in goals:
            continue
        old, new = goals.pop(name)
        if fields[PRIMARY] != old:
            raise Refused(
                f"{where}: container {name} is on node {fields[PRIMARY]}, and the plan moves it from {old}: "
                "give the file that the plan's snapshot was imported from"
            )
        if new not in nodes:
            raise Refused(f"{source}: node {new}, to which the plan moves {name}, is not in this file")
        for node, sign in ((old, 1), (new, -1)):
            gone_mib[node, FREE_MEMORY] += sign * (size_mib(fields[MEMORY], where) if running(fields) else 0)
            gone_mib[node, FREE_DISK] += sign * (size_mib(fields[DISK], where) if copied(fields) else 0)
        fields[PRIMARY] = nodes[new]
        lines[number - 1] = "|".join(fields)
    if goals:
        raise Refused(f"{source}: container {min(goals)}, which the plan moves, is not in this file")
    for (number, _), (where, fields) in zip(sections[1], _fields(sections[1], source), strict=True):
        for column in (FREE_MEMORY, FREE_DISK):
            fields[column] = str(size_mib(fields[column], where) + gone_mib[node_of(fields, where), column])
        lines[number - 1] = "|".join(fields)
    return "".join(f"{line}\n" for line in lines)


def _fields(lines: Lines, source: str) -> list[tuple[str, list[str]]]:
    return [(f"{source}:{number}", line.split("|")) for number, line in lines]
