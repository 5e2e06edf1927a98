//! `cargo xtask codegen`: the official service models become `crates/api/src/generated`.
//!
//! Owns: the trimmed models in `crates/api/models`, the overrides beside them, and every generated file.
//! In: a botocore data directory (only to refresh the models), the trimmed models, `model-overrides.toml`.
//! Out: Rust, formatted. Never: official prose, behaviour, a path of the machine it ran on.

mod access;
mod files;
mod model;
mod names;
mod overrides;
mod plan;
mod service;
mod shapes;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The APIs and where their official models live below a botocore data directory.
pub const APIS: [Api; 4] = [
    Api { module: "dynamodb", model: "dynamodb", botocore: "dynamodb", variant: "DynamoDb", action: "dynamodb" },
    Api {
        module: "dynamodb_streams",
        model: "dynamodb-streams",
        botocore: "dynamodbstreams",
        variant: "DynamoDbStreams",
        action: "dynamodb",
    },
    Api { module: "kinesis", model: "kinesis", botocore: "kinesis", variant: "Kinesis", action: "kinesis" },
    Api { module: "firehose", model: "firehose", botocore: "firehose", variant: "Firehose", action: "firehose" },
];

/// One API's names.
#[derive(Clone, Copy)]
pub struct Api {
    /// Rust module, and the word that overrides use.
    pub module: &'static str,
    /// File name of the trimmed model.
    pub model: &'static str,
    /// Folder below a botocore data directory.
    pub botocore: &'static str,
    /// Variant of `headwater_api::Api`, and the name of the operation trait.
    pub variant: &'static str,
    /// Prefix of its actions in policies.
    pub action: &'static str,
}

/// Flags of `cargo xtask codegen`.
#[derive(clap::Args)]
pub struct Options {
    /// Fail when a generated file is stale; write nothing.
    #[arg(long)]
    check: bool,
    /// Refresh the trimmed models from this botocore data directory first.
    #[arg(long, value_name = "DIR")]
    botocore: Option<PathBuf>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let room = files::workspace_root()?.join("crates/api");
    if let Some(data) = &options.botocore {
        if options.check {
            bail!("--check and --botocore exclude each other");
        }
        for api in APIS {
            let path = model_path(&room, api);
            std::fs::write(&path, model::trim(data, api)?).with_context(|| format!("write {}", path.display()))?;
        }
    }
    let overrides = overrides::read(&room.join("model-overrides.toml"))?;
    let mut generated = Vec::new();
    for api in APIS {
        let path = model_path(&room, api);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut model: model::Model =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        let planned = overrides.apply(api, &mut model)?;
        let plan = plan::Plan::new(api, &model, planned)?;
        for (name, body) in [
            (format!("{}.rs", api.module), service::index(&plan)),
            (format!("{}/shapes.rs", api.module), shapes::render(&plan)?),
            (format!("{}/tables.rs", api.module), tables::render(&plan)?),
            (format!("{}/errors.rs", api.module), service::errors(&plan)),
            (format!("{}/access.rs", api.module), access::render(&plan)?),
            (format!("{}/service.rs", api.module), service::render(&plan)?),
        ] {
            generated.push((name, files::formatted(api, &body)?));
        }
    }
    files::settle(&room.join("src/generated"), &generated, options.check)
}

fn model_path(room: &Path, api: Api) -> PathBuf {
    room.join("models").join(format!("{}.json", api.model))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as `cargo xtask codegen --check`: nobody edits what is generated, and nobody forgets to generate.
    #[test]
    fn generated_files_are_current() {
        run(&Options { check: true, botocore: None }).unwrap();
    }
}
