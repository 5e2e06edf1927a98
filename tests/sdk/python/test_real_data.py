"""Real input: data sets written by several writers at once; a reader that knows only the stream rebuilds the table."""

import pytest

from headwater import Server
from real_data import DATA_SETS, Run

KILLS = 4


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_reader_of_the_stream_rebuilds_the_table(server, name, capsys):
    run = Run(server, name)
    run.start()
    counted = run.finish()
    with capsys.disabled():
        print(f"\n{counted}")
    assert counted["records"] > 100 and counted["items"] > 50 and counted["shards"] > 1


@pytest.mark.parametrize("name", ["airports", "seattle-weather"])
def test_nothing_is_lost_when_the_server_is_killed_in_the_middle(name, capsys):
    server = Server()
    try:
        run = Run(server, name)
        run.start()
        kills, step = 0, 400
        while run.running() and kills < KILLS:
            if run.writes() >= step * (kills + 1):
                server.restart()
                kills += 1
            else:
                run.writers[0].join(0.005)
        counted = {**run.finish(), "kills": kills}
        with capsys.disabled():
            print(f"\n{counted}")
        assert kills == KILLS and counted["records"] > 1_000 and counted["items"] > 500
        # And once more from disk alone.
        server.restart()
        assert len(run._scan()) == counted["items"]
        server.stop()
    finally:
        server.close()
