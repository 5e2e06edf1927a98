package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/expression"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

type event struct {
	Device string `dynamodbav:"device"`
	At     int    `dynamodbav:"at"`
	Kind   string `dynamodbav:"kind,omitempty"`
	Site   string `dynamodbav:"site,omitempty"`
	Level  int    `dynamodbav:"level"`
}

func put(t *testing.T, table string, item any) {
	t.Helper()
	encoded, err := attributevalue.MarshalMap(item)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: &table, Item: encoded}); err != nil {
		t.Fatal(err)
	}
	written.Add(1)
}

func query(t *testing.T, table, index string, built expression.Expression, more func(*dynamodb.QueryInput)) []event {
	t.Helper()
	input := &dynamodb.QueryInput{
		TableName: &table, IndexName: &index, KeyConditionExpression: built.KeyCondition(), FilterExpression: built.Filter(),
		ExpressionAttributeNames: built.Names(), ExpressionAttributeValues: built.Values(),
	}
	if more != nil {
		more(input)
	}
	var all []event
	for pages := dynamodb.NewQueryPaginator(client, input); pages.HasMorePages(); {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var events []event
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &events); err != nil {
			t.Fatal(err)
		}
		all = append(all, events...)
	}
	read.Add(int64(len(all)))
	return all
}

func must(t *testing.T, builder expression.Builder) expression.Expression {
	t.Helper()
	built, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// An index whose key has several attributes, beside a local one.
func TestIndexes(t *testing.T) {
	t.Parallel()
	table := "events"
	create(t, &dynamodb.CreateTableInput{
		TableName: &table,
		AttributeDefinitions: []types.AttributeDefinition{
			definition("device", types.ScalarAttributeTypeS), definition("at", types.ScalarAttributeTypeN),
			definition("kind", types.ScalarAttributeTypeS), definition("site", types.ScalarAttributeTypeS),
			definition("level", types.ScalarAttributeTypeN),
		},
		KeySchema: keys("device", "at"),
		LocalSecondaryIndexes: []types.LocalSecondaryIndex{{
			IndexName: aws.String("by-level"), KeySchema: keys("device", "level"),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("by-site"), KeySchema: keys("site", "kind", "level", "at"),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}},
	})
	var group sync.WaitGroup
	for device := range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for at := range 20 {
				one := event{Device: fmt.Sprint("d", device), At: at, Kind: []string{"on", "off"}[at%2], Level: at % 5}
				if at%4 != 3 {
					one.Site = "north"
				}
				put(t, table, one)
			}
		}()
	}
	group.Wait()
	condition := expression.Key("site").Equal(expression.Value("north")).And(expression.Key("kind").Equal(expression.Value("on")))
	condition = expression.KeyAnd(condition, expression.Key("level").LessThan(expression.Value(2)))
	found := query(t, table, "by-site", must(t, expression.NewBuilder().WithKeyCondition(condition)), func(input *dynamodb.QueryInput) {
		input.Limit = aws.Int32(3)
	})
	order := func(one event) string { return fmt.Sprintf("%d %03d", one.Level, one.At) }
	if len(found) != 16 || !slices.IsSortedFunc(found, func(a, b event) int { return compare(order(a), order(b)) }) {
		t.Fatalf("%d events: %v", len(found), found)
	}
	local := expression.Key("device").Equal(expression.Value("d1")).And(expression.Key("level").GreaterThanEqual(expression.Value(3)))
	filter := expression.Name("kind").Equal(expression.Value("on"))
	built := must(t, expression.NewBuilder().WithKeyCondition(local).WithFilter(filter))
	if found := query(t, table, "by-level", built, func(input *dynamodb.QueryInput) { input.ConsistentRead = aws.Bool(true) }); len(found) != 4 {
		t.Fatalf("%d events: %v", len(found), found)
	}
	_, err := client.Query(context.Background(), &dynamodb.QueryInput{
		TableName: &table, IndexName: aws.String("by-site"), ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("site = :s"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":s": &types.AttributeValueMemberS{Value: "north"}},
	})
	if err == nil {
		t.Fatal("a consistent read of a global index was served")
	}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func number(value int) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.Itoa(value)}
}

