package headwater;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbAsyncTable;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbEnhancedAsyncClient;
import software.amazon.awssdk.enhanced.dynamodb.Expression;
import software.amazon.awssdk.enhanced.dynamodb.Key;
import software.amazon.awssdk.enhanced.dynamodb.TableSchema;
import software.amazon.awssdk.enhanced.dynamodb.model.Page;
import software.amazon.awssdk.enhanced.dynamodb.model.QueryConditional;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.BillingMode;
import software.amazon.awssdk.services.dynamodb.model.ConditionalCheckFailedException;
import software.amazon.awssdk.services.dynamodb.model.KeyType;
import software.amazon.awssdk.services.dynamodb.model.OperationType;
import software.amazon.awssdk.services.dynamodb.model.ReturnValuesOnConditionCheckFailure;
import software.amazon.awssdk.services.dynamodb.model.ScalarAttributeType;
import software.amazon.awssdk.services.dynamodb.model.Shard;
import software.amazon.awssdk.services.dynamodb.model.ShardIteratorType;
import software.amazon.awssdk.services.dynamodb.model.StreamViewType;
import software.amazon.awssdk.services.dynamodb.model.TransactionCanceledException;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsAsyncClient;

/** Tables and their streams through the unmodified SDK, plain and enhanced. */
@SuppressWarnings("unchecked") // the SDK's own lists of builders
final class DynamoDbTest {
    private static final String TABLE = "java";
    private static int items;
    private static int changes;
    private static DynamoDbAsyncClient client;
    private static DynamoDbStreamsAsyncClient streams;
    private static String streamArn;

    @BeforeAll
    static void table() {
        client = DynamoDbAsyncClient.builder()
                .endpointOverride(Way.ENDPOINT).region(Way.REGION).credentialsProvider(Way.CREDENTIALS)
                .httpClientBuilder(Way.patient()).build();
        streams = DynamoDbStreamsAsyncClient.builder()
                .endpointOverride(Way.ENDPOINT).region(Way.REGION).credentialsProvider(Way.CREDENTIALS)
                .httpClientBuilder(Way.patient()).build();
        client.createTable(r -> r.tableName(TABLE)
                        .attributeDefinitions(
                                a -> a.attributeName("pk").attributeType(ScalarAttributeType.S),
                                a -> a.attributeName("sk").attributeType(ScalarAttributeType.N))
                        .keySchema(
                                k -> k.attributeName("pk").keyType(KeyType.HASH),
                                k -> k.attributeName("sk").keyType(KeyType.RANGE))
                        .billingMode(BillingMode.PAY_PER_REQUEST)
                        .streamSpecification(
                                s -> s.streamEnabled(true).streamViewType(StreamViewType.NEW_AND_OLD_IMAGES)))
                .join();
        client.waiter().waitUntilTableExists(r -> r.tableName(TABLE)).join();
        streamArn = client.describeTable(r -> r.tableName(TABLE)).join().table().latestStreamArn();
    }

    @AfterAll
    static void counted() {
        System.out.println("dynamodb: " + items + " items, " + changes + " changes read");
        assertTrue(items > 0 && changes > 0);
        client.close();
        streams.close();
    }

    private static AttributeValue text(String value) {
        return AttributeValue.fromS(value);
    }

    private static AttributeValue number(Object value) {
        return AttributeValue.fromN(value.toString());
    }

    @Test
    void itemsOfEveryTypeComeBack() {
        Map<String, AttributeValue> item = Map.of(
                "pk", text("types"),
                "sk", number(1),
                "number", number("-1.2345678901234567890123456789012345678E+100"),
                "bytes", AttributeValue.fromB(SdkBytes.fromByteArray(new byte[] {0, -1})),
                "yes", AttributeValue.fromBool(true),
                "nothing", AttributeValue.fromNul(true),
                "texts", AttributeValue.fromSs(List.of("ä", "🦀")),
                "list", AttributeValue.fromL(List.of(text(""), number(0))),
                "map", AttributeValue.fromM(Map.of("inner", AttributeValue.fromM(Map.of()))));
        client.putItem(r -> r.tableName(TABLE).item(item)).join();
        Map<String, AttributeValue> found = client.getItem(r -> r.tableName(TABLE)
                        .key(Map.of("pk", text("types"), "sk", number("1.0")))
                        .consistentRead(true))
                .join()
                .item();
        assertEquals(item.keySet(), found.keySet());
        assertEquals(0, new BigDecimal(item.get("number").n()).compareTo(new BigDecimal(found.get("number").n())));
        for (String name : List.of("bytes", "yes", "nothing", "list", "map")) {
            assertEquals(item.get(name), found.get(name), name);
        }
        items++;
    }

