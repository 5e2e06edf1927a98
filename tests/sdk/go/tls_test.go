package sdk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// secured starts a server in TLS with certificates that the command makes; it gives its endpoint and who vouches for it.
func secured(t *testing.T) (string, *x509.CertPool) {
	t.Helper()
	folder := t.TempDir()
	if said, err := exec.Command(os.Getenv("HEADWATER_BIN"), "certs", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	endpoint, end, err := start(
		"--tls-certificate", filepath.Join(folder, "server.pem"), "--tls-key", filepath.Join(folder, "server-key.pem"),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	})
	authority, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	trusted := x509.NewCertPool()
	if err != nil || !trusted.AppendCertsFromPEM(authority) {
		t.Fatal("no certificate to trust", err)
	}
	return endpoint, trusted
}

// pushed reads one record of a new stream through SubscribeToShard.
func pushed(t *testing.T, client *kinesis.Client, name string) {
	t.Helper()
	ctx := context.Background()
	arn := createStream(t, client, name, 1).StreamARN
	registered, err := client.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{
		StreamARN: arn, ConsumerName: aws.String("app"),
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer := registered.Consumer.ConsumerARN
	becomes(t, "the consumer is ACTIVE", func() bool {
		described, err := client.DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: consumer})
		return err == nil && described.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive
	})
	var put *kinesis.PutRecordOutput
	for {
		stream := subscribe(t, client, consumer).GetStream()
		if put == nil {
			put = putOne(t, client, name, "k", []byte("pushed"))
		}
		if receives(t, stream, *put.SequenceNumber) {
			return
		}
		// On a busy machine Go's client closes a connection of TLS now and then in the middle of an answer, its end first, which no
		// server can make it do; whoever reads subscribes again. Anything that comes from the other side ends the test.
		err := stream.Err()
		if err == nil || !strings.Contains(err.Error(), net.ErrClosed.Error()) {
			t.Fatal("the record never comes: ", err)
		}
		t.Log("subscribed again: ", err)
	}
}

// subscribe subscribes to the first shard from its beginning, once the last subscription is five seconds old.
func subscribe(t *testing.T, client *kinesis.Client, consumer *string) *kinesis.SubscribeToShardOutput {
	t.Helper()
	var subscription *kinesis.SubscribeToShardOutput
	becomes(t, "the shard can be subscribed to", func() bool {
		var inUse *types.ResourceInUseException
		var err error
		subscription, err = client.SubscribeToShard(context.Background(), &kinesis.SubscribeToShardInput{
			ConsumerARN: consumer, ShardId: aws.String("shardId-000000000000"),
			StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
		})
		if err != nil && !errors.As(err, &inUse) {
			t.Fatal(err)
		}
		return err == nil
	})
	return subscription
}

// receives tells whether the record comes before the stream ends.
func receives(t *testing.T, stream *kinesis.SubscribeToShardEventStream, number string) bool {
	t.Helper()
	for event := range stream.Events() {
		event, ok := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
		if !ok {
			t.Fatalf("%T", event)
		}
		for _, record := range event.Value.Records {
			if string(record.Data) != "pushed" || *record.SequenceNumber != number {
				t.Fatalf("%q at %s", record.Data, *record.SequenceNumber)
			}
			seen.Add(1)
			if err := stream.Close(); err != nil {
				t.Fatal(err)
			}
			return true
		}
	}
	return false
}

func TestRecordsArePushed(t *testing.T) {
	everyWay(t, func(t *testing.T, client *kinesis.Client, prefix string) { pushed(t, client, prefix+"-pushed") })
}

func TestRecordsArePushedInTLS(t *testing.T) {
	endpoint, trusted := secured(t)
	for name, http2 := range map[string]bool{"http1": false, "http2": true} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: http2}
			var protocol string
			client := kinesis.New(kinesis.Options{
				BaseEndpoint: &endpoint, Region: "eu-west-1", Credentials: client.Options().Credentials, RetryMaxAttempts: 1,
				HTTPClient: &http.Client{Transport: noting{transport, &protocol}},
			})
			pushed(t, client, name)
			if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; protocol != want {
				t.Fatalf("%s instead of %s", protocol, want)
			}
		})
	}
	strange := kinesis.New(kinesis.Options{
		BaseEndpoint: &endpoint, Region: "eu-west-1", Credentials: client.Options().Credentials, RetryMaxAttempts: 1,
	})
	if _, err := strange.ListStreams(context.Background(), &kinesis.ListStreamsInput{}); err == nil {
		t.Fatal("a certificate is trusted that nobody vouches for")
	}
}

// noting notes which version of HTTP was spoken.
type noting struct {
	http.RoundTripper
	protocol *string
}

func (n noting) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := n.RoundTripper.RoundTrip(request)
	if err == nil {
		*n.protocol = answer.Proto
	}
	return answer, err
}
