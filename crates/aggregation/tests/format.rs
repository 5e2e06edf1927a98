//! What is written is read again; what is not an aggregate stays a record; what is broken is said to be.

use headwater_aggregation::{Aggregator, DIGEST_BYTES, Error, MAGIC, UserRecord, decode, hash_key};
use md5::{Digest, Md5};
use proptest::prelude::*;

/// A message as an aggregate with a right digest.
fn sealed(message: &[u8]) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    data.extend_from_slice(message);
    data.extend_from_slice(&Md5::digest(message));
    data
}

fn aggregated(records: &[UserRecord<'_>]) -> Vec<u8> {
    let mut aggregator = Aggregator::new();
    for record in records {
        let expected = aggregator.size_with_bytes(record);
        aggregator.add(record);
        assert_eq!(aggregator.size_bytes(), expected);
    }
    assert_eq!(aggregator.len(), records.len());
    let expected = aggregator.size_bytes();
    let data = aggregator.finish();
    assert_eq!(data.len(), expected);
    data
}

#[test]
fn two_records_have_exactly_these_bytes() {
    let explicit = UserRecord { explicit_hash_key: Some("17"), ..UserRecord::new("b", b"yz") };
    let data = aggregated(&[UserRecord::new("a", b"x"), explicit, UserRecord::new("a", b"")]);
    let message = [
        0x0A, 1, b'a', 0x0A, 1, b'b', // the table of partition keys
        0x12, 2, b'1', b'7', // the table of explicit hash keys
        0x1A, 5, 0x08, 0, 0x1A, 1, b'x', // the first record: key 0, data
        0x1A, 8, 0x08, 1, 0x10, 0, 0x1A, 2, b'y', b'z', // the second: key 1, explicit hash key 0, data
        0x1A, 4, 0x08, 0, 0x1A, 0, // the third: key 0, no data
    ];
    assert_eq!(data, sealed(&message));
}

#[test]
fn tables_may_follow_the_records_and_the_last_of_a_repeated_field_counts() {
    let message = [
        0x1A, 9, 0x08, 7, 0x1A, 1, b'x', 0x08, 1, 0x2A, 0, // key 7, overwritten by 1; an unknown field 5
        0x0A, 1, b'a', 0x0A, 1, b'b', 0x52, 1, b'?', // keys; an unknown field 10
    ];
    let data = sealed(&message);
    let aggregate = decode(&data).unwrap().unwrap();
    assert_eq!(aggregate.records().collect::<Vec<_>>(), [UserRecord::new("b", b"x")]);
}

#[test]
fn what_is_not_an_aggregate_is_an_ordinary_record() {
    let data = aggregated(&[UserRecord::new("key", b"data")]);
    let mut wrong_digest = data.clone();
    *wrong_digest.last_mut().unwrap() ^= 1;
    let mut ordinary = vec![
        Vec::new(),
        b"data".to_vec(),
        MAGIC.to_vec(),
        MAGIC[..3].to_vec(),
        [&MAGIC[..], &[0; DIGEST_BYTES - 1]].concat(),
        // KCL wants one byte of a message at least.
        sealed(&[]),
        wrong_digest,
        // Neither partition key nor data; no data; no partition key; a tag without a key.
        sealed(&[0x1A, 0]),
        sealed(&[0x0A, 1, b'a', 0x1A, 2, 0x08, 0]),
        sealed(&[0x0A, 1, b'a', 0x1A, 2, 0x1A, 0]),
        sealed(&[0x0A, 1, b'a', 0x1A, 6, 0x08, 0, 0x1A, 0, 0x22, 0]),
        // A message that ends too early.
        sealed(&[0x0A, 3, b'a']),
    ];
    ordinary.extend((0..data.len()).map(|length| data[..length].to_vec()));
    for data in &ordinary {
        assert!(matches!(decode(data), Ok(None)), "{data:02x?}");
    }
}

#[test]
fn a_right_digest_over_unreadable_records_is_an_error() {
    let no_such_key = [0x0A, 1, b'a', 0x1A, 4, 0x08, 0, 0x1A, 0, 0x1A, 4, 0x08, 1, 0x1A, 0];
    let no_such_hash_key = [0x0A, 1, b'a', 0x1A, 6, 0x08, 0, 0x10, 0, 0x1A, 0];
    let not_text = [0x0A, 1, 0xFF, 0x1A, 4, 0x08, 0, 0x1A, 0];
    let hash_key = |key: &str| {
        let mut message = vec![0x0A, 1, b'a', 0x12, u8::try_from(key.len()).unwrap()];
        message.extend_from_slice(key.as_bytes());
        message.extend_from_slice(&[0x1A, 6, 0x08, 0, 0x10, 0, 0x1A, 0]);
        sealed(&message)
    };
    let cases = [
        (sealed(&no_such_key), Error::NoSuchKey { record: 1, key: 1 }),
        (sealed(&no_such_hash_key), Error::NoSuchKey { record: 0, key: 0 }),
        (sealed(&not_text), Error::NotText),
        (hash_key(""), Error::HashKey { record: 0 }),
        (hash_key("+1"), Error::HashKey { record: 0 }),
        (hash_key("-1"), Error::HashKey { record: 0 }),
        (hash_key("340282366920938463463374607431768211456"), Error::HashKey { record: 0 }),
    ];
    for (data, expected) in cases {
        assert_eq!(decode(&data).map(drop), Err(expected));
    }
    assert!(decode(&hash_key("340282366920938463463374607431768211455")).unwrap().is_some());
}

#[test]
fn an_aggregate_belongs_to_a_shard_only_with_all_its_records() {
    let low = UserRecord { explicit_hash_key: Some("10"), ..UserRecord::new("any", b"1") };
    let high = UserRecord { explicit_hash_key: Some("20"), ..UserRecord::new("any", b"2") };
    let hashed = UserRecord::new("any", b"3");
    let data = aggregated(&[low.clone(), high]);
    let both = decode(&data).unwrap().unwrap();
    assert!(both.lies_within(&(10..=20)));
    assert!(!both.lies_within(&(10..=19)));
    assert!(!both.lies_within(&(11..=20)));
    let data = aggregated(&[low, hashed]);
    let place = hash_key("any");
    let mixed = decode(&data).unwrap().unwrap();
    assert!(mixed.lies_within(&(10..=place)));
    assert!(!mixed.lies_within(&(10..=place - 1)));
}

#[test]
fn the_hash_of_a_key_is_its_md5_as_a_number() {
    // RFC 1321, test suite.
    assert_eq!(hash_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
}

type Tags = Vec<(String, Option<String>)>;
type Owned = (String, Option<u128>, Vec<u8>, Tags);

fn owned() -> impl Strategy<Value = Vec<Owned>> {
    let key = prop_oneof!["[ab]", ".{0,300}"];
    let tags = prop::collection::vec((".{0,5}", prop::option::of(".{0,5}")), 0..3);
    let data = prop::collection::vec(any::<u8>(), 0..200);
    prop::collection::vec((key, prop::option::of(any::<u128>()), data, tags), 0..40)
}

proptest! {
    #[test]
    fn what_is_added_is_read(records in owned()) {
        let hash_keys: Vec<Option<String>> = records.iter().map(|record| record.1.map(|key| key.to_string())).collect();
        let records: Vec<UserRecord<'_>> = records.iter().zip(&hash_keys).map(|((key, _, data, tags), hash_key)| UserRecord {
            partition_key: key,
            explicit_hash_key: hash_key.as_deref(),
            data,
            tags: tags.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect(),
        }).collect();
        let data = aggregated(&records);
        if records.is_empty() {
            prop_assert!(decode(&data).unwrap().is_none());
        } else {
            let aggregate = decode(&data).unwrap().unwrap();
            prop_assert_eq!(aggregate.len(), records.len());
            prop_assert_eq!(aggregate.records().collect::<Vec<_>>(), records);
        }
    }

    #[test]
    fn any_message_is_decoded_or_refused(message in prop::collection::vec(any::<u8>(), 1..200)) {
        let data = sealed(&message);
        if let Ok(Some(aggregate)) = decode(&data) {
            prop_assert_eq!(aggregate.records().count(), aggregate.len());
        }
    }

    /// One byte of a good message is replaced, under a right digest: far more of these get beyond the first field.
    #[test]
    fn nearly_right_messages_are_decoded_or_refused(records in owned(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut aggregator = Aggregator::new();
        aggregator.add(&UserRecord::new("first", b"data"));
        for (key, _, data, _) in &records {
            aggregator.add(&UserRecord::new(key, data));
        }
        let data = aggregator.finish();
        let mut message = data[MAGIC.len()..data.len() - DIGEST_BYTES].to_vec();
        let place = place.index(message.len());
        message[place] = byte;
        let data = sealed(&message);
        if let Ok(Some(aggregate)) = decode(&data) {
            prop_assert_eq!(aggregate.records().count(), aggregate.len());
            prop_assert!(aggregate.lies_within(&(0..=u128::MAX)));
        }
    }
}
