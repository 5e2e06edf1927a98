// The AWS SDK for Go v2, unmodified, against a Headwater server of the test's own.
package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

var (
	client       *dynamodb.Client
	streamReader *dynamodbstreams.Client
	// What the suite counted: a suite that did nothing must fail.
	written, read, seen atomic.Int64
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// start runs a server of its own and gives its endpoint; end ends it and says whether it ended well.
func start(flags ...string) (endpoint string, end func() error, err error) {
	binary := os.Getenv("HEADWATER_BIN")
	if binary == "" {
		return "", nil, errors.New("HEADWATER_BIN is not set: run `cargo xtask ci`")
	}
	folder, err := os.MkdirTemp("", "headwater-test-")
	if err != nil {
		return "", nil, err
	}
	flags = append([]string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", filepath.Join(folder, "data")}, flags...)
	server := exec.Command(binary, flags...)
	output, err := server.StdoutPipe()
	if err == nil {
		server.Stderr = os.Stderr
		err = server.Start()
	}
	if err != nil {
		_ = os.RemoveAll(folder)
		return "", nil, err
	}
	end = func() error {
		defer os.RemoveAll(folder)
		_ = server.Process.Signal(syscall.SIGTERM)
		return server.Wait()
	}
	found := make(chan string, 1)
	go func() {
		var address string
		for lines := bufio.NewScanner(output); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) == 2 && words[0] == "dynamodb" {
				address = words[1]
			}
			if len(words) > 0 && words[0] == "try:" {
				found <- address
			}
		}
		close(found)
	}()
	select {
	case endpoint = <-found:
		err = errors.New("the server ended before it was ready")
	case <-time.After(time.Minute):
		err = errors.New("the server did not get ready")
	}
	if endpoint == "" {
		_ = server.Process.Kill()
		_ = end()
		return "", nil, err
	}
	return endpoint, end, nil
}

func run(m *testing.M) int {
	endpoint, end, err := start()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	provider := credentials.NewStaticCredentialsProvider("anyone", "anything", "")
	client = dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-west-1", Credentials: provider, RetryMaxAttempts: 1,
	})
	streamReader = dynamodbstreams.New(dynamodbstreams.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-west-1", Credentials: provider, RetryMaxAttempts: 1,
	})
	code := m.Run()
	if err := end(); err != nil {
		fmt.Println("the server did not end well:", err)
		code = 1
	}
	fmt.Printf("go: %d items written, %d read, %d records\n", written.Load(), read.Load(), seen.Load())
	if code == 0 && (written.Load() == 0 || read.Load() == 0 || seen.Load() == 0) {
		fmt.Println("nothing was counted")
		code = 1
	}
	return code
}

func definition(name string, kind types.ScalarAttributeType) types.AttributeDefinition {
	return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: kind}
}

func keys(hash string, ranges ...string) []types.KeySchemaElement {
	schema := []types.KeySchemaElement{{AttributeName: aws.String(hash), KeyType: types.KeyTypeHash}}
	for _, name := range ranges {
		schema = append(schema, types.KeySchemaElement{AttributeName: aws.String(name), KeyType: types.KeyTypeRange})
	}
	return schema
}

// create makes a table paid by request and waits until it is active.
func create(t *testing.T, input *dynamodb.CreateTableInput) *types.TableDescription {
	t.Helper()
	input.BillingMode = types.BillingModePayPerRequest
	made, err := client.CreateTable(context.Background(), input)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the table", func() bool {
		table, err := client.DescribeTable(context.Background(), &dynamodb.DescribeTableInput{TableName: input.TableName})
		return err == nil && table.Table.TableStatus == types.TableStatusActive
	})
	return made.TableDescription
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	// The bound only ends a broken run.
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s does not come", what)
}

// records reads a whole stream, shard after shard.
func records(t *testing.T, arn *string) []streams.Record {
	t.Helper()
	ctx := context.Background()
	description, err := streamReader.DescribeStream(ctx, &dynamodbstreams.DescribeStreamInput{StreamArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	var all []streams.Record
	for _, shard := range description.StreamDescription.Shards {
		start, err := streamReader.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
			StreamArn: arn, ShardId: shard.ShardId, ShardIteratorType: streams.ShardIteratorTypeTrimHorizon,
		})
		if err != nil {
			t.Fatal(err)
		}
		for iterator := start.ShardIterator; iterator != nil; {
			page, err := streamReader.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: iterator})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Records...)
			if iterator = page.NextShardIterator; len(page.Records) == 0 {
				break
			}
		}
	}
	seen.Add(int64(len(all)))
	return all
}
