package sdk

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

// dataStreams is a client of Kinesis; over HTTP/2 it opens with its preface, as there is no TLS to agree in.
func dataStreams(http2 bool) *kinesis.Client {
	options := client.Options()
	made := kinesis.Options{
		BaseEndpoint: options.BaseEndpoint, Region: options.Region, Credentials: options.Credentials, RetryMaxAttempts: 1,
	}
	if http2 {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		made.HTTPClient = &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	}
	return kinesis.New(made)
}

// everyWay runs a test over HTTP/1.1 and over HTTP/2.
func everyWay(t *testing.T, run func(t *testing.T, client *kinesis.Client, prefix string)) {
	for name, http2 := range map[string]bool{"http1": false, "http2": true} {
		t.Run(name, func(t *testing.T) { run(t, dataStreams(http2), name) })
	}
}

func summary(t *testing.T, client *kinesis.Client, name string) *types.StreamDescriptionSummary {
	t.Helper()
	described, err := client.DescribeStreamSummary(context.Background(), &kinesis.DescribeStreamSummaryInput{StreamName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return described.StreamDescriptionSummary
}

// becomes waits; the bound is there to end a broken run only.
func becomes(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s never comes", what)
}

func active(t *testing.T, client *kinesis.Client, name string) *types.StreamDescriptionSummary {
	t.Helper()
	becomes(t, name+" is ACTIVE", func() bool { return summary(t, client, name).StreamStatus == types.StreamStatusActive })
	return summary(t, client, name)
}

func createStream(t *testing.T, client *kinesis.Client, name string, shards int32) *types.StreamDescriptionSummary {
	t.Helper()
	_, err := client.CreateStream(context.Background(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: &shards})
	if err != nil {
		t.Fatal(err)
	}
	return active(t, client, name)
}

func listShards(t *testing.T, client *kinesis.Client, name string, filter types.ShardFilterType) []types.Shard {
	t.Helper()
	input := &kinesis.ListShardsInput{StreamName: &name, MaxResults: aws.Int32(2)}
	if filter != "" {
		input.ShardFilter = &types.ShardFilter{Type: filter}
	}
	var shards []types.Shard
	for {
		page, err := client.ListShards(context.Background(), input)
		if err != nil {
			t.Fatal(err)
		}
		shards = append(shards, page.Shards...)
		if page.NextToken == nil {
			return shards
		}
		input = &kinesis.ListShardsInput{NextToken: page.NextToken, MaxResults: aws.Int32(2)}
	}
}

func putOne(t *testing.T, client *kinesis.Client, name, key string, data []byte) *kinesis.PutRecordOutput {
	t.Helper()
	answer, err := client.PutRecord(context.Background(), &kinesis.PutRecordInput{StreamName: &name, PartitionKey: &key, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	written.Add(1)
	return answer
}

// readShard reads to the tip or to the end, whose children it gives.
func readShard(t *testing.T, client *kinesis.Client, input kinesis.GetShardIteratorInput) ([]types.Record, []types.ChildShard) {
	t.Helper()
	ctx := context.Background()
	if input.ShardIteratorType == "" {
		input.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	}
	start, err := client.GetShardIterator(ctx, &input)
	if err != nil {
		t.Fatal(err)
	}
	var all []types.Record
	for iterator := start.ShardIterator; ; {
		page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(3)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Records...)
		seen.Add(int64(len(page.Records)))
		iterator = page.NextShardIterator
		if iterator == nil {
			return all, page.ChildShards
		}
		if len(page.Records) == 0 && *page.MillisBehindLatest == 0 {
			return all, nil
		}
	}
}

func within(t *testing.T, key string, hashes *types.HashKeyRange) bool {
	t.Helper()
	sum := md5.Sum([]byte(key))
	hash := new(big.Int).SetBytes(sum[:])
	start, _ := new(big.Int).SetString(*hashes.StartingHashKey, 10)
	end, _ := new(big.Int).SetString(*hashes.EndingHashKey, 10)
	return hash.Cmp(start) >= 0 && hash.Cmp(end) <= 0
}

func TestDataStreamRecordsComeBack(t *testing.T) {
	everyWay(t, func(t *testing.T, client *kinesis.Client, prefix string) {
		name := prefix + "-records"
		createStream(t, client, name, 2)
		wanted := []struct {
			key  string
			data []byte
		}{
			{"k", []byte{}},
			{"k", []byte{0, 255, 128}},
			{strings.Repeat("🦀", 256), []byte("grüße")},
			{"large", bytes.Repeat([]byte{7}, 1<<20)},
		}
		placed := map[string]int{}
		for index, record := range wanted {
			answer := putOne(t, client, name, record.key, record.data)
			placed[*answer.ShardId+*answer.SequenceNumber] = index
		}
		found := 0
		for _, shard := range listShards(t, client, name, "") {
			records, _ := readShard(t, client, kinesis.GetShardIteratorInput{StreamName: &name, ShardId: shard.ShardId})
			for _, record := range records {
				index, known := placed[*shard.ShardId+*record.SequenceNumber]
				if !known || *record.PartitionKey != wanted[index].key || !bytes.Equal(record.Data, wanted[index].data) {
					t.Fatalf("another record: %s %s", *record.SequenceNumber, *record.PartitionKey)
				}
				if !within(t, *record.PartitionKey, shard.HashKeyRange) || record.ApproximateArrivalTimestamp == nil {
					t.Fatalf("record %s is out of place", *record.SequenceNumber)
				}
				found++
			}
		}
		if found != len(wanted) {
			t.Fatalf("%d of %d records came back", found, len(wanted))
		}
	})
}

func TestDataStreamIterators(t *testing.T) {
	everyWay(t, func(t *testing.T, client *kinesis.Client, prefix string) {
		name := prefix + "-iterators"
		createStream(t, client, name, 2)
		shard := listShards(t, client, name, "")[1]
		var entries []types.PutRecordsRequestEntry
		for _, letter := range "abcde" {
			entries = append(entries, types.PutRecordsRequestEntry{
				PartitionKey: aws.String("k"), ExplicitHashKey: shard.HashKeyRange.EndingHashKey, Data: []byte(string(letter)),
			})
		}
		answer, err := client.PutRecords(context.Background(), &kinesis.PutRecordsInput{StreamName: &name, Records: entries})
		if err != nil || *answer.FailedRecordCount != 0 {
			t.Fatal(err, answer)
		}
		read := func(input kinesis.GetShardIteratorInput) (string, []types.Record) {
			input.StreamName, input.ShardId = &name, shard.ShardId
			records, _ := readShard(t, client, input)
			var letters string
			for _, record := range records {
				letters += string(record.Data)
			}
			return letters, records
		}
		all, records := read(kinesis.GetShardIteratorInput{})
		if all != "abcde" {
			t.Fatalf("read %q", all)
		}
		third := answer.Records[2].SequenceNumber
		for _, each := range []struct {
			kind   types.ShardIteratorType
			number *string
			at     *time.Time
			wanted string
		}{
			{types.ShardIteratorTypeAtSequenceNumber, shard.SequenceNumberRange.StartingSequenceNumber, nil, "abcde"},
			{types.ShardIteratorTypeAtSequenceNumber, third, nil, "cde"},
			{types.ShardIteratorTypeAfterSequenceNumber, third, nil, "de"},
			{types.ShardIteratorTypeLatest, nil, nil, ""},
			{types.ShardIteratorTypeAtTimestamp, nil, records[0].ApproximateArrivalTimestamp, "abcde"},
		} {
			got, _ := read(kinesis.GetShardIteratorInput{
				ShardIteratorType: each.kind, StartingSequenceNumber: each.number, Timestamp: each.at,
			})
			if got != each.wanted {
				t.Errorf("%s: %q instead of %q", each.kind, got, each.wanted)
			}
		}
	})
}

func TestDataStreamShardsSplitMergeAndScale(t *testing.T) {
	everyWay(t, func(t *testing.T, client *kinesis.Client, prefix string) {
		ctx, name := context.Background(), prefix+"-shards"
		createStream(t, client, name, 1)
		parent := "shardId-000000000000"
		half := new(big.Int).Lsh(big.NewInt(1), 127).String()
		putOne(t, client, name, "k", []byte("1"))
		if _, err := client.SplitShard(ctx, &kinesis.SplitShardInput{
			StreamName: &name, ShardToSplit: &parent, NewStartingHashKey: &half,
		}); err != nil {
			t.Fatal(err)
		}
		active(t, client, name)
		putOne(t, client, name, "k", []byte("2"))
		_, children := readShard(t, client, kinesis.GetShardIteratorInput{StreamName: &name, ShardId: &parent})
		if len(children) != 2 || !slices.Equal(children[0].ParentShards, []string{parent}) {
			t.Fatalf("children: %+v", children)
		}
		if _, err := client.MergeShards(ctx, &kinesis.MergeShardsInput{
			StreamName: &name, ShardToMerge: children[0].ShardId, AdjacentShardToMerge: children[1].ShardId,
		}); err != nil {
			t.Fatal(err)
		}
		active(t, client, name)
		putOne(t, client, name, "k", []byte("3"))
		var order string
		for _, shard := range listShards(t, client, name, "") {
			records, _ := readShard(t, client, kinesis.GetShardIteratorInput{StreamName: &name, ShardId: shard.ShardId})
			for _, record := range records {
				order += string(record.Data)
			}
		}
		if order != "123" {
			t.Fatalf("order %q", order)
		}
		scaled, err := client.UpdateShardCount(ctx, &kinesis.UpdateShardCountInput{
			StreamName: &name, TargetShardCount: aws.Int32(2), ScalingType: types.ScalingTypeUniformScaling,
		})
		if err != nil || *scaled.CurrentShardCount != 1 {
			t.Fatal(err, scaled)
		}
		active(t, client, name)
		open := listShards(t, client, name, types.ShardFilterTypeAtLatest)
		if len(open) != 2 || *open[0].HashKeyRange.StartingHashKey != "0" || *open[1].HashKeyRange.StartingHashKey != half {
			t.Fatalf("open: %+v", open)
		}
	})
}

func TestDataStreamSettingsConsumersAndTheEnd(t *testing.T) {
	ctx, client, name := context.Background(), dataStreams(true), "settings"
	arn := createStream(t, client, name, 1).StreamARN
	if _, err := client.IncreaseStreamRetentionPeriod(ctx, &kinesis.IncreaseStreamRetentionPeriodInput{
		StreamName: &name, RetentionPeriodHours: aws.Int32(8760),
	}); err != nil {
		t.Fatal(err)
	}
	if described := active(t, client, name); *described.RetentionPeriodHours != 8760 {
		t.Fatalf("%d hours", *described.RetentionPeriodHours)
	}
	if _, err := client.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{
		StreamName: &name, EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/aws/kinesis"),
	}); err != nil {
		t.Fatal(err)
	}
	if described := active(t, client, name); described.EncryptionType != types.EncryptionTypeKms {
		t.Fatalf("%s", described.EncryptionType)
	}
	if _, err := client.TagResource(ctx, &kinesis.TagResourceInput{ResourceARN: arn, Tags: map[string]string{"größe": "1"}}); err != nil {
		t.Fatal(err)
	}
	tags, err := client.ListTagsForStream(ctx, &kinesis.ListTagsForStreamInput{StreamName: &name})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "größe" {
		t.Fatal(err, tags)
	}
	for index := range 3 {
		registered, err := client.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{
			StreamARN: arn, ConsumerName: aws.String(fmt.Sprintf("app-%d", index)),
		})
		if err != nil || registered.Consumer.ConsumerStatus != types.ConsumerStatusCreating {
			t.Fatal(err, registered)
		}
	}
	var consumers []types.Consumer
	pages := kinesis.NewListStreamConsumersPaginator(client, &kinesis.ListStreamConsumersInput{StreamARN: arn, MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		consumers = append(consumers, page.Consumers...)
	}
	if len(consumers) != 3 {
		t.Fatalf("%d consumers", len(consumers))
	}
	var inUse *types.ResourceInUseException
	if _, err := client.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: &name}); !errors.As(err, &inUse) {
		t.Fatalf("a stream with consumers is deleted: %v", err)
	}
	if _, err := client.DeleteStream(ctx, &kinesis.DeleteStreamInput{
		StreamName: &name, EnforceConsumerDeletion: aws.Bool(true),
	}); err != nil {
		t.Fatal(err)
	}
	becomes(t, "the end of the stream", func() bool {
		var gone *types.ResourceNotFoundException
		_, err := client.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: &name})
		return errors.As(err, &gone)
	})
}

