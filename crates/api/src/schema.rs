//! What the walker reads: static tables of members and constraints, written by `cargo xtask codegen`.

pub use crate::pattern::Pattern;

/// One shape that requests may hold.
#[derive(Debug)]
pub struct Shape {
    /// Its name in the model.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Least length or value.
    pub min: Option<i64>,
    /// Greatest length or value.
    pub max: Option<i64>,
    /// Pattern of the whole text.
    pub pattern: Option<&'static Pattern>,
    /// Values of an enum, in the order in which the service lists them; empty for other texts.
    pub values: &'static [&'static str],
    /// A text that begins with `arn:` is no name: pattern and lengths do not hold for it, nor the pattern for no text.
    pub or_arn: bool,
    /// The ARN of a table's stream may stand here too, which the pattern does not know.
    pub or_table_stream: bool,
    /// Texts about it do not repeat it.
    pub sensitive: bool,
    /// Something at or below it can be violated.
    pub constrained: bool,
}

/// What a shape is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// Floating point.
    Double,
    /// Bytes.
    Blob,
    /// A moment.
    Timestamp,
    /// Elements of one shape.
    List(&'static Shape),
    /// Keys and values.
    Map(&'static Shape, &'static Shape),
    /// Named members.
    Structure(&'static [Member]),
    /// An attribute value: a structure whose nulls and missing members are judged by hand.
    AttributeValue(&'static [Member]),
}

/// One member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub shape: &'static Shape,
    /// Whether it must be given.
    pub required: bool,
    /// Missing, the table's name is refused before anything else, in words of its own.
    pub table_name: bool,
}

impl Shape {
    /// A shape without constraints.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            min: None,
            max: None,
            pattern: None,
            values: &[],
            or_arn: false,
            or_table_stream: false,
            sensitive: false,
            constrained: false,
        }
    }

    /// Sets the least length or value.
    pub const fn min(mut self, min: i64) -> Self {
        self.min = Some(min);
        self
    }

    /// Sets the greatest length or value.
    pub const fn max(mut self, max: i64) -> Self {
        self.max = Some(max);
        self
    }

    /// Sets the pattern.
    pub const fn pattern(mut self, pattern: &'static Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// Sets the values of an enum.
    pub const fn one_of(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    /// Lets an ARN stand in the name's place.
    pub const fn or_arn(mut self) -> Self {
        self.or_arn = true;
        self
    }

    /// Lets the ARN of a table's stream stand here.
    pub const fn or_table_stream(mut self) -> Self {
        self.or_table_stream = true;
        self
    }

    /// Keeps its value out of texts.
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Says that something at or below it can be violated.
    pub const fn constrained(mut self) -> Self {
        self.constrained = true;
        self
    }
}

impl Member {
    /// A member that must be given.
    pub const fn required(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: true, table_name: false }
    }

    /// A table's name that is checked before all else.
    pub const fn table_name(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: true, table_name: true }
    }

    /// A member that may be left out.
    pub const fn optional(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: false, table_name: false }
    }
}

/// An enum of texts that decodes and encodes itself.
macro_rules! string_enum {
    ($name:ident { $($variant:ident = $text:literal,)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value as the API spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The value so spelled.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl crate::decode::Decode for $name {
            fn decode(document: crate::document::Document<'_>) -> Result<Self, crate::error::Error> {
                match &document {
                    crate::document::Document::Text(text) => Self::parse(text),
                    _ => None,
                }
                .ok_or_else(|| crate::decode::unexpected(stringify!($name), &document))
            }
        }

        impl crate::encode::Encode for $name {
            fn encode(&self, e: &mut dyn crate::encode::Encoder) {
                e.text(self.as_str());
            }
        }
    };
}

pub(crate) use string_enum;
