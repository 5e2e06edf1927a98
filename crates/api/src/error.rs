//! What a client is told when a call fails, and what only the log learns.

use std::fmt;
use std::sync::Arc;

use crate::api::Api;
use crate::encode::{Encode, Encoder};
use crate::json::Writer;

/// An error code with its HTTP status and the namespace it is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Name without namespace: `ResourceNotFoundException`.
    pub name: &'static str,
    /// HTTP status.
    pub status: u16,
    namespace: Namespace,
    capital_message: bool,
}

/// Where the error comes from, which DynamoDB's `__type` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    /// The API's own model.
    Modelled,
    /// The framework's validation.
    Validate,
    /// The framework itself.
    Service,
}

impl Code {
    /// An error of an API's model.
    pub const fn modelled(name: &'static str, status: u16) -> Self {
        Self { name, status, namespace: Namespace::Modelled, capital_message: false }
    }

    /// An error of the service framework, which spells its text `Message`.
    pub const fn service(name: &'static str, status: u16) -> Self {
        Self { name, status, namespace: Namespace::Service, capital_message: true }
    }

    /// Spells the text `Message` instead of `message`.
    pub const fn capital_message(mut self) -> Self {
        self.capital_message = true;
        self
    }

    /// Whether the fault is the server's.
    pub const fn is_fault(self) -> bool {
        self.status >= 500
    }
}

/// Codes that every API knows, beside those of its model.
pub mod codes {
    use super::{Code, Namespace};

    /// A value breaks a constraint, or a rule of the operation.
    pub const VALIDATION: Code =
        Code { name: "ValidationException", status: 400, namespace: Namespace::Validate, capital_message: false };
    /// The body is no JSON or holds a value of a wrong type.
    pub const SERIALIZATION: Code = Code::service("SerializationException", 400);
    /// No such operation.
    pub const UNKNOWN_OPERATION: Code = Code::service("UnknownOperationException", 400).lower_message();
    /// Too many calls.
    pub const THROTTLING: Code = Code::modelled("ThrottlingException", 400);
    /// A policy forbids it.
    pub const ACCESS_DENIED: Code = Code::service("AccessDeniedException", 400);
    /// The call bears no signature.
    pub const MISSING_AUTHENTICATION_TOKEN: Code =
        Code::service("MissingAuthenticationTokenException", 400).lower_message();
    /// The signature lacks a part.
    pub const INCOMPLETE_SIGNATURE: Code = Code::service("IncompleteSignatureException", 400).lower_message();
    /// The signature is wrong or expired.
    pub const INVALID_SIGNATURE: Code = Code::service("InvalidSignatureException", 400).lower_message();
    /// The access key is not known.
    pub const UNRECOGNIZED_CLIENT: Code = Code::service("UnrecognizedClientException", 400).lower_message();
    /// Our fault; DynamoDB's name.
    pub const INTERNAL_SERVER_ERROR: Code = Code::modelled("InternalServerError", 500);
    /// Our fault; the name in the other APIs.
    pub const INTERNAL_FAILURE: Code = Code::service("InternalFailure", 500).lower_message();
    /// Overload; the client may try again.
    pub const SERVICE_UNAVAILABLE: Code = Code::service("ServiceUnavailableException", 503).lower_message();
    /// The body is larger than any request may be.
    pub const REQUEST_ENTITY_TOO_LARGE: Code = Code::service("RequestEntityTooLargeException", 413).lower_message();
}

impl Code {
    const fn lower_message(mut self) -> Self {
        self.capital_message = false;
        self
    }
}

/// A failed call.
///
/// Shape: what the client sees (code, message, members of the error's shape) and, apart, a cause for the log.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: Option<String>,
    members: Vec<(&'static str, Arc<dyn Encode + Send + Sync>)>,
    cause: Option<String>,
}

impl Error {
    /// An error with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, message: Some(message.into()), members: Vec::new(), cause: None }))
    }

    /// An error without a message.
    pub fn bare(code: Code) -> Self {
        Self(Box::new(Inner { code, message: None, members: Vec::new(), cause: None }))
    }

    /// ValidationException.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(codes::VALIDATION, message)
    }

    /// SerializationException: a value of a wrong type.
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new(codes::SERIALIZATION, message)
    }

    /// SerializationException: the body is no JSON at all; the service says no more.
    pub fn unparsable() -> Self {
        Self::bare(codes::SERIALIZATION)
    }

    /// UnknownOperationException; the service gives no message.
    pub fn unknown_operation() -> Self {
        Self::bare(codes::UNKNOWN_OPERATION)
    }

    /// ThrottlingException.
    pub fn throttling(message: impl Into<String>) -> Self {
        Self::new(codes::THROTTLING, message)
    }

    /// Our fault: the client learns nothing but that.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(codes::INTERNAL_SERVER_ERROR, "Internal server error").with_cause(cause)
    }

    /// Adds what only the log learns.
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Adds a member of the error's shape, such as `Item` of ConditionalCheckFailedException.
    pub fn with_member(mut self, name: &'static str, value: impl Encode + Send + Sync + 'static) -> Self {
        self.0.members.push((name, Arc::new(value)));
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Name of its code, without namespace.
    pub fn name(&self) -> &'static str {
        self.0.code.name
    }

    /// The code's name in an API: our own fault has another one in DynamoDB's APIs than in the rest.
    pub fn name_in(&self, api: Api) -> &'static str {
        match api {
            Api::Kinesis | Api::Firehose if self.is_internal() => codes::INTERNAL_FAILURE.name,
            _ => self.name(),
        }
    }

    /// Whether it is our own fault.
    pub(crate) fn is_internal(&self) -> bool {
        self.0.code == codes::INTERNAL_SERVER_ERROR
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.0.code.status
    }

    /// What the client is told.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// What only the log learns.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// `__type` as the API spells it: DynamoDB's APIs put a namespace before the name.
    pub fn type_name(&self, api: Api) -> String {
        let code = self.0.code;
        match (api, code.namespace) {
            (Api::DynamoDb | Api::DynamoDbStreams, Namespace::Modelled) => format!("{}#{}", api.package(), code.name),
            (Api::DynamoDb | Api::DynamoDbStreams, Namespace::Validate) => {
                format!("com.amazon.coral.validate#{}", code.name)
            }
            (Api::DynamoDb | Api::DynamoDbStreams, Namespace::Service) => {
                format!("com.amazon.coral.service#{}", code.name)
            }
            (Api::Kinesis | Api::Firehose, _) => self.name_in(api).to_owned(),
        }
    }

    /// Writes the body: `__type`, the message under the name the service gives it, the members.
    pub fn encode(&self, api: Api, e: &mut dyn Encoder) {
        e.begin_structure();
        e.field("__type");
        e.text(&self.type_name(api));
        if let Some(message) = self.message() {
            e.field(if self.0.code.capital_message { "Message" } else { "message" });
            e.text(message);
        }
        for (name, value) in &self.0.members {
            if !value.is_absent() {
                e.field(name);
                value.encode(e);
            }
        }
        e.end_structure();
    }

    /// The body in JSON.
    pub fn to_json(&self, api: Api) -> Vec<u8> {
        let mut writer = Writer::with_capacity(128);
        self.encode(api, &mut writer);
        writer.into_bytes()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<&str> = self.0.members.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Error")
            .field("code", &self.name())
            .field("message", &self.0.message)
            .field("members", &members)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.message().unwrap_or("(no message)"))
    }
}

impl std::error::Error for Error {}
