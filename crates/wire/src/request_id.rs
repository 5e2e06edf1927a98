//! Request ids in the form of each service.

use std::sync::Arc;

use headwater_api::Api;
use headwater_types::Runtime;

/// The second half is the same in every id the service gives. Source: ids printed in public issue reports.
const DYNAMODB_TAIL: &[u8; 26] = b"VV4KQNSO5AEMVJF66Q9ASUAAJG";
const BASE_32: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A new request id: 52 characters of `[A-Z0-9]` for DynamoDB, a UUID for the others; 128 random bits, or 122.
pub(crate) fn next(api: Api, runtime: &Runtime) -> Arc<str> {
    let bits = runtime.random_u128();
    match api {
        Api::DynamoDb | Api::DynamoDbStreams => dynamodb(bits),
        Api::Kinesis | Api::Firehose => uuid(bits).into(),
    }
}

fn dynamodb(bits: u128) -> Arc<str> {
    let mut id = [0; 52];
    let (head, tail) = id.split_at_mut(26);
    for (place, letter) in head.iter_mut().enumerate() {
        *letter = BASE_32[(bits >> (5 * place)) as usize & 31];
    }
    tail.copy_from_slice(DYNAMODB_TAIL);
    std::str::from_utf8(&id).expect("all of it is ASCII").into()
}

fn uuid(bits: u128) -> String {
    let version_four = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut id = String::with_capacity(36);
    for place in (0..32).rev() {
        id.push(char::from(HEX[(version_four >> (4 * place)) as usize & 15]));
        if matches!(place, 24 | 20 | 16 | 12) {
            id.push('-');
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_services_form() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = dynamodb(bits);
            assert_eq!(id.len(), 52);
            assert!(id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()), "{id}");
            let id = uuid(bits);
            assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        }
        assert_ne!(dynamodb(1), dynamodb(1 << 127), "every bit shows");
    }
}