// Money moves between accounts by transactions of many clients; the sum stays, and the stream tells each step.
func TestTransactions(t *testing.T) {
	t.Parallel()
	table, ctx := "bank", context.Background()
	made := create(t, &dynamodb.CreateTableInput{
		TableName: &table, KeySchema: keys("id"),
		AttributeDefinitions: []types.AttributeDefinition{definition("id", types.ScalarAttributeTypeN)},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	})
	const accounts, start, clients, moves = 5, 100, 4, 25
	for id := range accounts {
		put(t, table, map[string]int{"id": id, "amount": start})
	}
	var group sync.WaitGroup
	var lock sync.Mutex
	done, refused := 0, 0
	for worker := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			for move := range moves {
				from, to, amount := (worker+move)%accounts, (worker*3+move*2+1)%accounts, 1+move%30
				if from == to {
					continue
				}
				step := func(id, change int) types.TransactWriteItem {
					return types.TransactWriteItem{Update: &types.Update{
						TableName: &table, Key: map[string]types.AttributeValue{"id": number(id)},
						UpdateExpression:          aws.String("SET amount = amount + :c"),
						ConditionExpression:       aws.String("amount >= :least"),
						ExpressionAttributeValues: map[string]types.AttributeValue{":c": number(change), ":least": number(max(0, -change))},
					}}
				}
				_, err := client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
					TransactItems: []types.TransactWriteItem{step(from, -amount), step(to, amount)},
				})
				var canceled *types.TransactionCanceledException
				lock.Lock()
				switch {
				case err == nil:
					done++
				case errors.As(err, &canceled) && aws.ToString(canceled.CancellationReasons[0].Code) == "ConditionalCheckFailed":
					refused++
				default:
					t.Error(err)
				}
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	gets := make([]types.TransactGetItem, accounts)
	for id := range gets {
		gets[id] = types.TransactGetItem{Get: &types.Get{TableName: &table, Key: map[string]types.AttributeValue{"id": number(id)}}}
	}
	all, err := client.TransactGetItems(ctx, &dynamodb.TransactGetItemsInput{TransactItems: gets})
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, response := range all.Responses {
		var account map[string]int
		if err := attributevalue.UnmarshalMap(response.Item, &account); err != nil {
			t.Fatal(err)
		}
		sum += account["amount"]
	}
	if sum != accounts*start || done == 0 {
		t.Fatalf("the sum is %d after %d transactions and %d refusals", sum, done, refused)
	}
	var steps []streams.Record
	eventually(t, "the records", func() bool {
		steps = records(t, made.LatestStreamArn)
		return len(steps) >= accounts+2*done
	})
	last := map[string]string{}
	for _, record := range steps {
		id := record.Dynamodb.Keys["id"].(*streams.AttributeValueMemberN).Value
		if before, known := last[id]; known && record.Dynamodb.OldImage["amount"].(*streams.AttributeValueMemberN).Value != before {
			t.Fatalf("account %s: a change does not follow the one before", id)
		}
		last[id] = record.Dynamodb.NewImage["amount"].(*streams.AttributeValueMemberN).Value
	}
	if len(steps) != accounts+2*done {
		t.Fatalf("%d records of %d transactions", len(steps), done)
	}
	read.Add(int64(len(all.Responses)))
}

// An index is made and removed, and items expire, while the table is used.
func TestTableChanges(t *testing.T) {
	t.Parallel()
	table, ctx := "changing", context.Background()
	create(t, &dynamodb.CreateTableInput{
		TableName: &table, KeySchema: keys("device", "at"),
		AttributeDefinitions: []types.AttributeDefinition{
			definition("device", types.ScalarAttributeTypeS), definition("at", types.ScalarAttributeTypeN),
		},
	})
	for at := range 50 {
		put(t, table, event{Device: "d", At: at, Kind: fmt.Sprint("k", at%3)})
	}
	_, err := client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
		TableName: &table,
		AttributeDefinitions: []types.AttributeDefinition{
			definition("kind", types.ScalarAttributeTypeS), definition("at", types.ScalarAttributeTypeN),
		},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: aws.String("by-kind"), KeySchema: keys("kind", "at"),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	describe := func() *types.TableDescription {
		table, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
		if err != nil {
			t.Fatal(err)
		}
		return table.Table
	}
	eventually(t, "the index", func() bool {
		return describe().GlobalSecondaryIndexes[0].IndexStatus == types.IndexStatusActive
	})
	condition := expression.Key("kind").Equal(expression.Value("k1"))
	if found := query(t, table, "by-kind", must(t, expression.NewBuilder().WithKeyCondition(condition)), nil); len(found) != 17 {
		t.Fatalf("%d events", len(found))
	}
	_, err = client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, table, map[string]any{"device": "old", "at": 1, "kind": "k1", "until": time.Now().Unix() - 5})
	eventually(t, "the expiry", func() bool {
		return len(query(t, table, "by-kind", must(t, expression.NewBuilder().WithKeyCondition(condition)), nil)) == 17
	})
	_, err = client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
		TableName: &table,
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{
			Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("by-kind")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the index", func() bool { return len(describe().GlobalSecondaryIndexes) == 0 })
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
	arn := describe().TableArn
	if _, err := client.TagResource(ctx, &dynamodb.TagResourceInput{ResourceArn: arn, Tags: tags}); err != nil {
		t.Fatal(err)
	}
	list, err := client.ListTagsOfResource(ctx, &dynamodb.ListTagsOfResourceInput{ResourceArn: arn})
	if err != nil || len(list.Tags) != 1 || aws.ToString(list.Tags[0].Value) != "blue" {
		t.Fatalf("%v %v", list, err)
	}
}
