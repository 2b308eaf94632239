"""migrator template: the trees that containers stand on, built here and pushed to nodes."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import clean, json_option, print_json, print_table
from migrator.cli.shared import OF_PUSHES, cluster_path, open_fleet, run_async

if TYPE_CHECKING:
    from migrator.executor.templates import Leftover, OnNode
    from migrator.templates.store import Store


def _store(ctx: click.Context) -> Store:
    from migrator.templates.store import Store, default_path

    return Store(Path(ctx.obj["store"]) if ctx.obj.get("store") else default_path())


@click.group()
@click.option("--store", metavar="DIR", help="Local store (else $MIGRATOR_TEMPLATES, else in the data directory).")
@click.pass_context
def template(ctx: click.Context, store: str | None) -> None:
    """Templates: build, list, push, rm, gc."""
    ctx.obj["store"] = store


@template.command()
@click.argument("name")
@click.argument("source", required=False)
@click.option("--suite", help="A Debian suite, by debootstrap, in place of SOURCE.")
@click.option("--mirror", metavar="URL", help="With --suite: the mirror (default: that of this machine's own apt).")
@click.option("--include", metavar="PKG,PKG", help="With --suite: packages more.")
@click.option(
    "--as", "kind", type=click.Choice(("directory", "tar", "image")), help="What SOURCE is (default: looked at)."
)
@click.option(
    "--arch", help="Machine of the programs in it, as uname -m has it; of an image with several the one to take."
)
@click.option("--ref", help="Of several images in SOURCE the one to take.")
@click.option(
    "--setuid",
    type=click.Choice(("keep", "strip", "refuse")),
    default="keep",
    show_default=True,
    help="Files with setuid or setgid, or with capabilities.",
)
@click.option(
    "--devices",
    type=click.Choice(("refuse", "drop")),
    help="Device nodes, which no template holds (default: refuse, with --suite drop).",
)
@click.option(
    "--host-keys",
    type=click.Choice(("drop", "keep")),
    default="drop",
    show_default=True,
    help="An sshd's keys in /etc/ssh; containers get their own all the same.",
)
@click.option("--replace", is_flag=True, help="Also where the store has another template of this name.")
@json_option
@click.pass_context
def build(
    ctx: click.Context,
    /,
    name: str,
    setuid: str,
    devices: str | None,
    host_keys: str,
    replace: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Build template NAME from SOURCE: a directory, a tar (gz, bz2, xz, zstd), an OCI layout, or what docker save
    wrote."""
    from migrator.model.units import counted, format_bytes
    from migrator.templates import build as building
    from migrator.templates.tree import Rules

    source = _source(**given)
    rules = Rules(setuid, devices or ("drop" if source.kind == "suite" else "refuse"), host_keys)
    store = _store(ctx)
    say = (lambda text: None) if as_json else partial(click.echo, err=True)
    built = building.build(store, name, source, rules, replace, say)
    manifest = built.manifest
    if as_json:
        row = {"name": name, "digest": manifest.digest, "arch": manifest.arch, "bytes": manifest.files_bytes}
        print_json(
            {**row, "names": len(manifest.nodes), "new": built.new, "dropped": built.dropped, "store": str(store.root)}
        )
        return
    for what, count in sorted(built.dropped.items()):
        click.echo(clean(f"left out: {count} {what}"), err=True)
    size = f"{format_bytes(manifest.files_bytes)} in {counted(len(manifest.nodes), 'name')}, for {manifest.arch}"
    click.echo(f"template {name} {'built' if built.new else 'is in the store already'}: {manifest.digest[:12]}, {size}")


