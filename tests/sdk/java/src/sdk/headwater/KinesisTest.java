package headwater;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.InvalidArgumentException;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.ResourceInUseException;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardFilterType;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEventStream;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

/** Data streams through the unmodified SDK, in each of its ways. */
final class KinesisTest {
    private static final Duration WITHIN = Duration.ofMinutes(2);
    private static final AtomicInteger PUT = new AtomicInteger();
    private static final AtomicInteger READ = new AtomicInteger();
    private static final AtomicInteger PUSHED = new AtomicInteger();
    private static final AtomicInteger REFUSED = new AtomicInteger();

    static List<Way> ways() {
        return Way.all().toList();
    }

    static List<Way> push() {
        return Way.withPush();
    }

    @AfterAll
    static void counted() {
        System.out.println("kinesis: " + PUT + " put, " + READ + " read, " + PUSHED + " pushed, " + REFUSED
                + " refused, as " + Way.CONTENT_TYPES);
        for (AtomicInteger count : List.of(PUT, READ, PUSHED, REFUSED)) {
            assertTrue(count.get() > 0);
        }
        assertEquals(Set.of("application/x-amz-cbor-1.1", "application/x-amz-json-1.1"), Way.CONTENT_TYPES);
    }

    @ParameterizedTest
    @MethodSource("ways")
    void recordsComeBack(Way way) throws Exception {
        KinesisAsyncClient client = way.kinesis();
        String name = "records-" + way.label();
        create(client, name, 2);
        byte[] large = new byte[1 << 20];
        Arrays.fill(large, (byte) 7);
        List<Map.Entry<String, byte[]>> wanted = List.of(
                Map.entry("k", new byte[0]),
                Map.entry("k", new byte[] {0, -1, -128, 127}),
                Map.entry("🦀".repeat(256), "grüße".getBytes(StandardCharsets.UTF_8)),
                Map.entry("large", large));
        Map<String, Map.Entry<String, byte[]>> placed = new HashMap<>();
        for (Map.Entry<String, byte[]> each : wanted) {
            PutRecordResponse answer = put(client, name, each.getKey(), each.getValue());
            placed.put(answer.shardId() + answer.sequenceNumber(), each);
        }
        for (Shard shard : shards(client, name, null)) {
            for (Record record : read(client, name, shard.shardId()).records()) {
                Map.Entry<String, byte[]> is = placed.remove(shard.shardId() + record.sequenceNumber());
                assertEquals(is.getKey(), record.partitionKey());
                assertArrayEquals(is.getValue(), record.data().asByteArray());
                assertTrue(within(record.partitionKey(), shard));
            }
        }
        assertTrue(placed.isEmpty(), "not all came back");
    }

    @ParameterizedTest
    @MethodSource("ways")
    void aBatchIsAnsweredInItsOrder(Way way) {
        KinesisAsyncClient client = way.kinesis();
        String name = "batch-" + way.label();
        create(client, name, 3);
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (int index = 0; index < 100; index++) {
            entries.add(PutRecordsRequestEntry.builder()
                    .partitionKey("key-" + index)
                    .data(SdkBytes.fromUtf8String("value " + index))
                    .build());
        }
        var answer = client.putRecords(r -> r.streamName(name).records(entries)).join();
        PUT.addAndGet(entries.size());
        assertEquals(0, answer.failedRecordCount());
        Map<String, String> values = new HashMap<>();
        for (Shard shard : shards(client, name, null)) {
            for (Record record : read(client, name, shard.shardId()).records()) {
                values.put(shard.shardId() + record.sequenceNumber(), record.data().asUtf8String());
            }
        }
        for (int index = 0; index < entries.size(); index++) {
            var result = answer.records().get(index);
            assertEquals("value " + index, values.get(result.shardId() + result.sequenceNumber()));
        }
    }

    /** A record's arrival and a stream's creation are the same millisecond in both encodings, and as an argument. */
    @ParameterizedTest
    @MethodSource("ways")
    void timesAreExactToTheMillisecond(Way way) {
        KinesisAsyncClient client = way.kinesis();
        KinesisAsyncClient other = new Way(!way.cbor(), way.http(), way.negotiation()).kinesis();
        String name = "times-" + way.label();
        StreamDescriptionSummary made = create(client, name, 1);
        assertEquals(made.streamCreationTimestamp(), summary(other, name).streamCreationTimestamp());
        assertTrue(Duration.between(made.streamCreationTimestamp(), Instant.now()).abs().toMinutes() < 10);
        String shard = shards(client, name, null).get(0).shardId();
        for (int index = 0; index < 20; index++) {
            put(client, name, "k", new byte[] {(byte) index});
        }
        List<Record> records = read(client, name, shard).records();
        List<Record> same = read(other, name, shard).records();
        assertEquals(20, records.size());
        assertEquals(records, same);
        Set<Integer> fractions = new HashSet<>();
        for (Record record : records) {
            Instant at = record.approximateArrivalTimestamp();
            assertEquals(0, at.getNano() % 1_000_000, "whole milliseconds");
            fractions.add(at.getNano());
            String start = client.getShardIterator(r -> r.streamName(name)
                            .shardId(shard)
                            .shardIteratorType(ShardIteratorType.AT_TIMESTAMP)
                            .timestamp(at))
                    .join()
                    .shardIterator();
            Record first = client.getRecords(r -> r.shardIterator(start)).join().records().get(0);
            assertEquals(at, first.approximateArrivalTimestamp());
        }
        assertTrue(fractions.size() > 1, "no record arrived within a second: " + fractions);
    }

