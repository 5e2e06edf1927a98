package headwater;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Where a worker writes what happens to it: one line per event, fields apart by tabs.
 *
 * <p>Each line is one write, so that a killed worker leaves whole lines. A line begins with the machine's monotonic time
 * in nanoseconds, which all processes share, the kind of event, and the stint: the life of one record processor.
 */
public final class RecordFile {
    private final FileChannel channel;
    private final AtomicInteger stints = new AtomicInteger();

    public RecordFile(String path) {
        try {
            channel = FileChannel.open(Path.of(path), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A new record processor on a shard that starts after {@code checkpoint}. */
    public Stint begin(String stream, String shard, String checkpoint) {
        Stint stint = new Stint(stints.incrementAndGet(), stream, shard);
        stint.write("init", checkpoint);
        return stint;
    }

    private synchronized void line(String text) {
        ByteBuffer bytes = ByteBuffer.wrap((System.nanoTime() + "\t" + text + "\n").getBytes(StandardCharsets.UTF_8));
        try {
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The life of one record processor. */
    public final class Stint {
        private final int number;
        private final String stream;
        private final String shard;

        private Stint(int number, String stream, String shard) {
            this.number = number;
            this.stream = stream;
            this.shard = shard;
        }

        public void record(String sequenceNumber, String key, String value) {
            write("record", sequenceNumber, key, value);
        }

        /** About to checkpoint; what follows may happen without this process hearing of it. */
        public void trying(String sequenceNumber) {
            write("trying", sequenceNumber);
        }

        public void checkpointed(String sequenceNumber) {
            write("checkpoint", sequenceNumber);
        }

        public void write(String kind, String... fields) {
            StringBuilder text = new StringBuilder();
            text.append(kind).append('\t').append(number).append('\t').append(stream).append('\t').append(shard);
            for (String field : fields) {
                text.append('\t').append(field.replace('\t', ' ').replace('\n', ' '));
            }
            line(text.toString());
        }
    }
}
