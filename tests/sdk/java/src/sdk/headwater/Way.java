package headwater;

import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.ProtocolNegotiation;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.retries.DefaultRetryStrategy;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;

/** How a client speaks: an encoding, a version of HTTP, and in TLS whether it asks for that version (ALPN). */
record Way(boolean cbor, Protocol http, ProtocolNegotiation negotiation) {
    static final URI ENDPOINT = URI.create(System.getProperty("headwater.endpoint"));
    static final Region REGION = Region.of(Arguments.REGION);
    static final StaticCredentialsProvider CREDENTIALS =
            StaticCredentialsProvider.create(AwsBasicCredentials.create("anyone", "anything"));
    /** What was seen on the wire, for the tests to hold against what they asked for. */
    static final Set<String> CONTENT_TYPES = ConcurrentHashMap.newKeySet();

    private static final Duration PATIENCE = Duration.ofMinutes(1);
    private static final Map<Way, KinesisAsyncClient> CLIENTS = new ConcurrentHashMap<>();

    static boolean encrypted() {
        return ENDPOINT.getScheme().equals("https");
    }

    /** Both encodings over both versions; in TLS with and without ALPN, which HTTP/1.1 does without. */
    static Stream<Way> all() {
        return Stream.of(true, false).flatMap(cbor -> {
            Stream<Way> both = Stream.of(
                    new Way(cbor, Protocol.HTTP1_1, ProtocolNegotiation.ASSUME_PROTOCOL),
                    new Way(cbor, Protocol.HTTP2, ProtocolNegotiation.ASSUME_PROTOCOL));
            Way negotiated = new Way(cbor, Protocol.HTTP2, ProtocolNegotiation.ALPN);
            return encrypted() ? Stream.concat(both, Stream.of(negotiated)) : both;
        });
    }

    static List<Way> withPush() {
        return all().filter(way -> way.http == Protocol.HTTP2).toList();
    }

    String contentType() {
        return cbor ? "application/x-amz-cbor-1.1" : "application/x-amz-json-1.1";
    }

    /** For names of streams. */
    String label() {
        return (cbor ? "cbor" : "json") + "-" + http.name().toLowerCase().replace('_', '.') + "-"
                + negotiation.name().toLowerCase().charAt(1);
    }

    /** One client for each way, until the process ends: closing one takes two seconds. */
    KinesisAsyncClient kinesis() {
        return CLIENTS.computeIfAbsent(this, Way::client);
    }

    /** Waits longer than it would by itself: beside other tests a process may stand still for seconds. */
    static NettyNioAsyncHttpClient.Builder patient() {
        return NettyNioAsyncHttpClient.builder()
                .connectionTimeout(PATIENCE)
                .connectionAcquisitionTimeout(PATIENCE)
                .tlsNegotiationTimeout(PATIENCE);
    }

    private KinesisAsyncClient client() {
        // Read when the client is made; CBOR is the default.
        System.setProperty("aws.cborEnabled", Boolean.toString(cbor));
        return KinesisAsyncClient.builder()
                .endpointOverride(ENDPOINT)
                .region(REGION)
                .credentialsProvider(CREDENTIALS)
                .httpClientBuilder(patient().protocol(http).protocolNegotiation(negotiation))
                .overrideConfiguration(over -> over.addExecutionInterceptor(new Seen(this))
                        .retryStrategy(DefaultRetryStrategy.doNotRetry()))
                .build();
    }

    /** Holds every answer's and every request's form against the way. */
    private record Seen(Way way) implements ExecutionInterceptor {
        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            String type = context.httpRequest().firstMatchingHeader("Content-Type").orElse("none");
            // SubscribeToShard is JSON whatever is switched on.
            boolean push = context.httpRequest().firstMatchingHeader("X-Amz-Target").orElse("").endsWith("SubscribeToShard");
            if (!push && !type.equals(way.contentType())) {
                throw new IllegalStateException("sent as " + type + " by " + way);
            }
            CONTENT_TYPES.add(type);
        }
    }
}
