package headwater;

import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDB;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBClientBuilder;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBStreams;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBStreamsClientBuilder;
import com.amazonaws.services.dynamodbv2.model.AttributeValue;
import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsWorkerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.RecordAdapter;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.KinesisClientLibConfiguration;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.ParentsFirstShardPrioritization;
import com.amazonaws.services.kinesis.metrics.impl.NullMetricsFactory;
import com.amazonaws.services.kinesis.model.Record;
import java.util.Map;
import java.util.concurrent.Executors;

/**
 * One worker of the DynamoDB Streams Kinesis adapter, version 1, until it is told to end.
 *
 * <p>Arguments: {@code endpoint, application, worker, file}, and {@code streams=ARN}.
 */
public final class OldAdapterWorker {
    private static final int PARENTS_AHEAD = 10;

    private OldAdapterWorker() {}

    public static void main(String[] given) {
        Arguments arguments = new Arguments(given);
        String arn = arguments.of("streams");
        EndpointConfiguration endpoint = new EndpointConfiguration(arguments.of("endpoint"), Arguments.REGION);
        AmazonDynamoDB dynamodb = AmazonDynamoDBClientBuilder.standard()
                .withEndpointConfiguration(endpoint).withCredentials(OldWorker.CREDENTIALS).build();
        AmazonDynamoDBStreams streams = AmazonDynamoDBStreamsClientBuilder.standard()
                .withEndpointConfiguration(endpoint).withCredentials(OldWorker.CREDENTIALS).build();
        // This version leaves the order of parents to its user.
        KinesisClientLibConfiguration configuration = OldWorker.configuration(arguments, arn)
                .withShardPrioritizationStrategy(new ParentsFirstShardPrioritization(PARENTS_AHEAD));
        RecordFile file = new RecordFile(arguments.of("file"));
        OldWorker.run(StreamsWorkerFactory.createDynamoDbStreamsWorker(
                () -> new OldTableProcessor(file, arn),
                configuration,
                new AmazonDynamoDBStreamsAdapterClient(streams),
                dynamodb,
                new NullMetricsFactory(),
                Executors.newCachedThreadPool()));
    }

    /** Writes changes of items as TableProcessor.java does. */
    private static final class OldTableProcessor extends OldProcessor {
        OldTableProcessor(RecordFile file, String stream) {
            super(file, stream);
        }

        @Override
        String key(Record record) {
            return change(record).getDynamodb().getKeys().get("pk").getS();
        }

        @Override
        String value(Record record) {
            com.amazonaws.services.dynamodbv2.model.Record change = change(record);
            if (change.getEventName().equals("REMOVE")) {
                return (step(change.getDynamodb().getOldImage()) + 1) + ":REMOVE:";
            }
            Map<String, AttributeValue> image = change.getDynamodb().getNewImage();
            return step(image) + ":" + change.getEventName() + ":" + image.get("text").getS();
        }

        private static com.amazonaws.services.dynamodbv2.model.Record change(Record record) {
            return ((RecordAdapter) record).getInternalObject();
        }

        private static int step(Map<String, AttributeValue> image) {
            return Integer.parseInt(image.get("step").getN());
        }
    }
}
