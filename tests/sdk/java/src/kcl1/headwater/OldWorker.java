package headwater;

import com.amazonaws.auth.AWSCredentialsProvider;
import com.amazonaws.auth.AWSStaticCredentialsProvider;
import com.amazonaws.auth.BasicAWSCredentials;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.InitialPositionInStream;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.KinesisClientLibConfiguration;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.Worker;
import com.amazonaws.services.kinesis.metrics.impl.NullMetricsFactory;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * One worker of the Kinesis Client Library, version 1, on the SDK for Java 1, until it is told to end.
 *
 * <p>Arguments: {@code endpoint, application, worker, file, stream}; {@code form=changes} reads a table's stream.
 * Intervals are shortened as in KclWorker.java.
 */
public final class OldWorker {
    private static final long GRACE_S = 40;
    static final AWSCredentialsProvider CREDENTIALS =
            new AWSStaticCredentialsProvider(new BasicAWSCredentials("anyone", "anything"));

    private OldWorker() {}

    public static void main(String[] given) {
        Arguments arguments = new Arguments(given);
        String stream = arguments.of("stream");
        RecordFile file = new RecordFile(arguments.of("file"));
        boolean changes = arguments.of("form", "plain").equals("changes");
        run(new Worker.Builder()
                .recordProcessorFactory(() -> changes ? new OldChangeProcessor(file, stream) : new OldProcessor(file, stream))
                .config(configuration(arguments, stream))
                .metricsFactory(new NullMetricsFactory())
                .build());
    }

    static void run(Worker worker) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(worker)));
        worker.run();
    }

    static KinesisClientLibConfiguration configuration(Arguments arguments, String stream) {
        return new KinesisClientLibConfiguration(
                        arguments.of("application"), stream, CREDENTIALS, arguments.of("worker"))
                .withRegionName(Arguments.REGION)
                .withKinesisEndpoint(arguments.of("endpoint"))
                .withDynamoDBEndpoint(arguments.of("endpoint"))
                .withInitialPositionInStream(InitialPositionInStream.TRIM_HORIZON)
                .withFailoverTimeMillis(4_000)
                .withShardSyncIntervalMillis(5_000)
                .withParentShardPollIntervalMillis(500)
                .withTaskBackoffTimeMillis(200)
                .withIdleTimeBetweenReadsInMillis(200)
                .withIdleMillisBetweenCalls(200)
                .withLeasesRecoveryAuditorExecutionFrequencyMillis(5_000)
                .withMaxRecords(200);
    }

    private static void stop(Worker worker) {
        try {
            worker.startGracefulShutdown().get(GRACE_S, TimeUnit.SECONDS);
        } catch (InterruptedException | ExecutionException | TimeoutException e) {
            System.err.println("no graceful end: " + e);
        }
    }
}
