"""The cluster file: which nodes there are, how to reach them, and what is declared of them.

Read with line numbers, so that each mistake is one line naming file, line and field.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from migrator.errors import BadInput, quoted
from migrator.inventory.cluster_text import Written, read, ssh_address
from migrator.inventory.documents import NODE_NAME, field, first_wrong, line_of, read_yaml, refuse_empty
from migrator.model.address import is_within
from migrator.model.pressure import Guard
from migrator.model.site import Hook, Site, When
from migrator.model.units import parse_bytes, parse_bytes_per_s
from migrator.model.volume import NAME as VOLUME_NAME
from migrator.model.volume import clash, node_fault

if TYPE_CHECKING:
    from pathlib import Path

    import yaml

    from migrator.model.facts import Link, SharedLink
    from migrator.model.plan_policy import Standing
    from migrator.transport.ssh import SshAddress


def _parsed(parse: Any) -> AfterValidator:
    """Validates by a parser and keeps what was written."""

    def validate(text: str | int) -> str | int:
        parse(text)
        return text

    return AfterValidator(validate)


Size = Annotated[int | str, _parsed(parse_bytes)]
Rate = Annotated[str, _parsed(parse_bytes_per_s)]


def _is_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


Line = Annotated[str, AfterValidator(_is_line)]
Interface = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")]
User = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._@\\-]{0,63}$")]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$")]


def _is_volume_path(path: str) -> str:
    if wrong := node_fault(path):
        raise ValueError(wrong)
    return path


VolumeName = Annotated[str, Field(pattern=f"^{VOLUME_NAME.pattern}$")]
VolumePath = Annotated[str, AfterValidator(_is_volume_path)]


class _Strict(BaseModel):
    # A command reads few kinds of files. What is left out of one is made without validation, or the validators of each
    # section would be built beside those of the whole file: 20 ms of each command.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Ssh(_Strict):
    """How to log in; what is left out follows ~/.ssh/config, the agent and ~/.ssh/known_hosts."""

    user: User | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    config: str | None = None
    become: Literal["sudo"] | None = None


class LinkSpeed(_Strict):
    up: Rate | None = None
    down: Rate | None = None


class Capacity(_Strict):
    """Declared in place of what the node measures."""

    cpus: Annotated[float | int, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    memory: Size | None = None
    disk: Size | None = None


Ratio = Annotated[float | int, Field(ge=0.1, le=100, allow_inf_nan=False)]


class Overcommit(_Strict):
    """How much of each may be promised for each one there is; "measured" is what is really free (overcommit.py)."""

    cpu: Ratio | None = None
    memory: Ratio | Literal["measured"] | None = None
    disk: Ratio | Literal["measured"] | None = None


Percent = Annotated[float | int, Field(ge=0, le=100, allow_inf_nan=False)]


class GuardTerms(_Strict):
    """From where on a node is under pressure (model/pressure.py): percent, bytes a second, and a count; 0 never is."""

    memory_some: Percent | None = None
    memory_full: Percent | None = None
    cpu_some: Percent | None = None
    io_full: Percent | None = None
    memory_free: Percent | None = None
    swap_in: Size | None = None
    oom_kills: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class NodeEntry(_Strict):
    name: Annotated[str, Field(pattern=NODE_NAME)]
    address: Host | None = None
    migration_address: Host | None = None
    ssh: Ssh = Ssh.model_construct()
    bridge: Interface | None = None
    labels: dict[Line, Line] = {}
    capacity: Capacity = Capacity.model_construct()
    overcommit: Overcommit = Overcommit.model_construct()
    guard: GuardTerms = GuardTerms.model_construct()
    link: LinkSpeed = LinkSpeed.model_construct()
    volumes: dict[VolumeName, VolumePath] = {}

    @property
    def host(self) -> str:
        """What ssh connects to: an address, or a name that ~/.ssh/config may know."""
        return self.address or self.name

    @property
    def migration_host(self) -> str:
        """Where other nodes reach it."""
        return self.migration_address or self.host


class LinkEntry(_Strict):
    """A link that nodes share on their way to all others; `nodes` are names or labels, KEY=VALUE."""

    name: Annotated[str, Field(pattern=NODE_NAME)]
    nodes: Annotated[list[Line], Field(min_length=1)]
    speed: LinkSpeed = LinkSpeed.model_construct()
    moves: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Defaults(_Strict):
    ssh: Ssh = Ssh.model_construct()
    bridge: Interface = "br0"
    overcommit: Overcommit = Overcommit.model_construct()
    guard: GuardTerms = GuardTerms.model_construct()


def _is_a_path(argv: list[str]) -> list[str]:
    if not argv[0].startswith("/"):
        raise ValueError("is to begin with the program's whole path, from /: there is no shell that would find it")
    return argv


class HookEntry(_Strict):
    """A program that is told where a container is, and when; `timeout` is seconds."""

    argv: Annotated[list[Line], Field(min_length=1, max_length=100), AfterValidator(_is_a_path)]
    when: Annotated[list[Literal["before_commit", "after_release", "after_rollback"]], Field(min_length=1)]
    timeout: Annotated[float | int, Field(ge=0.1, le=60, allow_inf_nan=False)] = 5


def _is_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"is not a network ({error}); write 10.20.0.0/24 or fd00:20::/64") from None
    if network.prefixlen < (8 if network.version == 4 else 16):
        raise ValueError("is so wide a network that it is not one's own")
    return text


Network = Annotated[str, AfterValidator(_is_network)]


class ClusterFile(_Strict):
    version: Literal[1] = 1
    name: Line = "cluster"
    defaults: Defaults = Defaults.model_construct()
    nodes: Annotated[list[NodeEntry], Field(min_length=1)]
    links: list[LinkEntry] = []
    policy: dict[str, Any] = {}  # see `standing`
    network: Literal["shared", "routed"] = "shared"
    hooks: Annotated[list[HookEntry], Field(max_length=10)] = []
    trusted_networks: Annotated[list[Network], Field(max_length=100)] = []
    volumes: Annotated[dict[VolumeName, VolumePath], Field(max_length=100)] = {}

    def site(self) -> Site:
        """How addresses get from node to node, and who is told."""
        hooks = (Hook(tuple(h.argv), frozenset(When(when) for when in h.when), float(h.timeout)) for h in self.hooks)
        return Site(self.network == "routed", tuple(hooks))

    def standing(self) -> Standing:
        """What is said under `policy`."""
        if not self.policy:
            from migrator.model.plan_policy import Standing  # noqa: PLC0415   (see `shared_links`)

            return Standing()
        from migrator.inventory.policy_file import section  # noqa: PLC0415

        return section(self.policy)

    def shared_links(self) -> tuple[SharedLink, ...]:
        """The links that nodes share, each with the names of all nodes behind it, sorted."""
        if not self.links:
            return ()
        # Most files say nothing of this, and most commands ask for none of it: they wait for the loading of neither.
        from migrator.model.facts import SharedLink  # noqa: PLC0415
        from migrator.model.rules import selected  # noqa: PLC0415

        return tuple(
            SharedLink(
                link.name,
                tuple(sorted(n.name for n in self.nodes if selected(tuple(link.nodes), n.name, n.labels))),
                parse_bytes_per_s(link.speed.up) if link.speed.up else None,
                parse_bytes_per_s(link.speed.down) if link.speed.down else None,
                link.moves,
            )
            for link in self.links
        )

    def trusted_around(self, node: NodeEntry) -> tuple[str, ...]:
        """The networks, declared trusted, in which others reach this node. By an address: a name may lead anywhere."""
        return tuple(network for network in self.trusted_networks if is_within(node.migration_host, network))

    def entry(self, name: str) -> NodeEntry:
        """The node of that name, or an error that lists the names there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise BadInput(f"there is no node {quoted(name)} in cluster {self.name!r}; it has {_some(self.nodes)}")

    def ssh_address(self, node: NodeEntry) -> SshAddress:
        usual, own = (ssh.model_dump(exclude_none=True) for ssh in (self.defaults.ssh, node.ssh))
        return ssh_address(node.host, usual, own)

    def bridge(self, node: NodeEntry) -> str:
        return node.bridge or self.defaults.bridge

    def volume_paths(self, node: NodeEntry) -> dict[str, str]:
        """Where the node has each volume, by its name: as the site does, unless the node says otherwise."""
        return dict(sorted({**self.volumes, **node.volumes}.items()))

    def overcommit(self, node: NodeEntry) -> Overcommit:
        """The node's own terms, and the defaults where it has none."""
        own = node.overcommit.model_dump(exclude_none=True)
        return Overcommit(**self.defaults.overcommit.model_dump(exclude_none=True) | own)

    def guard(self, node: NodeEntry) -> Guard:
        """From where on the node is under pressure: by its own terms, the defaults, and what is usual."""
        said = self.defaults.guard.model_dump(exclude_none=True) | node.guard.model_dump(exclude_none=True)
        if (rate := said.pop("swap_in", None)) is not None:
            said["swap_in_bytes_per_s"] = parse_bytes(rate)
        return Guard(**said)

    @staticmethod
    def link(node: NodeEntry) -> Link:
        from migrator.model.facts import Link  # noqa: PLC0415   (see `shared_links`)

        up, down = node.link.up, node.link.down
        return Link(parse_bytes_per_s(up) if up else None, parse_bytes_per_s(down) if down else None)


