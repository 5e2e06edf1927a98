//! House rules that a program judges well: who may depend on whom, licences, sources, dead files, links, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process;

/// Which room may use which (design: one line downwards). A new edge needs a decision under `docs/decisions`.
const EDGES: &[(&str, &[&str])] = &[
    ("types", &[]),
    // Not a room: for those who read streams, whatever serves them.
    ("aggregation", &[]),
    ("expression", &["types"]),
    ("api", &["types"]),
    ("storage", &["types"]),
    ("catalog", &["types", "storage"]),
    ("log", &["types", "storage", "catalog"]),
    ("table", &["types", "storage", "catalog", "log", "expression"]),
    ("delivery", &["types", "storage", "catalog", "log", "table"]),
    ("operations", &["types", "expression", "api", "catalog", "log", "table"]),
    ("wire", &["types", "api"]),
    ("server", &["types", "api", "storage", "catalog", "log", "delivery", "operations", "wire"]),
];

const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "MIT-0",
    "Apache-2.0 WITH LLVM-exception",
    "CDLA-Permissive-2.0",
    "OpenSSL",
    "BSL-1.0",
];

/// Crates that the server links in two versions, and why that is borne.
const DUPLICATES: &[(&str, &str)] = &[
    ("getrandom", "the cryptography under TLS and the LSM tree's temporary files each pin their own"),
    ("hashbrown", "the LSM tree's cache and HTTP/2's index map each pin their own"),
    ("syn", "in procedural macros only: compiled, not linked"),
];

const FILE_LINES_MAX: usize = 700;

/// Runs all checks and prints what was counted.
pub fn run(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    let metadata = metadata(root)?;
    let edges = edges(&metadata, &mut faults)?;
    let packages = licences_and_sources(&metadata, &mut faults)?;
    let linked = duplicates(root, &mut faults)?;
    let files = sources(root, &mut faults)?;
    let limits = limits(root, &mut faults)?;
    let links = links(root, &mut faults)?;
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    println!(
        "tidy: {edges} edges, {packages} packages ({linked} linked by the server), {files} source files, {limits} limits, \
         {links} links: {} faults",
        faults.len()
    );
    ensure!(edges > 0 && packages > 0 && files > 0 && limits > 0 && links > 0, "tidy counted nothing");
    ensure!(faults.is_empty(), "{} house rules are broken", faults.len());
    Ok(())
}