func TestDataStreamRefusals(t *testing.T) {
	everyWay(t, func(t *testing.T, client *kinesis.Client, prefix string) {
		ctx, name := context.Background(), prefix+"-refusals"
		createStream(t, client, name, 1)
		under := " under account 000000000000"
		_, exists := client.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(1)})
		_, missing := client.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("none")})
		_, garbage := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: aws.String("garbage")})
		_, hash := client.PutRecord(ctx, &kinesis.PutRecordInput{
			StreamName: &name, PartitionKey: aws.String("k"), Data: []byte{}, ExplicitHashKey: aws.String("999999999999999999999999999999999999999"),
		})
		for _, each := range []struct {
			err           error
			code, message string
		}{
			{exists, "ResourceInUseException", "Stream " + name + under + " already exists."},
			{missing, "ResourceNotFoundException", "Stream none" + under + " not found."},
			{garbage, "InvalidArgumentException", "Invalid ShardIterator."},
			{hash, "InvalidArgumentException", "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was 999999999999999999999999999999999999999"},
		} {
			var refused smithy.APIError
			if !errors.As(each.err, &refused) || refused.ErrorCode() != each.code || refused.ErrorMessage() != each.message {
				t.Errorf("%v instead of %s: %s", each.err, each.code, each.message)
			}
		}
	})
}