def _source(
    source: str | None,
    suite: str | None,
    mirror: str | None,
    include: str | None,
    kind: str | None,
    arch: str | None,
    ref: str | None,
) -> Any:
    from migrator.errors import BadInput, quoted
    from migrator.templates.build import Source, kind_of

    if (source is None) == (suite is None) or source == "":
        raise BadInput("template build: give a SOURCE, or --suite SUITE")
    if source is None:
        if ref is not None:
            raise BadInput("template build: --ref goes with an image, and not with --suite")
        if arch not in (None, platform.machine()):
            raise BadInput(
                f"--arch {quoted(str(arch))}: a suite is made for this machine's own, {platform.machine()}; build the "
                "other from a tar, or on a machine of its kind"
            )
        packages = tuple(filter(None, (include or "").split(",")))
        return Source("suite", suite=str(suite), mirror=mirror, packages=packages, arch=arch)
    if mirror or include:
        raise BadInput("template build: --mirror and --include go with --suite")
    path = Path(source)
    found = kind_of(path)
    if kind == "directory" and not path.is_dir():
        raise BadInput(f"--as directory: {quoted(source)} is none")
    if kind == "tar" and path.is_dir():
        raise BadInput(f"--as tar: {quoted(source)} is a directory")
    if ref is not None and (kind or found) != "image":
        raise BadInput(f"--ref: {quoted(source)} is no image, but a {kind or found}")
    return Source(kind or found, path, arch=arch, ref=ref)


@template.command("list")
@click.option("--local", is_flag=True, help="The store of this machine alone; no node is asked.")
@json_option
@click.pass_context
def list_(ctx: click.Context, local: bool, as_json: bool) -> None:
    """List the templates of the local store, and what nodes have."""
    from migrator.executor.templates import list_on
    from migrator.model.units import counted, format_bytes

    mine = _store(ctx).listed()
    here = {row.name: row.digest for row in mine}
    there: list[OnNode] = []
    left: list[Leftover] = []
    silent: dict[str, str] = {}
    # Who has no cluster yet may see what was built for one.
    local = local or not (ctx.obj["cluster"] or os.environ.get("MIGRATOR_CLUSTER") or cluster_path(ctx).exists())

    async def work() -> Any:
        async with open_fleet(ctx) as fleet:
            return await list_on(fleet, ())

    if not local:
        there, left, silent = run_async(work(), only_looks=True)
    if as_json:
        nodes = [asdict(row) for row in there]
        print_json(
            {
                "store": [asdict(row) for row in mine],
                "nodes": nodes,
                "leftovers": [asdict(x) for x in left],
                "no_answer": silent,
            }
        )
        return
    rows = [("here", r.name, r.digest[:12], r.arch, format_bytes(r.files_bytes), r.source) for r in mine]
    for found in there:
        users = f"{counted(len(found.users), 'container')} on it" if found.users else "unused"
        what = ", ".join(filter(None, (users, _compared(found, here.get(found.name, "")))))
        rows.append((found.node, found.name, found.digest[:12], "", "", what))
    print_table(("WHERE", "TEMPLATE", "DIGEST", "ARCH", "SIZE", "WHAT"), rows)
    for x in left:
        click.echo(
            clean(f"left over on {x.node}: {x.name}, {format_bytes(x.size_bytes)}; see: migrator template gc"), err=True
        )
    for node, error in silent.items():
        click.echo(clean(f"no answer from {node}: {error}"), err=True)


def _compared(found: OnNode, here: str) -> str:
    """How what a node has is to what the store has under that name, if anything."""
    if found.digest == here:
        return "as here" if found.current else "as here, and not for new ones: push it"
    if not found.current:
        return "not for new ones"
    return "ANOTHER than here" if here else ""


@template.command()
@click.argument("name")
@click.argument("nodes", nargs=-1, required=True)
@json_option
@click.pass_context
def push(ctx: click.Context, name: str, nodes: tuple[str, ...], as_json: bool) -> int:
    """Bring template NAME of the store to NODES. What they have of it already is not sent; a cut push goes on."""
    from migrator.errors import MigratorError
    from migrator.executor.templates import push as push_to
    from migrator.model.units import format_bytes

    store = _store(ctx)

    async def work() -> Any:
        async with open_fleet(ctx) as fleet:
            return await push_to(fleet, store, name, nodes)

    outcome = run_async(work(), ending=OF_PUSHES)
    failed = [found for found in outcome if isinstance(found, MigratorError)]
    done = [found for found in outcome if not isinstance(found, MigratorError)]
    if as_json:
        print_json(
            {"name": name, "nodes": [asdict(found) for found in done], "failed": [str(error) for error in failed]}
        )
    else:
        for found in done:
            reused = f"{format_bytes(found.reused_bytes)} were there in other templates"
            sent = f"sent {format_bytes(found.sent_bytes)}, {reused}"
            again = "there already, and for new containers again"
            told = "there already" if found.present else again if found.again else sent
            click.echo(f"template {name} on {found.node}: {told}")
    for error in failed:
        click.echo(clean(f"migrator: {error}"), err=True)
    return max((error.exit_code for error in failed), default=0)


