"""A runtime's note of a container that becomes ours, cut short at each of its steps; and where its mounts come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from migrator.transport.kit import SCRIPTS

OURS = "/var/lib/migrator/containers/shop"
STATUS = {
    "pid": 50,
    "process-start-time": 4272092,
    "cgroup-path": "/system.slice/crun-plain.scope",
    "scope": "crun-plain.scope",
    "rootfs": "rootfs",
    "systemd-cgroup": True,
    "bundle": "/srv/plain",
    "created": "2026-11-27T23:20:37.758119Z",
    "owner": "root",
    "detached": True,
    "external_descriptors": '["/dev/null","pipe:[7]","/dev/null"]',
}
CONFIG = {
    "root": {"path": "rootfs", "readonly": True},
    "process": {"args": ["true"]},
    "hooks": {"poststop": [{"path": "/bin/x"}]},
    "annotations": {"org.criu.config": "/etc/theirs", "run.oci.x": "y"},
    "linux": {"maskedPaths": ["/proc/keys"], "namespaces": [{"type": "pid"}]},
}
STATE = {
    "id": "plain",
    "init_process_pid": 50,
    "cgroup_paths": {"": "/sys/fs/cgroup/plain"},
    "config": {
        "rootfs": "/srv/plain/rootfs",
        "labels": ["bundle=/srv/plain", "a=b"],
        "cgroups": {"path": "plain"},
        "Hooks": {"prestart": None, "poststop": [{"path": "/bin/x"}]},
    },
}


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield import_module
    for name in ("foreign", "groups", "notes", "origins"):
        sys.modules.pop(name, None)


@pytest.fixture
def notes(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = kit("notes")
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    (tmp_path / "run/runc").mkdir(parents=True)
    return module


def noted(tmp_path: Path, runtime: str) -> str:
    """A foreign runtime's root, with one container."""
    place = tmp_path / "theirs" / "plain"
    place.mkdir(parents=True, exist_ok=True)
    files = {"status": STATUS, "config.json": CONFIG} if runtime == "crun" else {"state.json": STATE}
    for name, value in files.items():
        (place / name).write_text(json.dumps(value))
    if runtime == "crun":
        (place / "seccomp.bpf").write_bytes(b"filter")
    return str(place.parent)


def test_cruns_status_is_of_our_group_and_bundle_and_keeps_its_process(notes: Any, tmp_path: Path) -> None:
    root = noted(tmp_path, "crun")
    assert notes.first_process(Path(root, "plain")) == (50, Path("/srv/plain/rootfs"))
    notes.write("shop", root, "plain", f"{OURS}/upper")
    status, config = (json.loads((tmp_path / "run/runc/shop" / name).read_text()) for name in ("status", "config.json"))
    kept = {"pid", "process-start-time", "created", "owner", "detached"}
    assert {key: status[key] for key in kept} == {key: STATUS[key] for key in kept}
    assert (status["cgroup-path"], status["scope"], status["systemd-cgroup"]) == ("/ct/shop", "", False)
    assert (status["bundle"], status["rootfs"]) == (OURS, f"{OURS}/rootfs")
    assert "pipe" not in status["external_descriptors"]
    assert config["hooks"] == {}  # `delete -f` would run them
    assert config["annotations"] == {}  # CRIU's configuration comes from kit/crun
    assert (config["linux"]["cgroupsPath"], config["linux"]["maskedPaths"]) == ("/ct/shop", [])
    assert (config["linux"]["namespaces"], config["process"]) == (CONFIG["linux"]["namespaces"], CONFIG["process"])  # type: ignore[index]
    assert config["root"] == {"path": f"{OURS}/rootfs", "readonly": True}
    assert (tmp_path / "run/runc/shop/seccomp.bpf").read_bytes() == b"filter"


def test_runcs_state_is_of_our_name_and_group(notes: Any, tmp_path: Path) -> None:
    notes.write("shop", noted(tmp_path, "runc"), "plain", f"{OURS}/upper")
    state = json.loads((tmp_path / "run/runc/shop/state.json").read_text())
    assert (state["id"], state["cgroup_paths"]) == ("shop", {"": "/sys/fs/cgroup/ct/shop"})
    assert state["config"]["Hooks"] == {}
    assert state["config"]["labels"] == ["a=b", f"bundle={OURS}", f"org.criu.config={OURS}/criu.conf"]


def test_cruns_own_copy_of_the_configuration_is_what_counts_and_without_one_the_bundle(
    notes: Any, tmp_path: Path
) -> None:
    place, bundle = Path(noted(tmp_path, "crun"), "plain"), tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text('{"process": {}}')
    assert notes.configuration(place, bundle) == CONFIG
    (place / "config.json").unlink()
    assert notes.configuration(place, bundle) == {"process": {}}
    assert notes.configuration(place, tmp_path) == {}


