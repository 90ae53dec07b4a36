//! Checks the structure of the code: the dependencies of the modules and their access to the
//! system, which docs/architecture.md lists, and the sizes of files and functions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The maximal number of lines of a file and of a function, and of fields of `Service`.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 45;
const SERVICE_FIELDS: usize = 12;

/// Files and functions that may be longer because they are tables: the texts of the errors.
const TABLES: [&str; 2] = ["failure.rs::fmt", "journal/error.rs::fmt"];

/// Crates and parts of std with access to the system, which only some modules may use.
const WORLD: [&str; 12] = [
    "SystemTime",
    "crc32fast",
    "hashbrown",
    "jiff",
    "log",
    "mio",
    "rustix",
    "signal_hook",
    "slab",
    "std::fs",
    "std::net",
    "unicode_normalization",
];

/// A file of the source.
struct Source {
    /// Relative to `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns the top-level module that the file belongs to.
    fn module(&self) -> String {
        let path = self.path.with_extension("");
        path.iter().next().unwrap().to_str().unwrap().to_owned()
    }

    /// Returns the code without comments and unit tests.
    fn code(&self) -> String {
        let text = self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns the functions with their numbers of lines. The code must be formatted.
    fn functions(&self) -> Vec<(String, usize)> {
        let code = self.code();
        let lines: Vec<&str> = code.lines().collect();
        let mut functions = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let indent = &line[..indent];
            let is_end = |line: &&str| {
                let rest = line.strip_prefix(indent);
                rest.is_some_and(|it| it == "}" || it.starts_with(')') && it.ends_with(';'))
            };
            // A function without a body, or on a single line, ends with its own line.
            let is_short = line.ends_with(';') || line.ends_with('}');
            let length = match lines[at..].iter().position(is_end) {
                Some(length) if !is_short => length + 1,
                _ => 1,
            };
            functions.push((name.to_owned(), length));
        }
        functions
    }
}

/// Returns the name of the function whose first line this is.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_function = before
        .split_whitespace()
        .all(|word| ["const", "async", "extern"].contains(&word) || word.starts_with("pub"));
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (is_function && end > 0).then(|| &after[..end])
}

/// Returns the files in `src` without those that contain only unit tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut directories, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_name().is_some_and(|name| name != "tests.rs")
                && path.parent().is_some_and(|parent| !parent.ends_with("tests"))
            {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push(Source { path: path.strip_prefix(&root).unwrap().into(), text });
            }
        }
    }
    sources
}

/// What a module may use.
struct Rule {
    /// `None` stands for all modules.
    modules: Option<BTreeSet<String>>,
    /// `None` stands for all words of [`WORLD`].
    world: Option<BTreeSet<String>>,
}

/// Reads the table of modules in docs/architecture.md.
fn rules() -> BTreeMap<String, Rule> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(path).unwrap();
    let head = "| module | owns | uses | world |\n| --- | --- | --- | --- |\n";
    let (_, table) = text.split_once(head).expect("docs/architecture.md has a table of modules");
    let mut rules = BTreeMap::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [names, _, modules, world] = cells[..] else { panic!("four cells: {row}") };
        for module in words(names).expect("names of modules") {
            let rule = Rule { modules: words(modules), world: words(world) };
            assert!(rules.insert(module, rule).is_none(), "{row}");
        }
    }
    rules
}

/// Returns the words of a cell, or `None` if it is `all`. Parentheses are ignored.
fn words(cell: &str) -> Option<BTreeSet<String>> {
    let mut text = String::new();
    let mut depth = 0;
    for c in cell.chars() {
        depth += i32::from(c == '(');
        if depth == 0 && c != '`' {
            text.push(if c == '-' { '_' } else { c });
        }
        depth -= i32::from(c == ')');
    }
    if text.trim() == "all" {
        return None;
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Some(words.map(str::to_owned).collect())
}

/// Returns whether a path in the code starts with a word.
fn uses(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        let is_path = after.starts_with("::") || word.contains("::") || word == "SystemTime";
        starts && is_path && !code.contains(&format!("fn {word}"))
    })
}

