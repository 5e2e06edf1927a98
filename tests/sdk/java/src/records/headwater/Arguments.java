package headwater;

import java.net.URI;
import java.util.HashMap;
import java.util.Map;

/** What a worker is told on its command line, as {@code name=value}. */
public final class Arguments {
    public static final String REGION = "eu-west-1";

    private final Map<String, String> given = new HashMap<>();

    public Arguments(String[] arguments) {
        for (String argument : arguments) {
            int sign = argument.indexOf('=');
            if (sign < 1) {
                throw new IllegalArgumentException("not name=value: " + argument);
            }
            given.put(argument.substring(0, sign), argument.substring(sign + 1));
        }
    }

    public String of(String name) {
        String value = given.get(name);
        if (value == null) {
            throw new IllegalArgumentException("missing: " + name + "=");
        }
        return value;
    }

    public String of(String name, String otherwise) {
        return given.getOrDefault(name, otherwise);
    }

    public URI endpoint() {
        return URI.create(of("endpoint"));
    }
}
