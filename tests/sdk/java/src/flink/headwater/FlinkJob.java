package headwater;

import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingProcessingTimeWindows;
import org.apache.flink.streaming.api.windowing.time.Time;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.connectors.kinesis.FlinkKinesisConsumer;
import org.apache.flink.streaming.connectors.kinesis.config.AWSConfigConstants;
import org.apache.flink.streaming.connectors.kinesis.config.ConsumerConfigConstants;
import org.apache.flink.streaming.connectors.kinesis.serialization.KinesisDeserializationSchema;
import org.apache.flink.util.Collector;

/**
 * A Flink job in a cluster of this process: counts the records of each key in windows of a second.
 *
 * <p>Arguments: {@code endpoint, stream, file, mode=POLLING|EFO}. A window is one line: its key, its count, its values.
 */
@SuppressWarnings("deprecation") // the connector's last form for this version of Flink
public final class FlinkJob {
    private FlinkJob() {}

    public static void main(String[] given) throws Exception {
        Arguments arguments = new Arguments(given);
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment();
        environment.setParallelism(2);
        environment.enableCheckpointing(1_000);
        environment.addSource(new FlinkKinesisConsumer<>(arguments.of("stream"), new KeyAndValue(), settings(arguments)))
                .keyBy(record -> record.f0)
                .window(TumblingProcessingTimeWindows.of(Time.seconds(1)))
                .process(new Count())
                .addSink(new ToFile(arguments.of("file"), "window"))
                .setParallelism(1);
        environment.execute("counting");
    }

    static Properties settings(Arguments arguments) {
        Properties settings = new Properties();
        settings.setProperty(AWSConfigConstants.AWS_REGION, Arguments.REGION);
        settings.setProperty(AWSConfigConstants.AWS_ENDPOINT, arguments.of("endpoint"));
        settings.setProperty(AWSConfigConstants.AWS_CREDENTIALS_PROVIDER, "BASIC");
        settings.setProperty(AWSConfigConstants.AWS_ACCESS_KEY_ID, "anyone");
        settings.setProperty(AWSConfigConstants.AWS_SECRET_ACCESS_KEY, "anything");
        settings.setProperty(ConsumerConfigConstants.STREAM_INITIAL_POSITION, "TRIM_HORIZON");
        settings.setProperty(ConsumerConfigConstants.SHARD_DISCOVERY_INTERVAL_MILLIS, "500");
        // DynamoDB Streams, the third mode of TableJob, is polled.
        String publisher = arguments.of("mode").equals("EFO") ? "EFO" : "POLLING";
        settings.setProperty(ConsumerConfigConstants.RECORD_PUBLISHER_TYPE, publisher);
        settings.setProperty(ConsumerConfigConstants.EFO_CONSUMER_NAME, "flink");
        return settings;
    }

    private static final class KeyAndValue implements KinesisDeserializationSchema<Tuple2<String, String>> {
        private static final long serialVersionUID = 1;

        @Override
        public Tuple2<String, String> deserialize(
                byte[] data, String key, String sequenceNumber, long arrival, String stream, String shardId) {
            return Tuple2.of(key, new String(data, java.nio.charset.StandardCharsets.UTF_8));
        }

        @Override
        public TypeInformation<Tuple2<String, String>> getProducedType() {
            return TypeInformation.of(new TypeHint<Tuple2<String, String>>() {});
        }
    }

    private static final class Count extends ProcessWindowFunction<Tuple2<String, String>, String, String, TimeWindow> {
        private static final long serialVersionUID = 1;

        @Override
        public void process(
                String key, Context context, Iterable<Tuple2<String, String>> records, Collector<String> lines) {
            List<String> values = new ArrayList<>();
            records.forEach(record -> values.add(record.f1));
            lines.collect(key + "\t" + values.size() + "\t" + String.join(",", values));
        }
    }
}
