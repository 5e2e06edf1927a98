package headwater;

import com.amazonaws.services.kinesis.clientlibrary.exceptions.InvalidStateException;
import com.amazonaws.services.kinesis.clientlibrary.exceptions.KinesisClientLibDependencyException;
import com.amazonaws.services.kinesis.clientlibrary.exceptions.ShutdownException;
import com.amazonaws.services.kinesis.clientlibrary.exceptions.ThrottlingException;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.IRecordProcessorCheckpointer;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IRecordProcessor;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IShutdownNotificationAware;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.ShutdownReason;
import com.amazonaws.services.kinesis.clientlibrary.types.InitializationInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ProcessRecordsInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ShutdownInput;
import com.amazonaws.services.kinesis.model.Record;
import java.nio.charset.StandardCharsets;

/** What Processor.java does, for version 1. */
class OldProcessor implements IRecordProcessor, IShutdownNotificationAware {
    private static final int RECORDS_PER_CHECKPOINT = 60;

    private final RecordFile file;
    private final String stream;
    private RecordFile.Stint stint;
    private String last;
    private int since;

    OldProcessor(RecordFile file, String stream) {
        this.file = file;
        this.stream = stream;
    }

    String key(Record record) {
        return record.getPartitionKey();
    }

    String value(Record record) {
        // A copy: the buffer is read more than once.
        return StandardCharsets.UTF_8.decode(record.getData().duplicate()).toString();
    }

    @Override
    public void initialize(InitializationInput input) {
        stint = file.begin(stream, input.getShardId(), input.getExtendedSequenceNumber().getSequenceNumber());
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        for (Record record : input.getRecords()) {
            last = record.getSequenceNumber();
            stint.record(last, key(record), value(record));
            since++;
        }
        if (since >= RECORDS_PER_CHECKPOINT) {
            checkpoint(input.getCheckpointer(), last);
        }
    }

    @Override
    public void shutdown(ShutdownInput input) {
        if (input.getShutdownReason() == ShutdownReason.TERMINATE) {
            stint.write("ended");
            checkpoint(input.getCheckpointer(), "SHARD_END");
        } else {
            stint.write("lost");
        }
    }

    @Override
    public void shutdownRequested(IRecordProcessorCheckpointer checkpointer) {
        stint.write("requested");
        if (since > 0) {
            checkpoint(checkpointer, last);
        }
    }

    private void checkpoint(IRecordProcessorCheckpointer checkpointer, String what) {
        stint.trying(what);
        try {
            checkpointer.checkpoint();
        } catch (ShutdownException | ThrottlingException | InvalidStateException | KinesisClientLibDependencyException e) {
            // The next batch, or the next owner of the lease, does it again.
            stint.write("refused", e.toString());
            return;
        }
        stint.checkpointed(what);
        since = 0;
    }
}
