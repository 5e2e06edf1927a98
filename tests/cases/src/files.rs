//! The case files, in the order of their names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What stands in the `source` of a case whose answer no public source was found for.
pub const UNVERIFIED: &str = "unverified";

/// What a case's clock is moved by when only what goes on is to come to its end.
pub const A_MOMENT_MS: u64 = 1;

/// One case and where it stands.
#[derive(Clone, Debug)]
pub struct Case {
    /// Stem of its file's name.
    pub family: String,
    /// Its own name, unique in the file.
    pub name: String,
    /// Where the service's answer is known from.
    pub source: String,
    /// Where it makes sense; everywhere when nothing is said.
    pub requires: Option<String>,
    /// The case as written.
    pub text: Value,
}

impl Case {
    /// `family::name`.
    pub fn title(&self) -> String {
        format!("{}::{}", self.family, self.name)
    }

    /// Whether some of its answer is known from no source.
    pub fn is_unverified(&self) -> bool {
        self.source.contains(UNVERIFIED)
    }
}

/// All cases, and the tables they set up.
pub struct Cases {
    /// By file, then as written.
    pub all: Vec<Case>,
    /// CreateTable requests by name.
    pub fixtures: Value,
}

impl Cases {
    /// The folder of the repository that this was built in.
    pub fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/operations/tests/cases")
    }

    /// Reads a folder of case files.
    ///
    /// Errors: a file is unreadable or no list of cases; a case lacks its name, source or steps; a name stands twice.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let mut all = Vec::new();
        for file in files {
            family(&file, &mut all).map_err(|why| format!("{}: {why}", file.display()))?;
        }
        let fixtures = json(&folder.join("fixtures/tables.json"))?;
        Ok(Self { all, fixtures })
    }

    /// Cases per family, and how many of them are unverified.
    pub fn by_family(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for case in &self.all {
            let (all, unverified) = counts.entry(&case.family).or_default();
            *all += 1;
            *unverified += usize::from(case.is_unverified());
        }
        counts
    }
}

fn family(file: &Path, all: &mut Vec<Case>) -> Result<(), String> {
    let family = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let content = json(file)?;
    for text in content.as_array().ok_or("a case file is a list")? {
        let part = |name: &str| text[name].as_str().filter(|part| !part.is_empty()).map(str::to_owned);
        let name = part("name").ok_or("a case has no name")?;
        if all.iter().any(|other| other.family == family && other.name == name) {
            return Err(format!("{name} stands twice"));
        }
        let source = part("source").ok_or(format!("{name} has no source"))?;
        if text["steps"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("{name} has no steps"));
        }
        let requires = part("requires").or_else(|| moves_time(text).then(|| "control".to_owned()));
        all.push(Case { family: family.to_owned(), name, source, requires, text: text.clone() });
    }
    Ok(())
}

/// Whether some step moves time by more than a moment, or shards.
fn moves_time(case: &Value) -> bool {
    let moves =
        |step: &Value| step["advance_ms"].as_u64().is_some_and(|ms| ms > A_MOMENT_MS) || step.get("control").is_some();
    case["steps"].as_array().into_iter().flatten().any(moves)
}

fn json(path: &Path) -> Result<Value, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}
