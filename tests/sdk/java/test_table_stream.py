"""A table's stream read by KCL 3 as it is, without an adapter, in both of its modes."""

import pytest

from rebuilding import read_by_kcl


@pytest.mark.parametrize("mode", ["polling", "fanout"])
def test_two_workers_rebuild_a_table(server, crew, mode):
    what = f"KCL 3.5.1 on a table's stream, {mode}"
    read_by_kcl(server, crew, what, f"read-{mode}", "kcl3", third=True, mode=mode)
