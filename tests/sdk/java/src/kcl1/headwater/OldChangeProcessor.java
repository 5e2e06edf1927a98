package headwater;

import com.amazonaws.services.kinesis.model.Record;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.UncheckedIOException;

/** What ChangeProcessor.java does, for version 1. */
final class OldChangeProcessor extends OldProcessor {
    private static final ObjectMapper JSON = new ObjectMapper();

    OldChangeProcessor(RecordFile file, String stream) {
        super(file, stream);
    }

    @Override
    String key(Record record) {
        return change(record).at("/dynamodb/Keys/pk/S").asText();
    }

    @Override
    String value(Record record) {
        JsonNode change = change(record);
        String event = change.get("eventName").asText();
        if (event.equals("REMOVE")) {
            return (change.at("/dynamodb/OldImage/step/N").asInt() + 1) + ":REMOVE:";
        }
        JsonNode image = change.at("/dynamodb/NewImage");
        return image.at("/step/N").asText() + ":" + event + ":" + image.at("/text/S").asText();
    }

    private JsonNode change(Record record) {
        try {
            return JSON.readTree(super.value(record));
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }
}
