"""More versions, more languages and more trouble than CI has time for: `cargo xtask matrix` runs these by name, and those of
matrix_tables.py."""

import collections
import functools
import pathlib
import sys
import time

import pytest

from data_stream import create, merge, open_shards, split
from headwater import REGION, until
from judge import SHARD_END, judge
from leases import assert_leases, indexed, leader, leases, owners
from producing import Producer, over_a_gap, truth, until_ahead, until_all_read
from scenario import WITHIN_S, Run, reshaped_and_killed
from tables import ACCOUNT
from workers import FLINK_JVM, java


def test_kcl2(server, crew):
    """KCL 2: no leader and no index, workers steal leases from each other."""
    run = Run(server, crew, "kcl2", lambda name: crew.kcl(run, name, "kcl2", mode="fanout"), third=False)
    reshaped_and_killed(run, "KCL 2.7.2, fanout")


def test_kcl1(server, crew):
    """KCL 1 on the SDK for Java 1."""
    run = Run(server, crew, "kcl1", lambda name: crew.kcl(run, name, "kcl1", "headwater.OldWorker"), third=False)
    reshaped_and_killed(run, "KCL 1.15.3")


DAEMON = "software.amazon.kinesis.multilang.MultiLangDaemon"


def test_multilang(server, crew):
    """MultiLangDaemon starts consumer.py for each shard; who kills the daemon leaves its consumers to end by themselves."""

    def start(name):
        settings = {
            "executableName": f"{sys.executable} {pathlib.Path(__file__).with_name('consumer.py')}",
            "streamName": run.name,
            "applicationName": run.application,
            "workerId": name,
            "AwsCredentialsProvider": "EnvironmentVariableCredentialsProvider",
            "initialPositionInStream": "TRIM_HORIZON",
            "retrievalMode": "POLLING",
            "maxRecords": 200,
            "idleTimeBetweenReadsInMillis": 200,
            "failoverTimeMillis": 4_000,
            "leaseAssignmentIntervalMillis": 1_000,
            "parentShardPollIntervalMillis": 500,
            "shardSyncIntervalMillis": 5_000,
            "disableWorkerMetrics": "true",
            "workerMetricsReporterFreqInMillis": 1_000,
            "metricsLevel": "NONE",
            "shutdownGraceMillis": 20_000,
        }
        path = crew.folder / f"{name}.properties"
        path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        environment = {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "HEADWATER_STREAM": run.name,
            "HEADWATER_EVENTS": "{file}",
        }
        return crew.start(name, java("multilang", DAEMON, "--properties-file", str(path)), environment)

    run = Run(server, crew, "multilang", start)
    reshaped_and_killed(run, "MultiLangDaemon 3.1.3 with Python")


def creation(kinesis, name):
    """A stream as KCL names it in its multi-stream mode."""
    made = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamCreationTimestamp"]
    return f"{ACCOUNT}:{name}:{int(made.timestamp())}"


