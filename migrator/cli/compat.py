"""migrator compat: which nodes are alike enough for containers to go from one to the other, check by check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import clean, fail, json_option, print_json, print_table
from migrator.cli.plan import facts, known_nodes, snapshot_option
from migrator.cli.shared import open_fleet, run_async
from migrator.cli.waiving import waive_check_option, waived_checks
from migrator.errors import BadInput, FailedSafe, quoted

if TYPE_CHECKING:
    from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
    from migrator.model.matrix import Compared, Kind

KINDS_MAX = 12  # a wider matrix is not read by anyone: then only the pairs that do not go together are listed
WORDS_CHARS_MAX = 60


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two nodes compared, and what else keeps a container that was named from the target."""

    source: str
    target: str
    rows: tuple[Compared, ...]
    obstacles: tuple[str, ...] = ()

    @property
    def against(self) -> list[str]:
        found = [why for row in self.rows if row.verdict == "refused" for why in row.against]
        return [*found, *self.obstacles]


@click.command()
@click.argument("nodes", nargs=-1, metavar="[FROM TO]")
@click.option("--container", metavar="CT", help="For this one, from where it is: to TO, or to every kind of node.")
@waive_check_option
@snapshot_option
@json_option
@click.pass_context
def compat(
    ctx: click.Context,
    /,
    nodes: tuple[str, ...],
    container: str | None,
    waive: tuple[str, ...],
    snapshot: Path | None,
    as_json: bool,
) -> int:
    """Show from which nodes to which containers can go, as a matrix of kinds of nodes; of two nodes every check."""
    from migrator.model.matrix import kinds

    waived = waived_checks(waive)
    wanted = (0, 1) if container is not None else (0, 2)
    if len(nodes) not in wanted or len(set(nodes)) != len(nodes):
        raise BadInput("compat: give no node, or two: FROM TO; with --container give none, or the one that it goes to")
    cluster = facts(ctx, snapshot)
    known_nodes(cluster, nodes)
    if not nodes and container is None:
        return _matrix(cluster, kinds(cluster.nodes), waived, as_json)
    pairs = _pairs(cluster, nodes, container, waived)
    if snapshot is None and nodes:
        pairs = [_with_criu(ctx, pair, cluster.node(pair.target), waived) for pair in pairs]
    return _told(pairs, container, as_json)


def _pairs(cluster: Cluster, nodes: tuple[str, ...], container: str | None, waived: Sequence[str]) -> list[_Pair]:
    from migrator.model.matrix import compare, kinds

    if container is None:
        source, target = (_answering(cluster, name) for name in nodes)
        return [_Pair(source.name, target.name, compare(source, target, waived))]
    source, found = _owner(cluster, container)
    others = [kind.first for kind in kinds(node for node in cluster.nodes if node.name != source.name)]
    targets = [_answering(cluster, name) for name in nodes] or others
    if source.name in nodes:
        raise BadInput(f"container {container} is on node {source.name} already")
    return [
        _Pair(source.name, target.name, compare(source, target, waived, found), _obstacles(found, target))
        for target in targets
    ]


def _obstacles(container: ContainerFacts, target: NodeFacts) -> tuple[str, ...]:
    from migrator.model.compatibility import obstacles

    return tuple(obstacles(container.descriptor, target)) if container.descriptor else ()


def _owner(cluster: Cluster, container: str) -> tuple[NodeFacts, ContainerFacts]:
    owners = [(node, found) for node in cluster.owners(container) if (found := node.container(container)) is not None]
    if len(owners) != 1:
        why = "is on no node that answers" if not owners else "is on several nodes: it is being moved"
        raise BadInput(f"container {quoted(container)} {why}; see: migrator ct list")
    return owners[0]


def _answering(cluster: Cluster, name: str) -> NodeFacts:
    node = cluster.node(name)
    if not node.answered:
        raise FailedSafe(f"no answer from {name}: {node.error}")
    return node


def _with_criu(ctx: click.Context, pair: _Pair, target: NodeFacts, waived: Sequence[str]) -> _Pair:
    """The same, with what only the target itself can say: whether its CRIU works on its kernel."""
    from dataclasses import replace

    from migrator.model.matrix import Compared, Verdict
    from migrator.model.sameness import CRIU_CHECK, offered

    async def ask() -> str:
        async with open_fleet(ctx) as fleet:
            return (await fleet.node(target.name).call("criu-check")).get("criu")

    works = bool(target.criu) and run_async(ask(), only_looks=True) == "works"
    why = f"CRIU {target.criu} does not work on kernel {target.kernel}; see `criu check` on {target.name}"
    failed = Verdict.WAIVED if CRIU_CHECK in waived else Verdict.REFUSED
    row = Compared(
        CRIU_CHECK,
        "",
        "works" if works else "does not work",
        Verdict.SAME if works else failed,
        () if works else (offered(CRIU_CHECK, why),),
    )
    return replace(pair, rows=(*pair.rows, row))