def test_what_runc_keeps_counts_before_a_bundle_that_has_been_edited_since(notes: Any, tmp_path: Path) -> None:
    place, bundle = Path(noted(tmp_path, "runc"), "plain"), tmp_path / "bundle"
    bundle.mkdir()
    innocent = {"process": {"args": ["/bin/server"], "capabilities": {"bounding": []}, "noNewPrivileges": True}}
    (bundle / "config.json").write_text(json.dumps(innocent | {"mounts": [], "hooks": None, "linux": None}))
    null = {"path": "/dev/null", "type": 99, "major": 1, "minor": 3}
    kept = {
        "Hooks": {"prestart": None, "poststop": [{"path": "/bin/x"}]},
        "capabilities": {"Bounding": ["CAP_SYS_ADMIN"]},
        "cgroups": {"memory": 1 << 28},
        "devices": [null, null | {"path": "/dev/fuse", "major": 10, "minor": 229}, null | {"minor": 9}],
        "mounts": [{"destination": "/data", "device": "bind", "flags": 20480}, {"destination": "/p", "device": "proc"}],
    }
    (place / "state.json").write_text(json.dumps(STATE | {"config": kept}))
    config = notes.configuration(place, bundle)
    assert config["process"]["args"] == ["/bin/server"]  # which runc does not keep
    assert config["process"]["capabilities"] == {"bounding": ["CAP_SYS_ADMIN"]}
    assert not config["process"]["noNewPrivileges"]
    assert [mount["destination"] for mount in config["mounts"]] == ["/data"]
    assert [device["path"] for device in config["linux"]["devices"]] == ["/dev/fuse", "/dev/null"]
    assert config["linux"]["resources"]["memory"]["limit"] == 1 << 28
    assert config["hooks"]["poststop"]


@pytest.mark.skipif(os.geteuid() != 0, reason="it is given to somebody else")
@pytest.mark.parametrize("whose", ["theirs", "theirs/plain"])
def test_what_somebody_else_may_have_noted_is_not_believed(
    kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], whose: str
) -> None:
    root = noted(tmp_path, "runc")
    os.chown(tmp_path / whose, 1000, 1000)
    with pytest.raises(SystemExit) as ended:
        kit("foreign").look(root, "plain")
    assert (ended.value.code, f"{whose} is not root's" in capsys.readouterr().err) == (10, True)


