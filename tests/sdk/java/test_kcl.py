"""The unmodified Kinesis Client Library 3 on a data stream, its leases on our tables, in both of its modes."""

import pytest

from scenario import Run, reshaped_and_killed

# Polling over HTTP/1.1, pushed over HTTP/2 in the clear, which is the client's own choice; CBOR in both.
MODES = {"polling": "1", "fanout": "2"}


@pytest.mark.parametrize("mode", MODES)
def test_two_workers_read_all_in_order(server, crew, mode):
    run = Run(server, crew, mode, lambda name: crew.kcl(run, name, "kcl3", mode=mode, http=MODES[mode]))
    reshaped_and_killed(run, f"KCL 3.5.1, {mode}")