#[test]
fn every_module_is_documented() {
    let rules = rules();
    for source in sources() {
        let module = source.module();
        let is_known = rules.contains_key(&module) || module == "lib";
        assert!(is_known, "docs/architecture.md does not list the module {module}");
    }
}

#[test]
fn every_documented_module_exists() {
    let modules: BTreeSet<String> = sources().iter().map(Source::module).collect();
    for module in rules().keys() {
        assert!(modules.contains(module), "docs/architecture.md lists {module}");
    }
}

#[test]
fn modules_depend_only_on_modules_below() {
    let rules = rules();
    for source in sources().iter().filter(|source| source.module() != "lib") {
        let (module, code) = (source.module(), source.code());
        let Some(allowed) = &rules[&module].modules else { continue };
        for other in rules.keys().filter(|other| **other != module && !allowed.contains(*other)) {
            let forms = [format!("crate::{other}"), format!("crate::{{{other}")];
            let path = source.path.display();
            let is_used = forms.iter().any(|form| {
                code.match_indices(form).any(|(at, _)| {
                    let next = code[at + form.len()..].chars().next();
                    !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
                })
            });
            assert!(!is_used, "{path} uses {other}, against docs/architecture.md");
        }
    }
}

#[test]
fn modules_use_only_their_part_of_the_system() {
    let rules = rules();
    for source in sources().iter().filter(|source| source.module() != "lib") {
        let (module, code) = (source.module(), source.code());
        if module == "client" {
            continue;
        }
        let Some(allowed) = &rules[&module].world else { continue };
        for word in WORLD {
            let path = source.path.display();
            let is_allowed = allowed.contains(word) || !uses(&code, word);
            assert!(is_allowed, "{path} uses {word}, against docs/architecture.md");
        }
    }
}

/// The time is an argument everywhere else, so that tests and the replay determine it.
#[test]
fn only_the_loop_and_the_program_read_clocks() {
    for source in sources() {
        if ["time", "reactor", "startup", "offline", "client"].contains(&&*source.module()) {
            continue;
        }
        let code = source.code();
        let reads = code.contains("read_clocks") || code.contains("MonotonicMs::now");
        assert!(!reads, "{} reads a clock", source.path.display());
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    assert!(manifest.contains("[lints]\nworkspace = true\n"));
}

#[test]
fn server_has_no_threads() {
    for source in sources().iter().filter(|source| source.module() != "client") {
        let (path, code) = (source.path.display(), source.code());
        assert!(!code.contains("thread::"), "{path} uses threads");
        assert!(!code.contains("Mutex"), "{path} uses a lock");
    }
}

#[test]
fn service_has_few_fields() {
    let sources = sources();
    let service = sources.iter().find(|source| source.path == Path::new("service.rs")).unwrap();
    let (_, after) = service.text.split_once("pub struct Service<").expect("the struct Service");
    let (fields, _) = after.split_once("\n}\n").expect("the end of Service");
    let is_field = |line: &&str| line.starts_with("    ") && !line.trim_start().starts_with("//");
    let count = fields.lines().filter(is_field).count();
    assert!((1..=SERVICE_FIELDS).contains(&count), "{count} fields:\n{fields}");
}

#[test]
fn every_file_begins_with_its_purpose() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "{}", source.path.display());
    }
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for source in sources() {
        let (lines, path) = (source.text.lines().count(), source.path.display().to_string());
        if lines > FILE_LINES && !TABLES.contains(&&*path) {
            long.push(format!("{path}: {lines} lines"));
        }
    }
    assert!(long.is_empty(), "over {FILE_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources() {
        for (name, lines) in source.functions() {
            let path = format!("{}::{name}", source.path.display());
            if lines > FUNCTION_LINES && !TABLES.contains(&&*path) {
                long.push(format!("{path}: {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES} lines:\n{}", long.join("\n"));
}