@template.command()
@click.argument("name")
@click.argument("nodes", nargs=-1)
@json_option
@click.pass_context
def rm(ctx: click.Context, name: str, nodes: tuple[str, ...], as_json: bool) -> None:
    """Remove template NAME from the local store, or from NODES where no container stands on it; NAME@DIGEST is one
    version of several on a node."""
    from migrator.errors import BadInput
    from migrator.executor.templates import remove
    from migrator.templates.store import check_name

    whole, (name, at, version) = name, name.partition("@")
    check_name(name)
    if at and not version:
        raise BadInput(f"template rm {whole}: no digest follows the @; give its beginning, or the name alone for all")
    if version and not nodes:
        raise BadInput(f"template rm {whole}: the store has one version of a name; give nodes, or the name alone")
    if not nodes:
        store = _store(ctx)
        store.remove(name)
        store.collect(really=True)
        gone = {"here": "removed"}
    else:

        async def work() -> dict[str, str]:
            async with open_fleet(ctx) as fleet:
                return await remove(fleet, name, nodes, version)

        gone = run_async(work())
    if as_json:
        print_json({"name": name, "removed": sorted(gone)})
    else:
        for where in sorted(gone):
            click.echo(f"template {name} {'in the store' if where == 'here' else f'on {where}'}: removed")


@template.command()
@click.argument("nodes", nargs=-1)
@click.option("--local", is_flag=True, help="The store of this machine alone; no node is asked.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@json_option
@click.pass_context
def gc(ctx: click.Context, nodes: tuple[str, ...], local: bool, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Remove from NODES (all, if none is named) what no container stands on, and what cut pushes have left."""
    from migrator.errors import BadInput
    from migrator.executor.templates import collect, list_on
    from migrator.model.units import format_bytes

    store = _store(ctx)

    async def look() -> Any:
        async with open_fleet(ctx) as fleet:
            return await list_on(fleet, nodes)

    there, left, silent = ([], [], {}) if local else run_async(look(), only_looks=True)
    unused = [found for found in there if not found.users and not found.fixed]
    count, size = store.collect(really=False)
    lines = [str(found) for found in unused]
    lines += [f"{x.name} on {x.node}, {format_bytes(x.size_bytes)}" for x in left]
    lines += [f"{count} contents in {store.root}, {format_bytes(size)}"] if count else []
    if lines and not yes and not dry_run:
        if not sys.stdin.isatty():
            raise BadInput("template gc: there is no terminal to ask on; use --dry-run to look, --yes to remove")
        for line in lines:
            click.echo(clean(line), err=True)
        click.confirm("Remove these?", abort=True, err=True)

    async def work() -> dict[str, str]:
        async with open_fleet(ctx) as fleet:
            return await collect(fleet, unused, left)

    kept = run_async(work()) if (unused or left) and not dry_run else {}
    if count and not dry_run:
        store.collect(really=True)
    if as_json:
        gone = [asdict(found) for found in unused if str(found) not in kept]
        sizes = {"contents": count, "bytes": size}
        print_json(
            {"removed": gone, "leftovers": [asdict(x) for x in left], "store": sizes, "kept": kept, "no_answer": silent}
        )
    else:
        for line in lines or ["nothing to remove"]:
            click.echo(clean(f"{'would be removed' if dry_run else 'removed'}: {line}" if lines else line))
        for what, why in [*kept.items(), *((f"node {n}", e) for n, e in silent.items())]:
            click.echo(clean(f"{what} stays as it is: {why}"), err=True)
    return 4 if kept or silent else 0