def test_multi_stream(server, crew):
    """One application of KCL 3 reads two streams, one of which is split and the other merged."""
    begin = time.monotonic()
    kinesis, dynamodb = server.client("kinesis"), server.client("dynamodb")
    names, application = ["left", "right"], "multi-stream"
    for name in names:
        create(kinesis, name, shards=2)
    producers = {name: Producer(kinesis, name) for name in names}
    streams = {name: creation(kinesis, name) for name in names}

    def put(rounds):
        for producer in producers.values():
            producer.until(rounds)

    def start(name):
        arguments = {"endpoint": server.endpoint, "application": application, "streams": ",".join(streams.values())}
        crew.java(name, "kcl3", "headwater.KclWorker", mode="polling", **arguments)

    put(10)
    start("one")
    until(lambda: indexed(dynamodb, application), "the first worker makes the index", WITHIN_S)
    start("two")
    until(lambda: len(owners(dynamodb, application)) == 2, "both workers hold leases", WITHIN_S)
    split(kinesis, "left", open_shards(kinesis, "left")[0])
    merge(kinesis, "right", *open_shards(kinesis, "right"))
    put(50)
    until_all_read(crew, producers.values(), 54, WITHIN_S)
    chief = leader(dynamodb, application)
    victims = sorted(crew.workers, key=lambda worker: worker.name == chief)
    victim = until_ahead(victims, crew, producers.values(), 58, WITHIN_S)
    victim.kill()
    put(60)
    total = sum(producer.records for producer in producers.values())
    until(lambda: crew.seen() == total, "all records are seen", WITHIN_S)
    held = {name: truth(kinesis, name, producer) for name, producer in producers.items()}
    closed = {f"{streams[name]}:{id_}" for name in names for id_, shard in held[name].items() if shard.closed}

    def ended():
        found = leases(dynamodb, application)
        return all(found.get(row, {}).get("checkpoint") == SHARD_END for row in closed)

    until(ended, "closed shards end", WITHIN_S)
    next(worker for worker in crew.workers if worker is not victim).stop()
    counts = judge(held, crew.events())
    rows = 0
    for name in names:
        key = functools.partial("{}:{}".format, streams[name])
        rows += assert_leases(dynamodb, kinesis, application, name, held[name], key=key)
    assert counts.records == total == 6_000 and counts.keys == 100 and counts.shards_ended == 3 and rows == 7
    print(f"\nKCL 3.5.1, two streams: {counts}; {rows} lease rows right, {time.monotonic() - begin:.0f} s")


def kcl3(server, crew, name, mode="polling"):
    run = Run(server, crew, name, lambda worker: crew.kcl(run, worker, "kcl3", mode=mode))
    return run


def test_third_worker(server, crew):
    """A third worker joins: the old owner of a lease reads to its last checkpoint before the new one begins."""
    run = kcl3(server, crew, "joined")
    run.workers_begin()

    def joined():
        # The leader moves load, so there must be some, just as fast as it is read.
        if run.crew.seen() == run.producer.records:
            run.producer.round()
        return "three" in run.owners() and run.crew.workers[-1].records()

    run.start("three")
    until(joined, "the third worker holds a lease and reads", WITHIN_S)
    held = run.finish(rounds=run.producer.rounds + 20)
    counts, rows = run.judge(held)
    assert counts.again == 0, "a record came twice although nobody died"
    moved = sum(event.kind == "requested" for event in crew.events())
    assert moved > 0
    print(f"\nKCL 3.5.1, a third worker: {counts}; {moved} leases handed over, {rows} lease rows right, {run.seconds()}")


def test_leader_killed(server, crew):
    """The leader of three workers is killed: another one is elected and gives its leases to those who are left."""
    run = kcl3(server, crew, "beheaded")
    run.workers_begin(3)
    old = run.kill(leading=True)
    run.reshape()

    def elected():
        now = leader(run.dynamodb, run.application)
        return now if now != old.name else None

    new = until(elected, "another leader is elected", WITHIN_S)
    held = run.finish(gone=[old])
    counts, rows = run.judge(held)
    assert counts.records == 5_000 and counts.shards_ended == 3
    print(f"\nKCL 3.5.1, the leader killed: {counts}; {rows} lease rows right, {old.name} led, then {new}, {run.seconds()}")


