"""What happens to the tests that need a cluster on a machine that cannot run one."""

from __future__ import annotations

import pytest

from localcluster import machine
from localcluster.errors import MachineCannot
from localcluster.fixtures import skipped_where_impossible


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "LONGSHORE_FAIL_ON_SKIP"):
        monkeypatch.delenv(name, raising=False)


def test_a_test_is_skipped_with_one_line_that_says_why() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^a local node needs root$"), skipped_where_impossible():
        raise MachineCannot("a local node needs root")


@pytest.mark.parametrize("name", ["CI", "LONGSHORE_FAIL_ON_SKIP"])
def test_where_skips_are_not_allowed_it_fails_with_the_same_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(pytest.fail.Exception, match="a local node needs root"), skipped_where_impossible():
        raise MachineCannot("a local node needs root")


def test_a_machine_without_go_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert machine.missing_for_control_plane() == (
        "the local control plane is compiled with Go, and there is no go on the PATH (needs 1.24 or later)"
    )


def test_someone_who_is_not_root_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert machine.missing_for_node() == "a local node needs root: run this as root"
