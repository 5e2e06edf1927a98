package headwater;

import com.google.protobuf.ByteString;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import software.amazon.kinesis.retrieval.AggregatorUtil;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.kpl.Messages.AggregatedRecord;
import software.amazon.kinesis.retrieval.kpl.Messages.Record;

/** KCL's own decoder of aggregated records, line by line in the form of {@code crates/aggregation/examples/exchange.rs}. */
public final class AggregateExchange {
    private static final HexFormat HEX = HexFormat.of();

    private AggregateExchange() {}

    public static void main(String[] given) throws IOException, NoSuchAlgorithmException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ");
            out.println(parts[0].equals("decode") ? decode(parts[1]) : encode(List.of(parts).subList(1, parts.length)));
        }
    }

    private static String decode(String hex) {
        KinesisClientRecord record = KinesisClientRecord.builder()
                .data(ByteBuffer.wrap(HEX.parseHex(hex)))
                .partitionKey("outer")
                .sequenceNumber("1")
                .build();
        List<KinesisClientRecord> records = new AggregatorUtil().deaggregate(List.of(record));
        if (records.size() == 1 && !records.get(0).aggregated()) {
            return "plain";
        }
        List<String> shown = new ArrayList<>();
        for (KinesisClientRecord each : records) {
            byte[] data = new byte[each.data().remaining()];
            each.data().get(data);
            String explicit = each.explicitHashKey() == null ? "-" : each.explicitHashKey();
            shown.add(HEX.formatHex(each.partitionKey().getBytes(StandardCharsets.UTF_8)) + "," + explicit + ","
                    + HEX.formatHex(data));
        }
        return "records " + String.join(" ", shown);
    }

    private static String encode(List<String> records) throws NoSuchAlgorithmException {
        AggregatedRecord.Builder aggregate = AggregatedRecord.newBuilder();
        for (String each : records) {
            String[] parts = each.split(",", -1);
            Record.Builder record = Record.newBuilder().setData(ByteString.copyFrom(HEX.parseHex(parts[2])));
            record.setPartitionKeyIndex(aggregate.getPartitionKeyTableCount());
            aggregate.addPartitionKeyTable(new String(HEX.parseHex(parts[0]), StandardCharsets.UTF_8));
            if (!parts[1].equals("-")) {
                record.setExplicitHashKeyIndex(aggregate.getExplicitHashKeyTableCount());
                aggregate.addExplicitHashKeyTable(parts[1]);
            }
            aggregate.addRecords(record);
        }
        byte[] message = aggregate.build().toByteArray();
        byte[] digest = MessageDigest.getInstance("MD5").digest(message);
        return "f3899ac2" + HEX.formatHex(message) + HEX.formatHex(digest);
    }
}