class Killed(BaseException):
    """No clean-up sees it, as none sees a SIGKILL."""


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_whatever_step_it_is_killed_at_one_note_is_whole_and_the_same_again_finishes_it(
    notes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    first = {"crun": "status", "runc": "state.json"}[runtime]
    for step in range(100):
        root = noted(tmp_path / str(step), runtime)
        monkeypatch.setattr(notes, "RUN", tmp_path / str(step))
        ours = tmp_path / str(step) / "runc" / "shop"
        ours.parent.mkdir()

        def all_of_it(root: str = root, ours: Path = ours) -> None:
            if not ours.exists():  # as ct-take asks
                notes.write("shop", root, "plain", f"{OURS}/upper")
            notes.forget("shop", root, "plain")

        killed = killed_at(step, all_of_it)
        theirs = Path(root, "plain", first)
        whole = [json.loads(path.read_text()) for path in (theirs, ours / first) if path.exists()]
        assert whole
        all_of_it()
        assert sorted(path.name for path in (tmp_path / str(step)).iterdir()) == ["runc", "theirs"]
        assert not theirs.exists()
        assert notes.first_process(ours)[0] == 50
        assert {path.name for path in ours.iterdir()} == (
            {"status", "config.json", "seccomp.bpf"} if runtime == "crun" else {"state.json"}
        )
        if not killed:
            assert step > 5
            return
    raise AssertionError("it never ended")


def test_its_files_are_whole_at_one_place_or_the_other_whatever_it_is_killed_at(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = kit("foreign")
    monkeypatch.setattr(foreign, "is_root", lambda path, _: (path / "etc").exists())
    for step in range(20):
        rootfs, upper = tmp_path / str(step) / "rootfs", tmp_path / str(step) / "shop" / "upper"
        (rootfs / "etc").mkdir(parents=True)
        upper.mkdir(parents=True)

        def take(rootfs: Path = rootfs, upper: Path = upper) -> None:
            foreign.take_files(7, rootfs, upper)

        killed = killed_at(step, take)
        take()
        assert ((upper / "etc").exists(), rootfs.exists()) == (True, False)
        if not killed:
            break
    assert step > 1


@pytest.mark.parametrize("there", ["nothing", "an empty directory"])
def test_files_of_one_that_failed_go_back_where_they_were(kit: Any, tmp_path: Path, there: str) -> None:
    foreign, rootfs, upper = taken(kit, tmp_path)
    if there != "nothing":
        rootfs.mkdir()
    foreign.give_back("shop", str(upper))
    assert ((rootfs / "etc").exists(), upper.exists()) == (True, False)
    foreign.give_back("shop", str(upper))  # a second call finds it done


def test_files_that_cannot_go_back_are_told_of_and_stay(
    kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign, rootfs, upper = taken(kit, tmp_path)
    (rootfs / "other").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        foreign.give_back("shop", str(upper))
    assert (ended.value.code, (upper / "etc").exists()) == (10, True)
    said = capsys.readouterr().err
    assert f"its files are in {upper} and cannot go back to {rootfs}: Directory not empty" in said


def test_of_one_whose_files_were_not_moved_nothing_goes_back(kit: Any, tmp_path: Path) -> None:
    foreign, rootfs, upper = taken(kit, tmp_path)
    upper.rename(rootfs)
    upper.mkdir()  # as it was made, when the mark was there and the rename was not
    foreign.give_back("shop", str(upper))
    (upper.parent / foreign.MARK).unlink()
    foreign.give_back("shop", str(upper))
    assert ((rootfs / "etc").exists(), list(upper.iterdir())) == (True, [])


def taken(kit: Any, tmp_path: Path) -> tuple[Any, Path, Path]:
    foreign = kit("foreign")
    rootfs, upper = tmp_path / "theirs" / "rootfs", tmp_path / "shop" / "upper"
    (rootfs / "etc").mkdir(parents=True)
    upper.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign, "is_root", lambda path, _: (path / "etc").exists())
        foreign.take_files(7, rootfs, upper)
    return foreign, rootfs, upper


def killed_at(step: int, act: Any) -> bool:
    """Runs it and ends it before its nth change of anything; whether that came."""
    changes = ("mkdir", "open", "rename", "unlink", "rmdir", "fsync")
    left = [step]
    was = {name: getattr(os, name) for name in changes}

    def counted(name: str) -> Any:
        def does(*words: Any, **more: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return was[name](*words, **more)

        return does

    with pytest.MonkeyPatch.context() as patch:
        for name in changes:
            patch.setattr(os, name, counted(name))
        try:
            act()
        except Killed:
            return True
    return False


@pytest.mark.parametrize(
    ("file", "pid", "since"),
    [("status", "pid", "process-start-time"), ("state.json", "init_process_pid", "init_process_start")],
)
def test_it_lives_while_its_first_process_is_the_one_that_was_noted(
    notes: Any, tmp_path: Path, file: str, pid: str, since: str
) -> None:
    about = {"bundle": "/", "rootfs": "", "config": {"rootfs": "/"}}
    began = int(notes.started(os.getpid()))
    for noted_pid, at, lives in ((os.getpid(), began, True), (os.getpid(), began - 1, False), (0, began, False)):
        (tmp_path / file).write_text(json.dumps(about | {pid: noted_pid, since: at}))
        assert notes.lives(tmp_path) is lives


def test_of_mounts_that_are_too_many_to_be_told_it_is_told_how_many(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = kit("foreign")
    mount = foreign.origins.Mount("1", "9999:1", "/", "/proc/x", "tmpfs")
    seen = [mount] * foreign.MOUNTS_MAX + [mount._replace(kind="nfs4", target=f"/srv/{n}") for n in range(3)]
    monkeypatch.setattr(foreign.origins, "mounts", lambda _: seen)
    told = looked(foreign, tmp_path, monkeypatch, capsys, os.getpid())
    assert (len(told["mounts"]), told["untold"]) == (foreign.MOUNTS_MAX, 3)
    del seen[5:]
    assert looked(foreign, tmp_path, monkeypatch, capsys, os.getpid())["untold"] == 0


def test_one_whose_first_process_is_a_zombie_is_stopped(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked for it
        told = looked(kit("foreign"), tmp_path, monkeypatch, capsys, child.pid)
    assert told["status"] == "stopped"


@pytest.mark.parametrize("ends", [True, False])
def test_one_that_ends_while_it_is_looked_at_is_stopped_and_other_faults_are_not_hidden(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: bool
) -> None:
    foreign = kit("foreign")

    def gone(*_: object) -> None:
        if ends:
            monkeypatch.setattr(foreign.notes, "lives", lambda _: False)
        raise FileNotFoundError("/proc/7/root")

    monkeypatch.setattr(foreign, "of_running", gone)
    if ends:
        assert looked(foreign, tmp_path, monkeypatch, capsys, os.getpid())["status"] == "stopped"
    else:
        with pytest.raises(SystemExit):
            looked(foreign, tmp_path, monkeypatch, capsys, os.getpid())
        assert "container plain cannot be looked at: /proc/7/root" in capsys.readouterr().err


def test_what_is_null_in_a_configuration_is_nothing(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = kit("foreign")
    monkeypatch.setattr(foreign.notes, "first_process", lambda _: (1, Path("/no-such")))
    monkeypatch.setattr(foreign, "CONTAINERS", tmp_path)
    monkeypatch.setattr(foreign, "network", lambda _: {})
    monkeypatch.setattr(foreign.groups, "own", lambda _: [])
    monkeypatch.setattr(foreign.groups, "group_of", lambda _: "")
    keys = ("process", "linux", "hooks", "annotations", "mounts")
    process = dict.fromkeys(("capabilities", "args", "env", "cwd", "user", "terminal"))
    linux = {"devices": None, "resources": {"memory": None}}
    mounts = [{"destination": "/x", "type": "tmpfs", "options": None}]
    for config in (
        dict.fromkeys(keys),
        {"process": process, "linux": linux, "mounts": mounts, "hooks": {"poststop": None}},
    ):
        told = foreign.of_running(os.getpid(), tmp_path, config)
        assert (told["args"], told["hooks"], told["binds"], told["devices"], told["uid"]) == ([], [], [], [], 0)


def looked(
    foreign: Any, tmp_path: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pid: int
) -> dict[str, Any]:
    """What is told of a process that runc calls running, with nothing around it."""
    place = Path(noted(tmp_path, "runc"), "plain")
    since = int(foreign.notes.started(pid))
    (place / "state.json").write_text(json.dumps(STATE | {"init_process_pid": pid, "init_process_start": since}))
    (tmp_path / "containers").mkdir(exist_ok=True)
    patch.setattr(foreign, "CONTAINERS", tmp_path / "containers")
    patch.setattr(foreign, "check_root_s", lambda _: None)
    patch.setattr(foreign.shutil, "which", lambda _: "/bin/runc")
    patch.setattr(foreign, "output", lambda *argv: json.dumps({"status": "running", "pid": pid}) * (argv[0] == "runc"))
    patch.setattr(foreign.groups, "own", lambda _: [])
    patch.setattr(foreign.groups, "group_of", lambda _: "")
    foreign.look(str(place.parent), "plain")
    told: dict[str, Any] = json.loads(capsys.readouterr().out.removeprefix("foreign "))
    return told


def test_a_note_of_another_process_is_not_forgotten(notes: Any, tmp_path: Path) -> None:
    root = noted(tmp_path, "crun")
    notes.write("shop", root, "plain", f"{OURS}/upper")
    Path(root, "plain", "status").write_text(json.dumps(STATUS | {"pid": 51}))
    notes.forget("shop", root, "plain")
    assert Path(root, "plain", "status").exists()
    notes.forget("shop", root, "nobody")


@pytest.mark.parametrize("end", ["vplain", "ct900"])
def test_its_cable_comes_up_also_where_an_earlier_try_has_named_it_and_was_killed_then(
    kit: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    foreign, said = kit("foreign"), []
    monkeypatch.setattr(foreign, "network", lambda _: {"links": [["eth0", "mac", end, "br0"]]})
    monkeypatch.setattr(foreign, "output", lambda *argv: said.append(" ".join(argv)))
    foreign.take_cable(7, "ct900", "02:00:00:00:00:01")
    assert any(words.startswith("ip link set dev ct900") and words.endswith(" up") for words in said)


def test_a_device_that_a_runtime_gives_is_told_by_its_name_and_all_else_by_the_nodes_path(
    kit: Any,
) -> None:
    origins = kit("origins")
    node = origins.mounts("self")
    at = next(mount for mount in node if mount.target == "/dev")
    zero = at._replace(root=f"{at.root.rstrip('/')}/zero", target="/dev/zero")
    hidden = at._replace(root=f"{at.root.rstrip('/')}/null", target="/proc/keys")
    other = at._replace(root=f"{at.root.rstrip('/')}/no-such", target="/dev/null")
    own = at._replace(device="9999:1", root="/", target="/dev")
    root, groups = at._replace(target="/"), at._replace(target="/sys/fs/cgroup", kind="cgroup2")
    assert origins.outside([root, groups, own, zero, hidden, other], node) == [
        ["/dev/null", "/dev/no-such"],
        ["/dev/zero", "zero"],
        ["/proc/keys", "null"],
    ]