fn metadata(root: &Path) -> Result<Value> {
    let text = process::output(root, "cargo", &["metadata", "--format-version", "1", "--locked", "--all-features"])?;
    serde_json::from_str(&text).context("cargo metadata")
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    value[name].as_array().with_context(|| format!("cargo metadata has no {name}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn edges(metadata: &Value, faults: &mut Vec<String>) -> Result<usize> {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut count = 0;
    for package in list(metadata, "packages")? {
        let manifest = text(package, "manifest_path");
        let Some(room) = text(package, "name").strip_prefix("headwater-") else { continue };
        if !manifest.contains("/crates/") {
            continue;
        }
        let Some(may_use) = allowed.get(room) else {
            faults.push(format!("room {room} is not in the list of rooms"));
            continue;
        };
        for dependency in list(package, "dependencies")? {
            let Some(used) = text(dependency, "name").strip_prefix("headwater-") else { continue };
            // Tests may look anywhere.
            if dependency["kind"].is_null() {
                count += 1;
                if !may_use.contains(&used) {
                    faults.push(format!("{room} may not use {used}"));
                }
            }
        }
    }
    Ok(count)
}

fn licences_and_sources(metadata: &Value, faults: &mut Vec<String>) -> Result<usize> {
    let packages = list(metadata, "packages")?;
    for package in packages {
        let name = text(package, "name");
        // Path packages have no source; everything else comes from a registry, never from a repository.
        let source = package["source"].as_str();
        if let Some(other) = source.filter(|source| !source.starts_with("registry+")) {
            faults.push(format!("{name} comes from {other}, not from the registry"));
        }
        let licence = text(package, "license").replace('/', " OR ");
        let acceptable = licence.split(" OR ").any(|alternative| {
            alternative.trim_matches(['(', ')', ' ']).split(" AND ").all(|one| {
                let one = one.trim_matches(['(', ')', ' ']);
                LICENCES.contains(&one)
            })
        });
        if !acceptable {
            faults.push(format!("{name} has the licence {licence:?}"));
        }
    }
    Ok(packages.len())
}

/// Crates that the server's binary is made of in two versions.
fn duplicates(root: &Path, faults: &mut Vec<String>) -> Result<usize> {
    let arguments =
        ["tree", "-p", "headwater-server", "-e", "normal", "--prefix", "none", "--locked", "--format", "{p}"];
    let tree = process::output(root, "cargo", &arguments)?;
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let borne: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    for (name, versions) in versions.iter().filter(|(name, found)| found.len() > 1 && !borne.contains(*name)) {
        faults.push(format!("the server links {name} in {} versions: {versions:?}", versions.len()));
    }
    for name in borne.iter().filter(|name| versions.get(*name).is_none_or(|found| found.len() < 2)) {
        faults.push(format!("{name} is listed as a duplicate and is none any more"));
    }
    Ok(versions.len())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && name != "node_modules" && name != ".git") {
                rust_files(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Every source file is reached from a `mod`, short enough, and free of what must not be committed.
fn sources(root: &Path, faults: &mut Vec<String>) -> Result<usize> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "tests", "bench"] {
        if root.join(folder).is_dir() {
            rust_files(&root.join(folder), &mut files)?;
        }
    }
    for path in &files {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let source = fs::read_to_string(path)?;
        let generated = shown.contains("/generated/");
        if generated && !source.starts_with("// Generated by `cargo xtask codegen`") {
            faults.push(format!("{shown}: a generated file names the command in its first line"));
        }
        if !generated && source.lines().count() > FILE_LINES_MAX {
            faults.push(format!("{shown}: {} lines, look for the second subject", source.lines().count()));
        }
        if shown.contains("/src/") && !declared(path)? {
            faults.push(format!("{shown}: no `mod` leads to it"));
        }
        for machine in [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")] {
            if source.contains(machine) {
                faults.push(format!("{shown}: a path of some machine ({machine})"));
            }
        }
    }
    Ok(files.len())
}

fn declared(path: &Path) -> Result<bool> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = path.parent().context("a file has a folder")?;
    if matches!(name, "lib" | "main") || folder.ends_with("src/bin") {
        return Ok(true);
    }
    let (name, folder) = match name {
        "mod" => (folder.file_name().and_then(|n| n.to_str()).unwrap_or_default(), folder.parent().unwrap_or(folder)),
        _ => (name, folder),
    };
    let owner = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let parents = [
        folder.join("lib.rs"),
        folder.join("main.rs"),
        folder.join("mod.rs"),
        folder.with_file_name(format!("{owner}.rs")),
    ];
    for parent in parents.iter().filter(|parent| parent.is_file()) {
        let source = fs::read_to_string(parent)?;
        let found = source.lines().any(|line| {
            let line = line.trim();
            let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
            line.strip_prefix("mod ").is_some_and(|rest| rest.trim_end_matches(['{', ' ', ';']) == name)
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every limit says its source.
fn limits(root: &Path, faults: &mut Vec<String>) -> Result<usize> {
    let source = fs::read_to_string(root.join("crates/types/src/limits.rs"))?;
    let (mut docs, mut count) = (String::new(), 0);
    for line in source.lines() {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push_str(doc);
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            count += 1;
            if !docs.contains("Source:") {
                faults.push(format!("limit without a source: {constant}"));
            }
            docs.clear();
        } else {
            docs.clear();
        }
    }
    Ok(count)
}

/// Relative links of Markdown files lead somewhere.
fn links(root: &Path, faults: &mut Vec<String>) -> Result<usize> {
    let mut files = Vec::new();
    for folder in [root.to_path_buf(), root.join("docs"), root.join("docs/guide"), root.join("docs/decisions")] {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    let mut count = 0;
    for file in files {
        let source = fs::read_to_string(&file)?;
        for part in source.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            count += 1;
            if !file.parent().unwrap_or(root).join(target).exists() {
                faults.push(format!("{}: the link {target} leads nowhere", file.display()));
            }
        }
    }
    Ok(count)
}
