//! Service models: read from botocore, trimmed of prose, kept in their order.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Api;

/// A trimmed model.
#[derive(Serialize, Deserialize)]
pub struct Model {
    pub metadata: Metadata,
    pub operations: Ordered<Operation>,
    pub shapes: Ordered<Shape>,
}

/// Protocol facts of a service.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub api_version: String,
    pub json_version: String,
    pub target_prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_name: Option<String>,
    pub endpoint_prefix: String,
}

/// One operation.
#[derive(Serialize, Deserialize)]
pub struct Operation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Reference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Reference>,
}

/// A use of a shape.
#[derive(Serialize, Deserialize, Clone)]
pub struct Reference {
    pub shape: String,
}

/// One shape with its constraints.
#[derive(Serialize, Deserialize, Clone)]
pub struct Shape {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub members: Ordered<Reference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub sensitive: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub exception: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub fault: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HttpError>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub eventstream: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub event: bool,
    /// Set by overrides only: a text that begins with `arn:` is checked by hand.
    #[serde(skip)]
    pub or_arn: bool,
    /// Set by overrides only: the ARN of a table's stream may stand here.
    #[serde(skip)]
    pub or_table_stream: bool,
    /// Set by overrides only: the member that holds a table's name with rules of its own.
    #[serde(skip)]
    pub table_name: Option<String>,
}

/// HTTP status of an error shape, where the model gives one.
#[derive(Serialize, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub struct HttpError {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status_code: Option<u16>,
}

/// A JSON object whose order counts: the order of members is the order of listed violations.
#[derive(Clone)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The entry of that name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.0.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Reads an official model and renders the trimmed one: one line per operation and per shape.
pub fn trim(data: &Path, api: Api) -> Result<String> {
    let path = newest(&data.join(api.botocore))?;
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let text = if path.extension().is_some_and(|end| end == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)?;
        text
    } else {
        String::from_utf8(bytes)?
    };
    let mut model: Model = serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    model.shapes.0.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out = format!("{{\n\"metadata\": {},\n\"operations\": {{\n", serde_json::to_string(&model.metadata)?);
    lines(&mut out, &model.operations)?;
    out.push_str("},\n\"shapes\": {\n");
    lines(&mut out, &model.shapes)?;
    out.push_str("}\n}\n");
    Ok(out)
}

fn lines<T: Serialize>(out: &mut String, entries: &Ordered<T>) -> Result<()> {
    for (index, (name, value)) in entries.0.iter().enumerate() {
        let comma = if index + 1 == entries.0.len() { "" } else { "," };
        out.push_str(&format!("{}: {}{comma}\n", serde_json::to_string(name)?, serde_json::to_string(value)?));
    }
    Ok(())
}

/// The model of the newest API version in a service's folder.
fn newest(folder: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        for name in ["service-2.json", "service-2.json.gz"] {
            let path = entry.as_ref().map_or_else(|_| PathBuf::new(), |entry| entry.path().join(name));
            if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    match found.pop() {
        Some(path) => Ok(path),
        None => bail!("no service-2.json below {}", folder.display()),
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
