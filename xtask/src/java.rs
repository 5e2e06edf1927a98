//! The Java side of the tests: class paths made by Maven, sources compiled on them, and Python that starts the JVMs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{process, python};

/// The sources and tests, from the root.
pub const SOURCES: &str = "tests/sdk/java";

/// A class path of its own: the Maven module that names its jars, and the folders of `src` that are compiled on it.
pub struct Module {
    name: &'static str,
    sources: &'static [&'static str],
}

/// What `cargo xtask ci` needs.
pub const CI: &[Module] = &[
    Module { name: "kcl3", sources: &["records", "kcl", "kcl3", "sdk"] },
    Module { name: "adapter2", sources: &["records", "kcl", "adapter2"] },
];

/// What only `cargo xtask matrix` needs, beside [`CI`].
pub const MATRIX: &[Module] = &[
    Module { name: "kcl2", sources: &["records", "kcl", "kcl2"] },
    Module { name: "kcl1", sources: &["records", "kcl1"] },
    Module { name: "adapter1", sources: &["records", "kcl1", "adapter1"] },
    Module { name: "multilang", sources: &[] },
    Module { name: "flink", sources: &["records", "flink"] },
];

/// Makes the class paths that CI needs.
pub fn prepare(root: &Path) -> Result<()> {
    class_paths(root, CI, &[])
}

/// Makes those of the matrix.
pub fn prepare_matrix(root: &Path) -> Result<()> {
    prepare(root)?;
    class_paths(root, MATRIX, &["-Pmatrix"])
}

/// Makes `target/java/{module}/{lib,classes}`; the jars come from the network once per content of the modules' files.
fn class_paths(root: &Path, modules: &[Module], profile: &[&str]) -> Result<()> {
    let (sources, home) = (root.join(SOURCES), root.join("target/java"));
    fs::create_dir_all(&home)?;
    fs::copy(sources.join("pom.xml"), home.join("pom.xml"))?;
    let mut wanted = fs::read_to_string(sources.join("pom.xml"))?;
    for module in modules {
        let folder = home.join(module.name);
        fs::create_dir_all(&folder)?;
        let file = Path::new(module.name).join("pom.xml");
        wanted += &fs::read_to_string(sources.join(&file))?;
        fs::copy(sources.join(&file), home.join(&file))?;
    }
    let made = home.join(format!("made-from-{}.txt", if profile.is_empty() { "ci" } else { "matrix" }));
    if !fs::read_to_string(&made).is_ok_and(|there| there == wanted) {
        fetch(&home, modules, profile)?;
        fs::write(&made, wanted)?;
    }
    modules.iter().try_for_each(|module| compile(&sources, &home.join(module.name), module.sources))
}

/// One run of Maven for all modules.
fn fetch(home: &Path, modules: &[Module], profile: &[&str]) -> Result<()> {
    for module in modules {
        let library = home.join(module.name).join("lib");
        if library.exists() {
            fs::remove_dir_all(library)?;
        }
    }
    let names: Vec<&str> = modules.iter().map(|module| module.name).collect();
    let names = names.join(",");
    let goal = ["-q", "-B", "dependency:copy-dependencies", "-pl", &names];
    process::output(home, "mvn", &[profile, goal.as_slice()].concat()).map(drop)
}

/// Compiles a module's sources on its jars; seconds, so it is done each time.
fn compile(sources: &Path, folder: &Path, parts: &[&str]) -> Result<()> {
    let classes = folder.join("classes");
    if classes.exists() {
        fs::remove_dir_all(&classes)?;
    }
    fs::create_dir_all(&classes)?;
    let mut files = Vec::new();
    for part in parts {
        let package = sources.join("src").join(part).join("headwater");
        for entry in fs::read_dir(&package).with_context(|| package.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "java") {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let (path, to) = (format!("{}/*", folder.join("lib").display()), classes.to_string_lossy().into_owned());
    // Warnings of our own code are errors; of missing annotations in others' classes there are too many.
    let lint = "-Xlint:all,-classfile,-processing,-serial,-deprecation";
    let options = [lint, "-Werror", "-proc:none", "-encoding", "UTF-8", "--release", "17", "-d", &to, "-cp", &path];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    process::output(folder, "javac", &[options.as_slice(), &files].concat()).map(drop)
}

/// A run of pytest among the Java tests, told where the server's binary and the class paths are.
pub fn command(root: &Path, server: &Path, arguments: &[&str]) -> Result<Command> {
    let home = home(root)?;
    let folder = root.join(SOURCES);
    let arguments = [&["-m", "pytest", "-s"], arguments].concat();
    let mut command = process::command(&folder, python::environment(root)?, &arguments);
    command.env("HEADWATER_BIN", server).env("HEADWATER_JAVA", home);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    Ok(command)
}

/// The tests of CI: the SDK, the Kinesis Client Library, the adapter, and whether their judge sees faults.
pub fn tests(root: &Path, server: &Path) -> Result<Command> {
    command(root, server, &[])
}

fn home(root: &Path) -> Result<PathBuf> {
    let home = root.join("target/java");
    ensure!(home.is_dir(), "{} was not made", home.display());
    Ok(home)
}