    @ParameterizedTest
    @MethodSource("ways")
    void aSplitShardEndsWithItsChildren(Way way) {
        KinesisAsyncClient client = way.kinesis();
        String name = "split-" + way.label();
        create(client, name, 1);
        Shard parent = shards(client, name, null).get(0);
        put(client, name, "k", new byte[] {1});
        split(client, name, parent);
        GetRecordsResponse last = read(client, name, parent.shardId());
        assertNull(last.nextShardIterator());
        assertEquals(1, last.records().size());
        assertEquals(2, last.childShards().size());
        last.childShards().forEach(child -> assertEquals(List.of(parent.shardId()), child.parentShards()));
        List<Shard> open = shards(client, name, ShardFilterType.AT_LATEST);
        assertEquals(2, open.size());
        List<Shard> first = shards(client, name, ShardFilterType.AT_TRIM_HORIZON);
        assertEquals(List.of(parent.shardId()), first.stream().map(Shard::shardId).toList());
        assertTrue(first.get(0).sequenceNumberRange().endingSequenceNumber() != null);
        client.mergeShards(r -> r.streamName(name)
                        .shardToMerge(open.get(0).shardId())
                        .adjacentShardToMerge(open.get(1).shardId()))
                .join();
        active(client, name);
        Shard merged = shards(client, name, ShardFilterType.AT_LATEST).get(0);
        assertEquals(open.get(0).shardId(), merged.parentShardId());
        assertEquals(open.get(1).shardId(), merged.adjacentParentShardId());
        assertEquals(parent.hashKeyRange(), merged.hashKeyRange());
    }

    @ParameterizedTest
    @MethodSource("ways")
    void refusalsAreTyped(Way way) {
        KinesisAsyncClient client = way.kinesis();
        String none = "none-" + way.label();
        refused(ResourceNotFoundException.class, "Stream " + none + " under account 000000000000 not found.",
                client.describeStreamSummary(r -> r.streamName(none)));
        String name = "errors-" + way.label();
        create(client, name, 1);
        refused(ResourceInUseException.class, "Stream " + name + " under account 000000000000 already exists.",
                client.createStream(r -> r.streamName(name).shardCount(1)));
        refused(InvalidArgumentException.class, "Invalid ShardIterator.",
                client.getRecords(r -> r.shardIterator("garbage")));
    }

    /** Records that are there, records that come, the end of the shard, and a second subscription too early. */
    @ParameterizedTest
    @MethodSource("push")
    void recordsArePushed(Way way) throws Exception {
        KinesisAsyncClient client = way.kinesis();
        String name = "push-" + way.label();
        String arn = create(client, name, 1).streamARN();
        Shard shard = shards(client, name, null).get(0);
        String consumer = consumer(client, arn);
        put(client, name, "k", "before".getBytes(StandardCharsets.UTF_8));

        Subscription subscription = subscribe(client, consumer, shard.shardId());
        assertEquals("before", subscription.nextRecord());
        refused(ResourceInUseException.class, null, subscribe(client, consumer, shard.shardId()).done);
        for (int index = 0; index < 50; index++) {
            put(client, name, "k", ("after " + index).getBytes(StandardCharsets.UTF_8));
            assertEquals("after " + index, subscription.nextRecord());
        }
        split(client, name, shard);
        SubscribeToShardEvent last = subscription.lastEvent();
        assertNull(last.continuationSequenceNumber());
        assertEquals(2, last.childShards().size());
        last.childShards().forEach(child -> assertEquals(List.of(shard.shardId()), child.parentShards()));
        subscription.done.get(WITHIN.toSeconds(), TimeUnit.SECONDS);
    }

    private static final class Subscription {
        final LinkedBlockingQueue<SubscribeToShardEvent> events = new LinkedBlockingQueue<>();
        final List<Record> waiting = new ArrayList<>();
        CompletableFuture<Void> done;

        String nextRecord() throws InterruptedException {
            while (waiting.isEmpty()) {
                SubscribeToShardEvent event = events.poll(WITHIN.toSeconds(), TimeUnit.SECONDS);
                waiting.addAll(event.records());
            }
            PUSHED.incrementAndGet();
            return waiting.remove(0).data().asUtf8String();
        }

