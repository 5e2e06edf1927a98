package headwater;

import com.amazonaws.services.dynamodbv2.streamsadapter.adapter.DynamoDBStreamsClientRecord;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.DynamoDBStreamsProcessRecordsInput;
import com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor;
import java.util.Map;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.OperationType;
import software.amazon.awssdk.services.dynamodb.model.Record;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;

/**
 * Writes changes of items as {@code step:event:text}.
 *
 * <p>The writer counts the changes of each item in its attribute {@code step}; a deletion, which has no new image, is the one
 * after the step that it deletes.
 */
final class TableProcessor extends Processor implements DynamoDBStreamsShardRecordProcessor {
    TableProcessor(RecordFile file, String stream) {
        super(file, stream);
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        DynamoDBStreamsShardRecordProcessor.super.processRecords(input);
    }

    @Override
    public void processRecords(DynamoDBStreamsProcessRecordsInput input) {
        for (DynamoDBStreamsClientRecord each : input.records()) {
            Record record = each.getRecord();
            delivered(each.sequenceNumber(), record.dynamodb().keys().get("pk").s(), value(record));
        }
        checkpointNowAndThen(input.checkpointer());
    }

    private static String value(Record record) {
        if (record.eventName() == OperationType.REMOVE) {
            return (step(record.dynamodb().oldImage()) + 1) + ":REMOVE:";
        }
        Map<String, AttributeValue> image = record.dynamodb().newImage();
        return step(image) + ":" + record.eventName() + ":" + image.get("text").s();
    }

    private static int step(Map<String, AttributeValue> image) {
        return Integer.parseInt(image.get("step").n());
    }
}
