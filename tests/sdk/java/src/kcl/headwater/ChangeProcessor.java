package headwater;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.UncheckedIOException;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** Writes changes of items as TableProcessor.java does, from the JSON of a table's stream that is read as a Kinesis stream. */
final class ChangeProcessor extends Processor {
    private static final ObjectMapper JSON = new ObjectMapper();

    ChangeProcessor(RecordFile file, String stream) {
        super(file, stream);
    }

    @Override
    String key(KinesisClientRecord record, String data) {
        return change(data).at("/dynamodb/Keys/pk/S").asText();
    }

    @Override
    String value(String data) {
        JsonNode change = change(data);
        String event = change.get("eventName").asText();
        if (event.equals("REMOVE")) {
            return (change.at("/dynamodb/OldImage/step/N").asInt() + 1) + ":REMOVE:";
        }
        JsonNode image = change.at("/dynamodb/NewImage");
        return image.at("/step/N").asText() + ":" + event + ":" + image.at("/text/S").asText();
    }

    private static JsonNode change(String data) {
        try {
            return JSON.readTree(data);
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }
}