def _matrix(cluster: Cluster, found: tuple[Kind, ...], waived: Sequence[str], as_json: bool) -> int:
    from migrator.model.matrix import compare

    cells = {
        (source.name, target.name): compare(source.first, target.first, waived) for source in found for target in found
    }
    silent = {node.name: node.error for node in cluster.nodes if not node.answered}
    if as_json:
        pairs = [
            {
                "from": source.first.name,
                "to": target.first.name,
                "refused": _names(cells[source.name, target.name], "refused"),
                "waived": _names(cells[source.name, target.name], "waived"),
            }
            for source in found
            for target in found
        ]
        print_json({"kinds": [_kind_json(kind) for kind in found], "pairs": pairs, "no_answer": silent})
        return 0
    _print_kinds(found)
    click.echo()
    if len(found) <= KINDS_MAX:
        rows = [[s.name, *(_cell(s, t, cells[s.name, t.name]) for t in found)] for s in found]
        print_table(("FROM / TO", *(kind.name for kind in found)), rows)
    else:
        apart = [(s.name, t.name, _cell(s, t, cells[s.name, t.name])) for s in found for t in found]
        print_table(("FROM", "TO", "NOT FOR"), [row for row in apart if row[2] not in ("yes", "-")])
    for name, error in silent.items():
        click.echo(clean(f"no answer from {name}: {error}"), err=True)
    return 0


def _print_kinds(found: Sequence[Kind]) -> None:
    columns = ("KIND", "NODES", "ARCH", "CPU", "KERNEL", "CRIU", "RUNC", "CGROUP", "LSM", "FILES")
    rows = []
    for kind in found:
        node = kind.first
        names = [other.name for other in kind.nodes]
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        cgroup = " ".join((str(node.cgroup_version), *node.controllers))
        able = [word for word in node.filesystem if not word.startswith("no-")]
        values = (node.arch, f"{len(node.cpu_flags)} features", node.kernel, node.criu, node.runc, cgroup)
        rows.append((kind.name, some, *(value or "-" for value in (*values, " ".join(node.lsm), " ".join(able)))))
    print_table(columns, rows)


def _cell(source: Kind, target: Kind, rows: Sequence[Compared]) -> str:
    if source is target and len(source.nodes) == 1:
        return "-"
    if refused := _names(rows, "refused"):
        return ", ".join(refused)
    waived = _names(rows, "waived")
    return f"yes, waived: {', '.join(waived)}" if waived else "yes"


def _names(rows: Sequence[Compared], verdict: str) -> list[str]:
    return [row.check for row in rows if row.verdict == verdict]


def _kind_json(kind: Kind) -> dict[str, Any]:
    from migrator.model.sameness import CHECKS

    values = {check.name: check.value(kind.first) for check in CHECKS}
    return {"name": kind.first.name, "nodes": [node.name for node in kind.nodes], "values": values}


def _told(pairs: Sequence[_Pair], container: str | None, as_json: bool) -> int:
    """Every check of each pair; exit code 3 if nothing can go to any of the targets."""
    document = {
        "container": container,
        "pairs": [
            {
                "from": pair.source,
                "to": pair.target,
                "checks": [asdict(row) for row in pair.rows],
                "obstacles": list(pair.obstacles),
                "fits": not pair.against,
            }
            for pair in pairs
        ],
    }
    if not as_json:
        for pair in pairs:
            _print_pair(pair)
    what = f"container {container}" if container else "what runs there"
    if pairs and all(pair.against for pair in pairs):
        first = pairs[0]
        words = f"{what} cannot go from {first.source} to {first.target}: {'; '.join(first.against)}"
        more = f"; nor to {len(pairs) - 1} more kinds of nodes" if len(pairs) > 1 else ""
        return fail(words + more, 3, as_json, document)
    if as_json:
        print_json(document)
    return 0


def _print_pair(pair: _Pair) -> None:
    rows = []
    for row in pair.rows:
        ours, theirs = _shown(row.source, row.target)
        firm = " (cannot be waived)" if row.firm and row.verdict == "refused" else ""
        rows.append((row.check, ours, theirs, f"{row.verdict}{firm}"))
    print_table(("CHECK", pair.source, pair.target, "VERDICT"), rows)
    for why in pair.against:
        click.echo(clean(f"{pair.target}: {why}"))
    click.echo()


def _shown(ours: str, theirs: str) -> tuple[str, str]:
    """Both values for a table: of long lists how many there are, and which the other has not.

    What is said of a container follows the source's own.
    """
    if max(len(ours), len(theirs)) <= WORDS_CHARS_MAX:
        return ours or "-", theirs or "-"
    ours, mark, container = ours.partition("; ")
    return _counted(ours, theirs) + mark + container, _counted(theirs, ours)


def _counted(words: str, others: str) -> str:
    mine, there = words.replace(",", " ").split(), set(others.replace(",", " ").split())
    more = [word for word in mine if word not in there]
    some = " ".join(more[:6]) + (" ..." if len(more) > 6 else "")
    return f"{len(mine)} words" + (f", more: {some}" if more else "")
