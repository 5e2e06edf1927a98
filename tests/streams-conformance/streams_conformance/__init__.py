"""A conformance suite for DynamoDB Streams: cases as data, answered by any endpoint that speaks its API."""