    @Test
    void conditionsAndTransactionsAreRefusedWithWhy() {
        Map<String, AttributeValue> key = Map.of("pk", text("condition"), "sk", number(1));
        client.putItem(r -> r.tableName(TABLE).item(key)).join();
        items++;
        CompletionException failure = assertThrows(CompletionException.class, () -> client.putItem(
                        r -> r.tableName(TABLE)
                                .item(key)
                                .conditionExpression("attribute_not_exists(pk)")
                                .returnValuesOnConditionCheckFailure(ReturnValuesOnConditionCheckFailure.ALL_OLD))
                .join());
        ConditionalCheckFailedException refused = (ConditionalCheckFailedException) failure.getCause();
        assertEquals("condition", refused.item().get("pk").s());
        failure = assertThrows(CompletionException.class, () -> client.transactWriteItems(r -> r.transactItems(
                        t -> t.put(p -> p.tableName(TABLE).item(Map.of("pk", text("other"), "sk", number(1)))),
                        t -> t.conditionCheck(c -> c.tableName(TABLE)
                                .key(key)
                                .conditionExpression("attribute_not_exists(pk)"))))
                .join());
        TransactionCanceledException cancelled = (TransactionCanceledException) failure.getCause();
        assertEquals(List.of("None", "ConditionalCheckFailed"), cancelled.cancellationReasons().stream()
                .map(reason -> reason.code()).toList());
        assertTrue(client.getItem(r -> r.tableName(TABLE).key(Map.of("pk", text("other"), "sk", number(1)))).join()
                .item().isEmpty());
    }

    @Test
    void theEnhancedClientMapsPagesAndConditions() {
        DynamoDbAsyncTable<Reading> table = DynamoDbEnhancedAsyncClient.builder().dynamoDbClient(client).build()
                .table(TABLE, TableSchema.fromBean(Reading.class));
        for (int index = 0; index < 25; index++) {
            table.putItem(Reading.of("station", index, "value " + index)).join();
            items++;
        }
        List<Reading> found = new ArrayList<>();
        List<Integer> pages = new ArrayList<>();
        table.query(r -> r.queryConditional(QueryConditional.sortBetween(
                                Key.builder().partitionValue("station").sortValue(5).build(),
                                Key.builder().partitionValue("station").sortValue(19).build()))
                        .limit(4))
                .subscribe((Page<Reading> page) -> {
                    pages.add(page.items().size());
                    found.addAll(page.items());
                })
                .join();
        assertEquals(15, found.size());
        assertEquals("value 5", found.get(0).getText());
        assertTrue(pages.size() >= 4, pages.toString());
        Expression absent = Expression.builder().expression("attribute_not_exists(pk)").build();
        CompletionException failure = assertThrows(CompletionException.class, () -> table.putItem(
                r -> r.item(Reading.of("station", 5, "again")).conditionExpression(absent)).join());
        assertTrue(failure.getCause() instanceof ConditionalCheckFailedException);
        assertEquals("value 5", table.getItem(Reading.of("station", 5, null)).join().getText());
    }

    @Test
    void aStreamTellsOfEveryChange() {
        Map<String, AttributeValue> key = Map.of("pk", text("changes"), "sk", number(7));
        client.updateItem(r -> r.tableName(TABLE).key(key).updateExpression("SET v = :v")
                .expressionAttributeValues(Map.of(":v", number(1)))).join();
        client.updateItem(r -> r.tableName(TABLE).key(key).updateExpression("ADD v :v")
                .expressionAttributeValues(Map.of(":v", number(2)))).join();
        client.deleteItem(r -> r.tableName(TABLE).key(key)).join();
        items++;
        List<software.amazon.awssdk.services.dynamodb.model.Record> seen = new ArrayList<>();
        Waiting.until("the changes are in the stream", Duration.ofMinutes(1), () -> {
            seen.clear();
            for (Shard shard : streams.describeStream(r -> r.streamArn(streamArn)).join().streamDescription().shards()) {
                seen.addAll(records(shard.shardId()));
            }
            seen.removeIf(record -> !record.dynamodb().keys().equals(key));
            return seen.size() == 3;
        });
        assertEquals(List.of(OperationType.INSERT, OperationType.MODIFY, OperationType.REMOVE),
                seen.stream().map(record -> record.eventName()).toList());
        assertEquals(number(3), seen.get(1).dynamodb().newImage().get("v"));
        assertEquals(number(1), seen.get(1).dynamodb().oldImage().get("v"));
        assertTrue(seen.get(2).dynamodb().newImage().isEmpty());
        changes += seen.size();
    }

    private static List<software.amazon.awssdk.services.dynamodb.model.Record> records(String shardId) {
        String iterator = streams.getShardIterator(r -> r.streamArn(streamArn).shardId(shardId)
                .shardIteratorType(ShardIteratorType.TRIM_HORIZON)).join().shardIterator();
        List<software.amazon.awssdk.services.dynamodb.model.Record> all = new ArrayList<>();
        while (iterator != null) {
            String here = iterator;
            var page = streams.getRecords(r -> r.shardIterator(here)).join();
            all.addAll(page.records());
            iterator = page.records().isEmpty() ? null : page.nextShardIterator();
        }
        return all;
    }

    @Test
    void whatIsNotThereIsNull() {
        assertNull(client.getItem(r -> r.tableName(TABLE).key(Map.of("pk", text("nobody"), "sk", number(1)))).join()
                .item().get("pk"));
    }
}