def load(path: Path) -> ClusterFile:
    """Reads and checks a cluster file; BadInput names file, line and field."""
    return checked(read(path))


def parse(text: str, source: str) -> ClusterFile:
    """Checks the text of a cluster file; `source` names it in errors."""
    return checked(Written(*read_yaml(text, source), source))


def checked(written: Written) -> ClusterFile:
    """What a cluster file says; BadInput names file, line and field."""
    raw, root, source = written.raw, written.root, written.source
    if not isinstance(raw, dict):
        raise BadInput(f"{source}:1: a cluster file is a mapping with 'nodes'")
    refuse_empty(raw, root, source)
    try:
        cluster = ClusterFile.model_validate(raw)
    except ValidationError as error:
        location, wrong = first_wrong(error)
        raise BadInput(f"{source}:{line_of(root, location)}: {field(location, raw)}: {wrong}") from error
    _refuse_wrong_policy(cluster, written)
    _refuse_repeats(cluster, root, source)
    _refuse_tangles(cluster, root, source)
    _refuse_strangers(cluster, root, source)
    _refuse_nests(cluster, root, source)
    site = cluster.site()
    if site.routed and not (site.at(When.BEFORE_COMMIT) or site.at(When.AFTER_RELEASE)):
        where = f"{source}:{line_of(root, ['network'])}: network"
        raise BadInput(f"{where}: routed, and there is no hook that takes a container's addresses to its target")
    return cluster


