package headwater;

import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.polling.DynamoDBStreamsPollingConfig;
import java.util.List;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.processor.FormerStreamsLeasesDeletionStrategy;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.StreamTracker;

/**
 * One worker of the DynamoDB Streams Kinesis adapter, version 2, until it is told to end.
 *
 * <p>Arguments: {@code endpoint, application, worker, file}, and {@code streams=ARN,…}: several are read in the multi-stream
 * mode.
 */
public final class AdapterWorker {
    private AdapterWorker() {}

    public static void main(String[] given) {
        Arguments arguments = new Arguments(given);
        DynamoDbStreamsClient streams = DynamoDbStreamsClient.builder()
                .endpointOverride(arguments.endpoint())
                .region(KclWorker.REGION)
                .credentialsProvider(KclWorker.CREDENTIALS)
                .build();
        AmazonDynamoDBStreamsAdapterClient adapter =
                new AmazonDynamoDBStreamsAdapterClient(streams, KclWorker.REGION);
        DynamoDBStreamsPollingConfig polling =
                new DynamoDBStreamsPollingConfig(adapter).idleTimeBetweenReadsInMillis(200);
        polling.maxRecords(200);
        StreamTracker tracker = tracker(List.of(arguments.of("streams").split(",")));
        if (!tracker.isMultiStream()) {
            polling.streamName(tracker.streamConfigList().get(0).streamIdentifier().streamName());
        }
        KclWorker.run(arguments, adapter, tracker, polling, factory(arguments),
                (checkpoint, coordinator, leases, lifecycle, metrics, processor, retrieval) ->
                        StreamsSchedulerFactory.createScheduler(checkpoint, coordinator, leases, lifecycle, metrics,
                                processor, retrieval, adapter));
    }

    private static StreamTracker tracker(List<String> arns) {
        if (arns.size() == 1) {
            return StreamsSchedulerFactory.createSingleStreamTracker(arns.get(0), KclWorker.START);
        }
        return StreamsSchedulerFactory.createMultiStreamTracker(arns, KclWorker.START,
                new FormerStreamsLeasesDeletionStrategy.NoLeaseDeletionStrategy());
    }

    private static ShardRecordProcessorFactory factory(Arguments arguments) {
        RecordFile file = new RecordFile(arguments.of("file"));
        return new ShardRecordProcessorFactory() {
            @Override
            public ShardRecordProcessor shardRecordProcessor() {
                // The adapter looks at its type only.
                return new TableProcessor(file, "none");
            }

            @Override
            public ShardRecordProcessor shardRecordProcessor(StreamIdentifier stream) {
                return new TableProcessor(file, stream.streamName());
            }
        };
    }
}