        SubscribeToShardEvent lastEvent() throws InterruptedException {
            while (true) {
                SubscribeToShardEvent event = events.poll(WITHIN.toSeconds(), TimeUnit.SECONDS);
                assertTrue(event.records().isEmpty());
                if (event.hasChildShards()) {
                    return event;
                }
            }
        }
    }

    private static Subscription subscribe(KinesisAsyncClient client, String consumer, String shardId) {
        Subscription subscription = new Subscription();
        SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
                .subscriber((SubscribeToShardEventStream event) -> {
                    if (event instanceof SubscribeToShardEvent records) {
                        subscription.events.add(records);
                    }
                })
                .build();
        subscription.done = client.subscribeToShard(
                r -> r.consumerARN(consumer)
                        .shardId(shardId)
                        .startingPosition(start -> start.type(ShardIteratorType.TRIM_HORIZON)),
                handler);
        return subscription;
    }

    private static String consumer(KinesisAsyncClient client, String streamArn) {
        String arn = client.registerStreamConsumer(r -> r.streamARN(streamArn).consumerName("application"))
                .join().consumer().consumerARN();
        Waiting.until("the consumer is ACTIVE", WITHIN, () -> client.describeStreamConsumer(r -> r.consumerARN(arn))
                .join().consumerDescription().consumerStatus() == ConsumerStatus.ACTIVE);
        return arn;
    }

    private static void refused(Class<? extends Exception> type, String text, CompletableFuture<?> call) {
        CompletionException failure = assertThrows(CompletionException.class, call::join);
        Exception cause = assertInstanceOf(type, failure.getCause());
        if (text != null) {
            assertTrue(cause.getMessage().startsWith(text), cause.getMessage());
        }
        REFUSED.incrementAndGet();
    }

    private static StreamDescriptionSummary create(KinesisAsyncClient client, String name, int shards) {
        client.createStream(r -> r.streamName(name).shardCount(shards)).join();
        return active(client, name);
    }

    private static StreamDescriptionSummary summary(KinesisAsyncClient client, String name) {
        return client.describeStreamSummary(r -> r.streamName(name)).join().streamDescriptionSummary();
    }

    private static StreamDescriptionSummary active(KinesisAsyncClient client, String name) {
        Waiting.until(name + " is ACTIVE", WITHIN, () -> summary(client, name).streamStatusAsString().equals("ACTIVE"));
        return summary(client, name);
    }

    private static void split(KinesisAsyncClient client, String name, Shard shard) {
        BigInteger start = new BigInteger(shard.hashKeyRange().startingHashKey());
        BigInteger end = new BigInteger(shard.hashKeyRange().endingHashKey());
        String middle = start.add(end).shiftRight(1).toString();
        client.splitShard(r -> r.streamName(name).shardToSplit(shard.shardId()).newStartingHashKey(middle)).join();
        active(client, name);
    }

    private static List<Shard> shards(KinesisAsyncClient client, String name, ShardFilterType filter) {
        return client.listShards(r -> {
                    r.streamName(name);
                    if (filter != null) {
                        r.shardFilter(f -> f.type(filter));
                    }
                })
                .join()
                .shards();
    }

    private static PutRecordResponse put(KinesisAsyncClient client, String name, String key, byte[] data) {
        PutRecordResponse answer = client.putRecord(
                        r -> r.streamName(name).partitionKey(key).data(SdkBytes.fromByteArray(data)))
                .join();
        PUT.incrementAndGet();
        return answer;
    }

    /** All of a shard's records from the beginning, to its tip or its end, in the last answer. */
    private static GetRecordsResponse read(KinesisAsyncClient client, String name, String shardId) {
        String next = client.getShardIterator(r ->
                        r.streamName(name).shardId(shardId).shardIteratorType(ShardIteratorType.TRIM_HORIZON))
                .join()
                .shardIterator();
        List<Record> all = new ArrayList<>();
        while (true) {
            String iterator = next;
            GetRecordsResponse page = client.getRecords(r -> r.shardIterator(iterator).limit(3)).join();
            assertFalse(page.records().size() > 3);
            all.addAll(page.records());
            READ.addAndGet(page.records().size());
            next = page.nextShardIterator();
            if (next == null || (page.records().isEmpty() && page.millisBehindLatest() == 0)) {
                return page.toBuilder().records(all).build();
            }
        }
    }

    private static boolean within(String key, Shard shard) throws Exception {
        byte[] digest = MessageDigest.getInstance("MD5").digest(key.getBytes(StandardCharsets.UTF_8));
        BigInteger hash = new BigInteger(1, digest);
        return hash.compareTo(new BigInteger(shard.hashKeyRange().startingHashKey())) >= 0
                && hash.compareTo(new BigInteger(shard.hashKeyRange().endingHashKey())) <= 0;
    }
}
