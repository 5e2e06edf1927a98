package headwater;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClientBuilder;
import software.amazon.kinesis.checkpoint.CheckpointConfig;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.common.StreamConfig;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.LifecycleConfig;
import software.amazon.kinesis.metrics.MetricsConfig;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.FormerStreamsLeasesDeletionStrategy;
import software.amazon.kinesis.processor.MultiStreamTracker;
import software.amazon.kinesis.processor.ProcessorConfig;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * One worker of the Kinesis Client Library, versions 2 and 3, until it is told to end (SIGTERM: gracefully).
 *
 * <p>Arguments: {@code endpoint, application, worker, file, mode=polling|fanout}, and {@code stream=NAME} or
 * {@code streams=ACCOUNT:NAME:CREATED,…}; {@code http=1} lets the Kinesis client speak HTTP/1.1, {@code form=changes}
 * reads a table's stream. Only settings that KCL publishes are changed, so that a run takes seconds
 * where its defaults take minutes.
 */
public final class KclWorker {
    private static final long FAILOVER_MS = 4_000;
    private static final long GRACE_S = 40;
    static final Region REGION = Region.of(Arguments.REGION);
    static final InitialPositionInStreamExtended START =
            InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
    static final AwsCredentialsProvider CREDENTIALS =
            StaticCredentialsProvider.create(AwsBasicCredentials.create("anyone", "anything"));

    private KclWorker() {}

    public static void main(String[] given) {
        Arguments arguments = new Arguments(given);
        KinesisAsyncClient kinesis = kinesis(arguments);
        run(arguments, kinesis, tracker(arguments), retrieval(arguments, kinesis), factory(arguments), Scheduler::new);
    }

    /** Makes a scheduler of its settings. */
    interface Schedulers {
        Scheduler of(CheckpointConfig checkpoint, CoordinatorConfig coordinator, LeaseManagementConfig leases,
                LifecycleConfig lifecycle, MetricsConfig metrics, ProcessorConfig processor, RetrievalConfig retrieval);
    }

    static void run(Arguments arguments, KinesisAsyncClient kinesis, StreamTracker tracker,
            RetrievalSpecificConfig reading, ShardRecordProcessorFactory processors, Schedulers schedulers) {
        DynamoDbAsyncClient dynamodb = DynamoDbAsyncClient.builder()
                .endpointOverride(arguments.endpoint()).region(REGION).credentialsProvider(CREDENTIALS).build();
        // KCL wants one; with the null metrics it is never called.
        CloudWatchAsyncClient cloudwatch = CloudWatchAsyncClient.builder()
                .endpointOverride(arguments.endpoint()).region(REGION).credentialsProvider(CREDENTIALS).build();
        ConfigsBuilder configs = new ConfigsBuilder(tracker, arguments.of("application"), kinesis, dynamodb, cloudwatch,
                arguments.of("worker"), processors);
        CoordinatorConfig coordinator = configs.coordinatorConfig()
                .parentShardPollIntervalMillis(500)
                .shardConsumerDispatchPollIntervalMillis(200)
                .schedulerInitializationBackoffTimeMillis(500);
        LeaseManagementConfig leases = configs.leaseManagementConfig()
                .failoverTimeMillis(FAILOVER_MS)
                .shardSyncIntervalMillis(5_000)
                .listShardsCacheAllowedAgeInSeconds(1)
                .leasesRecoveryAuditorExecutionFrequencyMillis(5_000);
        Tuning.apply(coordinator, leases, FAILOVER_MS);
        LifecycleConfig lifecycle = configs.lifecycleConfig().taskBackoffTimeMillis(200);
        MetricsConfig metrics = configs.metricsConfig().metricsFactory(new NullMetricsFactory());
        RetrievalConfig retrieval = configs.retrievalConfig().retrievalSpecificConfig(reading);
        Scheduler scheduler = schedulers.of(configs.checkpointConfig(), coordinator, leases, lifecycle, metrics,
                configs.processorConfig(), retrieval);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(scheduler)));
        scheduler.run();
    }

    private static void stop(Scheduler scheduler) {
        try {
            scheduler.startGracefulShutdown().get(GRACE_S, TimeUnit.SECONDS);
        } catch (InterruptedException | ExecutionException | TimeoutException e) {
            System.err.println("no graceful end: " + e);
        }
    }

    private static KinesisAsyncClient kinesis(Arguments arguments) {
        KinesisAsyncClientBuilder builder = KinesisAsyncClient.builder()
                .endpointOverride(arguments.endpoint()).region(REGION).credentialsProvider(CREDENTIALS);
        if (arguments.of("http", "2").equals("1")) {
            return builder.httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1)).build();
        }
        return KinesisClientUtil.createKinesisAsyncClient(builder);
    }

    private static RetrievalSpecificConfig retrieval(Arguments arguments, KinesisAsyncClient kinesis) {
        boolean single = !arguments.of("stream", "").isEmpty();
        if (arguments.of("mode").equals("fanout")) {
            FanOutConfig config = new FanOutConfig(kinesis).applicationName(arguments.of("application"));
            config = config.retryBackoffMillis(300);
            return single ? config.streamName(arguments.of("stream")) : config;
        }
        PollingConfig config = single ? new PollingConfig(arguments.of("stream"), kinesis) : new PollingConfig(kinesis);
        config.idleTimeBetweenReadsInMillis(200);
        return config.maxRecords(200);
    }

    private static StreamTracker tracker(Arguments arguments) {
        String stream = arguments.of("stream", "");
        if (!stream.isEmpty()) {
            return new SingleStreamTracker(stream, START);
        }
        List<StreamConfig> streams = new ArrayList<>();
        for (String each : arguments.of("streams").split(",")) {
            streams.add(new StreamConfig(StreamIdentifier.multiStreamInstance(each), START));
        }
        return new MultiStreamTracker() {
            @Override
            public List<StreamConfig> streamConfigList() {
                return streams;
            }

            @Override
            public FormerStreamsLeasesDeletionStrategy formerStreamsLeasesDeletionStrategy() {
                return new FormerStreamsLeasesDeletionStrategy.NoLeaseDeletionStrategy();
            }
        };
    }

    private static ShardRecordProcessorFactory factory(Arguments arguments) {
        RecordFile file = new RecordFile(arguments.of("file"));
        return new ShardRecordProcessorFactory() {
            @Override
            public ShardRecordProcessor shardRecordProcessor() {
                throw new IllegalStateException("KCL names the stream");
            }

            @Override
            public ShardRecordProcessor shardRecordProcessor(StreamIdentifier stream) {
                boolean changes = arguments.of("form", "plain").equals("changes");
                String name = stream.streamName();
                return changes ? new ChangeProcessor(file, name) : new Processor(file, name);
            }
        };
    }
}
