package headwater;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.kinesis.shaded.com.amazonaws.services.dynamodbv2.model.AttributeValue;
import org.apache.flink.kinesis.shaded.com.amazonaws.services.dynamodbv2.model.Record;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.connectors.kinesis.FlinkDynamoDBStreamsConsumer;
import org.apache.flink.streaming.connectors.kinesis.FlinkKinesisConsumer;
import org.apache.flink.streaming.connectors.kinesis.serialization.DynamoDBStreamsSchema;
import org.apache.flink.streaming.connectors.kinesis.serialization.KinesisDeserializationSchema;
import org.apache.flink.util.Collector;

/**
 * A Flink job that follows a table: every change of an item goes on behind the one before.
 *
 * <p>Arguments: {@code endpoint, stream, file}, and {@code mode=POLLING|EFO} for a table's stream as a Kinesis stream, or
 * {@code mode=STREAMS} for DynamoDB Streams, where {@code stream} is an ARN. The connector begins a shard as soon as it is
 * discovered, its parents read or not: a change that comes before its turn waits in the state of its item. Written down are
 * the changes as they {@code came}, and in turn ({@code record}).
 */
@SuppressWarnings("deprecation") // the connector's last form for this version of Flink
public final class TableJob {
    private TableJob() {}

    public static void main(String[] given) throws Exception {
        Arguments arguments = new Arguments(given);
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment();
        environment.setParallelism(2);
        environment.enableCheckpointing(1_000);
        DataStream<Tuple3<String, String, String>> changes = environment.addSource(source(arguments));
        changes.map(TableJob::line).addSink(new ToFile(arguments.of("file"), "came")).setParallelism(1);
        changes.keyBy(change -> change.f1)
                .process(new InOrder())
                .addSink(new ToFile(arguments.of("file"), "record"))
                .setParallelism(1);
        environment.execute("following a table");
    }

    private static String line(Tuple3<String, String, String> change) {
        return String.join("\t", change.f0, change.f1, change.f2);
    }

    private static FlinkKinesisConsumer<Tuple3<String, String, String>> source(Arguments arguments) {
        String stream = arguments.of("stream");
        Properties settings = FlinkJob.settings(arguments);
        if (arguments.of("mode").equals("STREAMS")) {
            return new FlinkDynamoDBStreamsConsumer<>(List.of(stream), new OfStreams(), settings);
        }
        return new FlinkKinesisConsumer<>(stream, new OfKinesis(), settings);
    }

    /** A change: sequence number, key, and value as TableProcessor.java writes it, {@code step:event:text}. */
    private abstract static class Changes implements KinesisDeserializationSchema<Tuple3<String, String, String>> {
        private static final long serialVersionUID = 1;

        @Override
        public TypeInformation<Tuple3<String, String, String>> getProducedType() {
            return TypeInformation.of(new TypeHint<Tuple3<String, String, String>>() {});
        }
    }

    private static final class OfKinesis extends Changes {
        private static final long serialVersionUID = 1;
        private static final ObjectMapper JSON = new ObjectMapper();

        @Override
        public Tuple3<String, String, String> deserialize(byte[] data, String partitionKey, String sequenceNumber,
                long arrival, String stream, String shardId) throws IOException {
            JsonNode change = JSON.readTree(data);
            String key = change.at("/dynamodb/Keys/pk/S").asText();
            String event = change.get("eventName").asText();
            if (event.equals("REMOVE")) {
                int step = change.at("/dynamodb/OldImage/step/N").asInt() + 1;
                return Tuple3.of(sequenceNumber, key, step + ":REMOVE:");
            }
            JsonNode image = change.at("/dynamodb/NewImage");
            String value = image.at("/step/N").asText() + ":" + event + ":" + image.at("/text/S").asText();
            return Tuple3.of(sequenceNumber, key, value);
        }
    }

    private static final class OfStreams extends Changes {
        private static final long serialVersionUID = 1;

        @Override
        public Tuple3<String, String, String> deserialize(byte[] data, String partitionKey, String sequenceNumber,
                long arrival, String stream, String shardId) throws IOException {
            Record change = new DynamoDBStreamsSchema().deserialize(
                    data, partitionKey, sequenceNumber, arrival, stream, shardId);
            String key = change.getDynamodb().getKeys().get("pk").getS();
            if (change.getEventName().equals("REMOVE")) {
                int step = Integer.parseInt(change.getDynamodb().getOldImage().get("step").getN()) + 1;
                return Tuple3.of(sequenceNumber, key, step + ":REMOVE:");
            }
            Map<String, AttributeValue> image = change.getDynamodb().getNewImage();
            String value = image.get("step").getN() + ":" + change.getEventName() + ":" + image.get("text").getS();
            return Tuple3.of(sequenceNumber, key, value);
        }
    }

    /** Lets an item's changes pass in the order of their steps; one that comes again passes as it is, to be seen. */
    private static final class InOrder
            extends KeyedProcessFunction<String, Tuple3<String, String, String>, String> {
        private static final long serialVersionUID = 1;
        private transient ValueState<Integer> next;
        private transient MapState<Integer, String> waiting;

        @Override
        public void open(Configuration parameters) {
            next = getRuntimeContext().getState(new ValueStateDescriptor<>("next", Integer.class));
            waiting = getRuntimeContext().getMapState(new MapStateDescriptor<>("waiting", Integer.class, String.class));
        }

        @Override
        public void processElement(Tuple3<String, String, String> change, Context context, Collector<String> lines)
                throws Exception {
            int due = next.value() == null ? 0 : next.value();
            int step = Integer.parseInt(change.f2.substring(0, change.f2.indexOf(':')));
            String line = line(change);
            if (step < due || waiting.contains(step)) {
                lines.collect(line);
                return;
            }
            waiting.put(step, line);
            while (waiting.contains(due)) {
                lines.collect(waiting.get(due));
                waiting.remove(due);
                due++;
            }
            next.update(due);
        }
    }
}
