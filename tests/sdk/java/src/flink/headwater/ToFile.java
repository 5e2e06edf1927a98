package headwater;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.functions.sink.RichSinkFunction;

/** Writes each line that a job comes to as one event of a kind; its fields are apart by tabs. */
@SuppressWarnings("deprecation") // the form that goes with the connector's
final class ToFile extends RichSinkFunction<String> {
    private static final long serialVersionUID = 1;
    private final String path;
    private final String kind;
    private transient RecordFile.Stint stint;

    ToFile(String path, String kind) {
        this.path = path;
        this.kind = kind;
    }

    @Override
    public void open(Configuration parameters) {
        stint = new RecordFile(path).begin("all", "all", "none");
    }

    @Override
    public void invoke(String line, Context context) {
        stint.write(kind, line.split("\t", -1));
    }
}
