package headwater;

import java.nio.charset.StandardCharsets;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.KinesisClientLibDependencyException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.exceptions.ThrottlingException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** Writes every record and every turn of its life to the worker's file, and checkpoints now and then. */
class Processor implements ShardRecordProcessor {
    /** So rarely that a killed worker leaves records behind which another one sees again. */
    private static final int RECORDS_PER_CHECKPOINT = 60;

    private final RecordFile file;
    private final String stream;
    private RecordFile.Stint stint;
    private String last;
    private int since;

    Processor(RecordFile file, String stream) {
        this.file = file;
        this.stream = stream;
    }

    @Override
    public void initialize(InitializationInput input) {
        stint = file.begin(stream, input.shardId(), input.extendedSequenceNumber().sequenceNumber());
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        for (KinesisClientRecord record : input.records()) {
            String data = StandardCharsets.UTF_8.decode(record.data()).toString();
            delivered(record.sequenceNumber(), key(record, data), value(data));
        }
        checkpointNowAndThen(input.checkpointer());
    }

    String key(KinesisClientRecord record, String data) {
        return record.partitionKey();
    }

    String value(String data) {
        return data;
    }

    final void delivered(String sequenceNumber, String key, String value) {
        last = sequenceNumber;
        stint.record(last, key, value);
        since++;
    }

    final void checkpointNowAndThen(RecordProcessorCheckpointer checkpointer) {
        if (since >= RECORDS_PER_CHECKPOINT) {
            checkpoint(checkpointer, last);
        }
    }

    @Override
    public void leaseLost(LeaseLostInput input) {
        stint.write("lost");
    }

    @Override
    public void shardEnded(ShardEndedInput input) {
        stint.write("ended");
        checkpoint(input.checkpointer(), "SHARD_END");
    }

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {
        stint.write("requested");
        if (since > 0) {
            checkpoint(input.checkpointer(), last);
        }
    }

    private void checkpoint(RecordProcessorCheckpointer checkpointer, String what) {
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