def _refuse_wrong_policy(cluster: ClusterFile, written: Written) -> None:
    if not cluster.policy:
        return
    try:
        cluster.standing()
    except ValidationError as error:
        found, wrong = first_wrong(error)
        at = ["policy", *found]
        where = f"{written.source}:{line_of(written.root, at)}: {field(at, written.raw)}"
        raise BadInput(f"{where}: {wrong}") from error


def _refuse_repeats(cluster: ClusterFile, root: yaml.Node | None, source: str) -> None:
    names: dict[str, int] = {}
    addresses: dict[tuple[str, int | None], str] = {}
    for index, node in enumerate(cluster.nodes):
        line = line_of(root, ["nodes", index])
        if node.name in names:
            raise BadInput(f"{source}:{line}: nodes.{index}.name: {node.name!r} is the name of two nodes")
        names[node.name] = index
        where = (node.host, node.ssh.port)
        if where in addresses:
            other = addresses[where]
            raise BadInput(f"{source}:{line}: nodes.{index}.address: {node.host!r} is the address of {other!r} already")
        addresses[where] = node.name


def _refuse_tangles(cluster: ClusterFile, root: yaml.Node | None, source: str) -> None:
    """Refuses shared links that mean no node, or are no tree."""
    if not cluster.links:
        return
    from migrator.model.links import tangled  # noqa: PLC0415   (see `shared_links`)
    from migrator.model.rules import selects  # noqa: PLC0415

    links = cluster.shared_links()
    for index in range(len(links)):
        wrong = tangled(links[: index + 1])
        for selector in cluster.links[index].nodes:
            if not any(selects(selector, node.name, node.labels) for node in cluster.nodes):
                wrong = f"no node is {selector}"
        if wrong:
            raise BadInput(f"{source}:{line_of(root, ['links', index])}: links.{index}: {wrong}")


def _refuse_strangers(cluster: ClusterFile, root: yaml.Node | None, source: str) -> None:
    """Refuses a trusted network that no two nodes are in: most likely another one is meant."""
    for index, text in enumerate(cluster.trusted_networks):
        inside = [n for n in cluster.nodes if is_within(n.migration_host, text)]
        if len(inside) < 2:
            found = f"only {inside[0].name} has" if inside else "no node has"
            where = f"{source}:{line_of(root, ['trusted_networks', index])}: trusted_networks.{index}"
            raise BadInput(f"{where}: {found} its migration_address in {text}, as an address and not a name")


def _refuse_nests(cluster: ClusterFile, root: yaml.Node | None, source: str) -> None:
    """Refuses a volume inside another: a container on that one could make the way to it a link to anywhere."""
    for index, node in enumerate(cluster.nodes):
        for name in node.volumes:
            if name not in cluster.volumes:
                where = f"{source}:{line_of(root, ['nodes', index, 'volumes', name])}: nodes.{index}.volumes.{name}"
                raise BadInput(f"{where}: is not among the site's volumes; name it there, with the path it mostly has")
        if found := clash(cluster.volume_paths(node)):
            where = f"{source}:{line_of(root, ['volumes', found[0]])}: volumes.{found[0]}"
            raise BadInput(f"{where}: on {node.name} its path is that of {found[1]}, or inside it")


def _some(nodes: list[NodeEntry]) -> str:
    names = sorted(node.name for node in nodes)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
