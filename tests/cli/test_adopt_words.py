"""What `ct adopt` says of the command that does it."""

from __future__ import annotations

import pytest

from migrator.executor import adopt
from migrator.model.facts import Cluster


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((), "migrator ct adopt n1 plain --yes"),
        (("--ip", "10.0.0.9", "--ip", "fd00::9"), "migrator ct adopt n1 plain --ip 10.0.0.9 --ip fd00::9 --yes"),
        (
            ("--name", "shop", "--root", "/run/my runc", "--memory", "1G", "--cpus", "0.5", "--dry-run"),
            "migrator ct adopt n1 plain --root '/run/my runc' --name shop --memory 1G --cpus 0.5 --yes",
        ),
    ],
)
def test_a_look_names_the_command_with_the_options_that_were_given(
    migrator, monkeypatch, tmp_path, given: tuple[str, ...], named: str
) -> None:
    (tmp_path / "none.yaml").write_text("name: c\nnodes:\n- name: n1\n")

    async def looked(fleet: object, asked: adopt.Asked) -> tuple[adopt.Looked, Cluster]:
        return adopt.Looked("/run/runc", None, []), Cluster("c", ())  # type: ignore[arg-type]

    monkeypatch.setattr(adopt, "look", looked)
    code, out, err = migrator("ct", "adopt", "n1", "plain", *given)
    assert (code, out.splitlines()[-1], err) == (0, f"it can be taken: {named}", "")
