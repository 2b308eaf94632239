"""Which rules do not hold, before a plan and after it: what it is said to mend, to leave, or to break if they are soft.

Amounts are counted as the search counts them (rulebook.py): each container too many, each one where it should not be,
each domain that a group is in beside the first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import (
    ITS_OWN,
    Affinity,
    Ban,
    Budget,
    Crowd,
    DomainsMin,
    Fence,
    Lonely,
    Pin,
    Priority,
    Rule,
    Spread,
    SurviveLoss,
    Window,
    domain_of,
    selected,
    selects,
)

SAID_MAX = 3  # places of one rule that a note names


@dataclass(frozen=True, slots=True)
class Placed:
    """A container with the node it was on at first and the one it is on."""

    container: ContainerFacts
    home: NodeFacts
    node: NodeFacts

    @property
    def labels(self) -> Mapping[str, str]:
        return self.container.descriptor.labels if self.container.descriptor else {}


@dataclass(frozen=True, slots=True)
class Wrong:
    """How often a rule is broken at one place, and what is so there, in words."""

    amount: int
    text: str


def placed(nodes: Sequence[NodeFacts], moved: Mapping[str, str]) -> list[Placed]:
    """Every container; `moved` gives other nodes to some."""
    by_name = {node.name: node for node in nodes}
    return [
        Placed(container, node, by_name[moved[container.name]] if container.name in moved else node)
        for node in nodes
        for container in node.containers
    ]


def wrongs(rule: Rule, there: Sequence[Placed]) -> dict[str, Wrong]:
    """Where a rule does not hold: by place."""
    match rule:
        case Spread():
            return _too_many(rule, there)
        case Crowd():
            inside = [p for p in there if not rule.nodes or selected(rule.nodes, p.node.name, p.node.labels)]
            counts = Counter(p.node.name for p in inside)
            return {
                name: Wrong(count - rule.at_most, f"{count} containers are on {name}, at most {rule.at_most} may be")
                for name, count in sorted(counts.items())
                if count > rule.at_most
            }
        case DomainsMin():
            return _too_few(rule, there)
        case Affinity():
            return _apart(rule, there)
        case SurviveLoss() | Budget() | Priority() | Window():
            return {}  # they look at nodes that are gone (survival.py), or at moves
        case Lonely():
            return _in_company(rule, there)
        case Ban() | Fence() | Pin():
            return _misplaced(rule, there)


def _misplaced(rule: Ban | Fence | Pin, there: Sequence[Placed]) -> dict[str, Wrong]:
    found = {}
    for p in there:
        name = p.container.name
        if not selects(rule.containers, name, p.labels):
            continue
        if isinstance(rule, Pin):
            if p.node.name != p.home.name:
                found[name] = Wrong(1, f"{name} leaves {p.home.name}")
        elif selected(rule.nodes, p.node.name, p.node.labels) == isinstance(rule, Ban):
            never = "never" if isinstance(rule, Ban) else "only"
            found[name] = Wrong(1, f"{name} is on {p.node.name}, {never} on {', '.join(rule.nodes)}")
    return found


def cost(nodes: Sequence[NodeFacts], policy: PlanPolicy, moved: Mapping[str, str], hard: float) -> float:
    """What all broken rules cost together, in shares of a node; `hard` is the price of a hard one."""
    if not policy.rules:
        return 0.0
    there = placed(nodes, moved)
    return sum(
        (rule.weight if rule.soft else hard) * sum(wrong.amount for wrong in wrongs(rule, there).values())
        for rule in policy.rules
    )


def rule_notes(nodes: Sequence[NodeFacts], policy: PlanPolicy, moved: Mapping[str, str]) -> Iterator[str]:
    """What a plan leaves or makes wrong: hard rules that are broken already, and every soft one that is broken."""
    if not policy.rules:
        return
    before, after = placed(nodes, {}), placed(nodes, moved)
    for number, rule in policy.numbered():
        yield from (f"rule {number} ({rule.rule}): {text}" for text in _idle(rule, nodes, before))
    for number, rule in policy.numbered():
        old, new = wrongs(rule, before), wrongs(rule, after)
        if rule.soft and new:
            more = any(wrong.amount > (old[at].amount if at in old else 0) for at, wrong in new.items())
            by = "is broken by this plan" if more else "is broken already and stays so"
            yield f"soft rule {number} ({rule.rule}, weight {rule.weight:g}) {by}: {_some(new)}"
        elif not rule.soft and old:
            end = "stays so" if new else "is mended by this plan"
            yield f"rule {number} ({rule.rule}) is broken already and {end}: {_some(new or old)}"


def mended(nodes: Sequence[NodeFacts], policy: PlanPolicy, moved: Mapping[str, str]) -> dict[str, list[str]]:
    """For each container that moves, in words: what was broken because of where it was, and is so no longer or less."""
    found: dict[str, list[str]] = defaultdict(list)
    before = placed(nodes, {}) if policy.rules else []
    goers = [p for p in before if p.container.name in moved]
    for number, rule in policy.numbered():
        if not (old := wrongs(rule, before)):
            continue
        new = wrongs(rule, placed(nodes, moved))
        for p in goers:
            place = standing_at(rule, p)
            if place in old and old[place].amount > (new[place].amount if place in new else 0):
                found[p.container.name].append(f"mends {named(number, rule)}: {old[place].text}")
    return found


def named(number: int, rule: Rule) -> str:
    """A rule as notes call it."""
    return f"soft rule {number} ({rule.rule}, weight {rule.weight:g})" if rule.soft else f"rule {number} ({rule.rule})"


def standing_at(rule: Rule, p: Placed) -> str:
    """The place of `wrongs` at which a container counts."""
    match rule:
        case Spread():
            return f"{p.labels.get(rule.label)} {domain_of(p.node.labels, p.node.name, rule.domain)}"
        case DomainsMin() | Affinity():
            return p.labels.get(rule.label, "")
        case Crowd() | Lonely():
            return p.node.name
        case _:
            return p.container.name


def _in_company(rule: Lonely, there: Sequence[Placed]) -> dict[str, Wrong]:
    mine = Counter(p.node.name for p in there if selects(rule.containers, p.container.name, p.labels))
    everyone = Counter(p.node.name for p in there)
    return {
        name: Wrong(
            count * (everyone[name] - count), f"{rule.containers} is on {name} with {everyone[name] - count} others"
        )
        for name, count in sorted(mine.items())
        if everyone[name] > count
    }


def _idle(rule: Rule, nodes: Sequence[NodeFacts], there: Sequence[Placed]) -> Iterator[str]:
    """What a rule names and nothing is: as likely a slip of the pen as a service that is gone."""
    selector, label = getattr(rule, "containers", ""), getattr(rule, "label", "")
    if selector and not any(selects(selector, p.container.name, p.labels) for p in there):
        yield f"no container is {selector}"
    if label and not any(label in p.labels for p in there):
        yield f"no container has a label {label}"
    for wanted in getattr(rule, "nodes", ()):
        if not any(selects(wanted, node.name, node.labels) for node in nodes):
            yield f"no node is {wanted}"
    domain = getattr(rule, "domain", "")
    if domain and not any(domain in node.labels for node in nodes):
        yield f"no node has a label {domain}, so each node is a domain of its own"


def _too_many(rule: Spread, there: Sequence[Placed]) -> dict[str, Wrong]:
    counts = Counter(
        (p.labels[rule.label], domain_of(p.node.labels, p.node.name, rule.domain))
        for p in there
        if rule.label in p.labels
    )
    found = {}
    for (value, domain), count in sorted(counts.items()):
        if count > rule.at_most:
            where = within(rule.domain, [domain])
            text = f"{count} of {rule.label}={value} are {where}, at most {rule.at_most} may be"
            found[f"{value} {domain}"] = Wrong(count - rule.at_most, text)
    return found


def _too_few(rule: DomainsMin, there: Sequence[Placed]) -> dict[str, Wrong]:
    found = {}
    for value, homes in _homes(rule, there).items():
        wanted, domains = min(rule.at_least, len(homes)), sorted(set(homes))
        if len(domains) < wanted:
            where = within(rule.domain, domains)
            text = f"{rule.label}={value} is {where}, it should be in {wanted} of {rule.domain}"
            found[value] = Wrong(wanted - len(domains), text)
    return found


def _apart(rule: Affinity, there: Sequence[Placed]) -> dict[str, Wrong]:
    found = {}
    for value, homes in _homes(rule, there).items():
        domains = sorted(set(homes))
        if len(domains) > 1:
            where = within(rule.domain, domains)
            found[value] = Wrong(len(domains) - 1, f"{rule.label}={value} is apart, {where}")
    return found


def _homes(rule: DomainsMin | Affinity, there: Sequence[Placed]) -> dict[str, list[str]]:
    """For each group the domain of each of its members; groups sorted."""
    homes: dict[str, list[str]] = defaultdict(list)
    for p in there:
        if rule.label in p.labels:
            homes[p.labels[rule.label]].append(domain_of(p.node.labels, p.node.name, rule.domain))
    return dict(sorted(homes.items()))


def within(label: str, domains: Sequence[str]) -> str:
    """Where something is that is in these failure domains: "in rack=r1, rack=r2", "on nodes n1, n2"."""
    nodes = [domain.removeprefix(ITS_OWN) for domain in domains if domain.startswith(ITS_OWN)]
    named = [f"{label}={domain}" for domain in domains if not domain.startswith(ITS_OWN)]
    parts = [f"in {', '.join(named)}"] if named else []
    parts += [f"on node{'s' * (len(nodes) > 1)} {', '.join(nodes)}"] if nodes else []
    return " and ".join(parts) or "nowhere"


def _some(found: Mapping[str, Wrong]) -> str:
    texts = [wrong.text for wrong in found.values()]
    more = f"; and {len(texts) - SAID_MAX} more" if len(texts) > SAID_MAX else ""
    return f"{'; '.join(texts[:SAID_MAX])}{more}"