def test_restart(server, crew, tmp_path):
    """Two applications, one of each mode, live through a server that is killed and started three times."""
    run = kcl3(server, crew, "restarted", "fanout")
    run.workers_begin()
    (tmp_path / "polling").mkdir()
    other_crew = type(crew)(tmp_path / "polling")
    try:
        other = {"endpoint": server.endpoint, "application": "other", "stream": run.name, "mode": "polling", "http": "1"}
        other_crew.java("one", "kcl3", "headwater.KclWorker", **other)
        until(lambda: other_crew.seen() == run.producer.records, "the other application has caught up", WITHIN_S)
        first, second, third, _ = open_shards(run.kinesis, run.name)
        for stage in (
            lambda: None,
            lambda: split(run.kinesis, run.name, first),
            lambda: merge(run.kinesis, run.name, second, third),
        ):
            server.restart()
            stage()
            run.producer.until(run.producer.rounds + 20)
            server.restart()
            everyone = (crew, other_crew)
            until(lambda: all(c.seen() == run.producer.records for c in everyone), "all is seen", WITHIN_S)
        held = run.finish()
        workers = crew.workers + other_crew.workers
        until(lambda: other_crew.seen() == run.producer.records, "the other application sees all", WITHIN_S)
        closed = [id_ for id_, shard in held.items() if shard.closed]
        rows_of_other = lambda: leases(run.dynamodb, "other")  # noqa: E731
        until(lambda: all(rows_of_other()[id_]["checkpoint"] == SHARD_END for id_ in closed), "its shards end", WITHIN_S)
        other_crew.workers[0].stop()
        counts, rows = run.judge(held)
        of_other = judge({run.name: held}, other_crew.events())
        assert of_other.records == counts.records == 5_000 and of_other.shards_ended == 3
        print(f"\nKCL 3.5.1, 6 restarts, fanout: {counts}; {rows} lease rows right, {run.seconds()}")
        print(f"KCL 3.5.1, 6 restarts, polling: {of_other}; {len(workers)} workers lived")
    finally:
        other_crew.close()


def test_trimmed(server, crew):
    """KCL starts again after more than the retention: from checkpoints before the trim horizon, in a shard that is gone too."""
    run = kcl3(server, crew, "trimmed")
    run.producer.until(20)
    first = run.start("one")
    until(lambda: crew.seen() == run.producer.records, "all is seen", WITHIN_S)
    before = truth(run.kinesis, run.name, run.producer)
    first.stop()
    split(run.kinesis, run.name, open_shards(run.kinesis, run.name)[0])
    run.producer.until(30)
    missed = run.producer.records - crew.seen()
    server.control("/v1/clock/advance", {"by": "25h"})
    run.producer.until(50)
    after = truth(run.kinesis, run.name)
    kept = sum(len(shard.records) for shard in after.values())
    assert (missed, kept) == (500, 1_000) and len(before) == 4 and len(after) == 5
    run.start("two")
    until(lambda: crew.seen() == 1_000 + kept, "what is still there is seen", WITHIN_S)
    run.crew.workers[1].stop()
    (gone,) = set(before) - set(after)
    held = over_a_gap(before, after)
    assert [shard_id for shard_id, shard in held.items() if shard.closed] == [gone]
    counts = judge({run.name: held}, crew.events(), trimmed=True)
    assert counts.records == 2_000 and counts.again == 0 and counts.shards_ended == 1
    print(f"\nKCL 3.5.1, trimmed checkpoints: {counts}; {missed} records trimmed unread, {run.seconds()}")


@pytest.mark.parametrize("mode", ["POLLING", "EFO"])
def test_flink(server, crew, mode):
    """Flink's connector counts windows while the stream is split and merged."""
    run = Run(server, crew, f"flink-{mode.lower()}", None)
    run.producer.until(10)
    settings = {"endpoint": server.endpoint, "stream": run.name, "mode": mode}
    job = crew.java("job", "flink", "headwater.FlinkJob", jvm=FLINK_JVM, **settings)

    def windows():
        return [event.fields for event in job.events() if event.kind == "window"]

    def counted():
        return sum(int(count) for _, count, _ in windows())

    until(lambda: counted() == run.producer.records, "the first windows are counted", WITHIN_S)
    first, second, third, _ = open_shards(run.kinesis, run.name)
    split(run.kinesis, run.name, first)
    run.producer.until(55)
    merge(run.kinesis, run.name, second, third)
    run.producer.until(100)
    until(lambda: counted() == run.producer.records, "all windows are counted", WITHIN_S)
    values = collections.defaultdict(list)
    for key, count, of_window in windows():
        assert int(count) == len(of_window.split(","))
        values[key] += map(int, of_window.split(","))
    assert len(values) == 50 and all(sorted(of_key) == list(range(100)) for of_key in values.values())
    assert len(windows()) >= 100  # the first ones were counted before the rest was put
    print(f"\nFlink 1.19.1, {mode}: {counted()} records of {len(values)} keys in {len(windows())} windows, {run.seconds()}")
